"""The commands of `birdplane`, a module for each kind; they import what is heavy when they run."""

"""How fast a training step is, measured against the loop that one would write by hand."""

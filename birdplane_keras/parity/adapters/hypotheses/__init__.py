"""Known porting mistakes, each as a change to a run of the reference."""

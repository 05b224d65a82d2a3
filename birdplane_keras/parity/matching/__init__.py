"""Which weight is which, and how weights travel."""

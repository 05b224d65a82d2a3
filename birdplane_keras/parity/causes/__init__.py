"""What may be wrong, by name, and what repairs it."""

"""What may be wrong, by name, and what mends it."""

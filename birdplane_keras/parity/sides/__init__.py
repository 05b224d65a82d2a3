"""Both sides of a pair at work, in the shapes that the core sees."""

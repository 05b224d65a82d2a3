"""The catalogue: the judge is judged."""

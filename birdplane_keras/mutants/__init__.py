"""Judges the judge without a list: pairs and edits of their ports are drawn, and what is told of them is counted."""

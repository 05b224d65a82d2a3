"""Judges the judge without a list: pairs and edits of their ports are drawn, and what is said of them is counted."""

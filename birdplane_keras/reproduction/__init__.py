"""Every preset trained on both sides, and the table of what came out: the code behind `scripts/reproduce.py`."""

"""The optimizers that both frameworks have: what they keep, their settings, and where their rules differ."""

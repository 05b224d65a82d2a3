"""The kinds of layer that both frameworks have."""

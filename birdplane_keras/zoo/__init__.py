"""Pairs of other people's models, built small and random from the libraries' own configurations."""

"""The judge's core: NumPy only. What trains the models is behind the protocols of `bench`."""

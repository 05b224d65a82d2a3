"""The judge's edges, which touch the frameworks: which layer is which module, and weights from one to the other."""

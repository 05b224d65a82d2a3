"""The update of the weights: Keras' own, one in the same operations without its detours, or one in fewer of them."""

"""Keras classes that do what PyTorch's do, where Keras' own class does something else that no setting can fix.

Only for the torch backend: they call PyTorch's operations in PyTorch's order, so that what is left is rounding. The
optimizers also clip gradients by their norm as PyTorch does, and take PyTorch's parameter groups (`groups`).
"""

from birdplane_keras.torch_equivalents.adagrad import Adagrad
from birdplane_keras.torch_equivalents.adam import Adam, AdamW
from birdplane_keras.torch_equivalents.normalisation import BatchNormalization
from birdplane_keras.torch_equivalents.rmsprop import RMSprop
from birdplane_keras.torch_equivalents.sgd import SGD

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "BatchNormalization", "RMSprop"]

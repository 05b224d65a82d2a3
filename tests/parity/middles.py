"""Pairs of three layers whose middles differ."""

from keras import layers
from torch import nn

from birdplane_keras.catalogue.networks import CLASSES, FEATURES, dense, stack, vector_pair

WIDTH = 16


class Own(layers.Layer):
    """Computes what a function says."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, x):
        return self.function(x)


class Theirs(nn.Module):
    """Computes what a function says."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def between(ours, theirs, width=WIDTH):
    """A pair whose two middles differ: ours in the port, theirs in the reference."""
    module = nn.Sequential(nn.Linear(FEATURES, WIDTH), Theirs(theirs), nn.Linear(width, CLASSES))
    model = stack((FEATURES,), [dense(FEATURES, WIDTH), Own(ours), dense(width, CLASSES)])
    return vector_pair(0, module=module, model=model, initialisation=False)

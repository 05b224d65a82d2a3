"""A network of vectors."""

import keras
import torch
from keras import layers
from torch import nn
from torch.nn import functional

from birdplane_keras.benchmark.networks.network import Network, draw_normal, sparse_categorical

FEATURES, WIDTH, CLASSES = 784, 512, 10


def build_mlp() -> nn.Module:
    """Two hidden layers, each followed by a dropout."""
    hidden = [nn.Linear(FEATURES, WIDTH), nn.ReLU(), nn.Dropout(0.2)]
    return nn.Sequential(*hidden, nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Dropout(0.2), nn.Linear(WIDTH, CLASSES))


def build_mlp_in_keras(layout: str) -> keras.Model:
    """The same with Keras' layers."""
    del layout  # there are no images in it
    hidden = [layers.Dense(WIDTH, activation="relu"), layers.Dropout(0.2)]
    rest = [layers.Dense(WIDTH, activation="relu"), layers.Dropout(0.2), layers.Dense(CLASSES)]
    return keras.Sequential([keras.Input((FEATURES,)), *hidden, *rest])


MLP = Network(
    name="mlp",
    words="784-512-512-10, dropout, Adam",
    batch_size=128,
    module=build_mlp,
    model=build_mlp_in_keras,
    data=lambda generator, rows: (draw_normal(generator, rows, FEATURES), generator.integers(0, CLASSES, rows)),
    torch_loss=functional.cross_entropy,
    keras_loss=sparse_categorical,
    torch_optimizer=lambda parameters: torch.optim.Adam(parameters, lr=1e-3),
    keras_optimizer=lambda: keras.optimizers.Adam(1e-3),
)

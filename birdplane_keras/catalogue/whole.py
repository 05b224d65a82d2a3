"""Small forms of the networks that people port: residual, separable, segmenting, encoding; and their ports."""

from typing import Any

import keras
import torch
from torch import nn
from torch.nn import functional

from birdplane_keras import torch_equivalents
from birdplane_keras.catalogue.networks import CLASSES, STEPS, WORDS, dense, uniform

layers = keras.layers
normalise = torch_equivalents.BatchNormalization
SIZE = 12  # pixels on each side


class Block(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.around = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(outputs) for _ in range(3))

    def forward(self, x):
        hidden = functional.relu(self.norms[0](self.first(x)))
        return functional.relu(self.norms[1](self.second(hidden)) + self.norms[2](self.around(x)))


class Residual(nn.Module):
    """Two blocks, the second at half the size, and the mean over all pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks, self.head = nn.Sequential(Block(3, 8, 1), Block(8, 12, 2)), nn.Linear(12, CLASSES)

    def forward(self, x):
        return self.head(self.blocks(x).mean((2, 3)))


def kernel(inputs: int, filters: int, size: int = 3, stride: int = 1, **settings: Any) -> Any:
    initial = {"kernel_initializer": uniform(inputs * size**2), "padding": "same", "use_bias": False}
    return layers.Conv2D(filters, size, stride, **(initial | settings))


def padded(x: Any, inputs: int, filters: int, stride: int) -> Any:
    """Pads both sides alike, as PyTorch does, where Keras' "same" would not."""
    if stride == 1:
        return kernel(inputs, filters)(x)
    return kernel(inputs, filters, stride=stride, padding="valid")(layers.ZeroPadding2D(1)(x))


def residual_port(convolve: Any = padded, norm: Any = normalise) -> keras.Model:
    x = inputs = keras.Input((SIZE, SIZE, 3))
    for before, filters, stride in ((3, 8, 1), (8, 12, 2)):
        hidden = layers.ReLU()(norm()(convolve(x, before, filters, stride)))
        hidden, around = kernel(filters, filters)(hidden), kernel(before, filters, 1, stride)(x)
        x = layers.ReLU()(layers.Add()([norm()(hidden), norm()(around)]))
    return keras.Model(inputs, dense(12, CLASSES)(layers.GlobalAveragePooling2D()(x)))


def separable() -> nn.Sequential:
    """Filters of each channel, then mixtures of the channels."""
    return nn.Sequential(
        nn.Conv2d(3, 3, 3, padding=1, groups=3, bias=False),
        nn.BatchNorm2d(3),
        nn.ReLU6(),
        nn.Conv2d(3, 12, 1, bias=False),
        nn.BatchNorm2d(12),
        nn.ReLU6(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, CLASSES),
    )


def separable_port() -> keras.Sequential:
    depthwise = layers.DepthwiseConv2D(3, padding="same", use_bias=False, depthwise_initializer=uniform(9))
    middle = [
        normalise(),
        layers.ReLU(6),
        kernel(3, 12, 1),
        normalise(),
        layers.ReLU(6),
        layers.GlobalAveragePooling2D(),
    ]
    return keras.Sequential([keras.Input((SIZE, SIZE, 3)), depthwise, *middle, dense(12, CLASSES)])


class Segmenting(nn.Module):
    """Down and up again, with what was there before beside it: one score for each pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.deep = nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.Conv2d(6, 8, 3, padding=1, bias=False)
        self.up, self.out = nn.ConvTranspose2d(8, 6, 2, 2, bias=False), nn.Conv2d(12, 1, 1, bias=False)

    def forward(self, x):
        fine = functional.relu(self.down(x))
        coarse = functional.relu(self.deep(functional.max_pool2d(fine, 2)))
        return self.out(torch.cat([self.up(coarse), fine], 1))


def segmenting_port() -> keras.Model:
    inputs = keras.Input((SIZE, SIZE, 3))
    fine = kernel(3, 6, activation="relu")(inputs)
    coarse = kernel(6, 8, activation="relu")(layers.MaxPooling2D()(fine))
    up = layers.Conv2DTranspose(6, 2, 2, use_bias=False, kernel_initializer=uniform(6 * 4))(coarse)
    return keras.Model(inputs, kernel(12, 1, 1)(layers.Concatenate()([up, fine])))


class Encoding(nn.Module):
    """Words, positions, one layer of an encoder and the mean over the sentence."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.positions = nn.Embedding(WORDS, 16), nn.Parameter(torch.randn(STEPS, 16))
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
        self.norms = nn.ModuleList(nn.LayerNorm(16) for _ in range(2))
        self.wide, self.narrow, self.head = nn.Linear(16, 32), nn.Linear(32, 16), nn.Linear(16, CLASSES)

    def forward(self, x):
        hidden = self.words(x) + self.positions
        hidden = self.norms[0](hidden + self.attention(hidden, hidden, hidden, need_weights=False)[0])
        hidden = self.norms[1](hidden + self.narrow(functional.gelu(self.wide(hidden))))
        return self.head(hidden.mean(1))


class Positions(keras.layers.Layer):
    """Adds a vector of its own to each position."""

    def build(self, shape):
        self.positions = self.add_weight(shape=shape[1:], initializer="random_normal", name="positions")

    def call(self, inputs):
        return inputs + self.positions


def encoding_port(epsilon: float = 1e-5) -> keras.Model:
    inputs = keras.Input((STEPS,), dtype="int32")
    hidden = Positions()(layers.Embedding(WORDS, 16)(inputs))
    hidden = layers.Add()([hidden, layers.MultiHeadAttention(num_heads=4, key_dim=4)(hidden, hidden)])
    hidden = layers.LayerNormalization(epsilon=epsilon)(hidden)
    wide = layers.Dense(16)(layers.Dense(32, activation="gelu")(hidden))
    hidden = layers.LayerNormalization(epsilon=epsilon)(layers.Add()([hidden, wide]))
    return keras.Model(inputs, layers.Dense(CLASSES)(layers.GlobalAveragePooling1D()(hidden)))


class Towers(nn.Module):
    """One tower after the other in PyTorch; Keras orders layers by their depth."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Sequential(nn.Linear(16, 10), nn.Tanh(), nn.Linear(10, 8))
        self.right = nn.Sequential(nn.Linear(5, 10), nn.Tanh(), nn.Linear(10, 6))
        self.head = nn.Linear(14, CLASSES)

    def forward(self, left, right):
        return self.head(torch.cat([self.left(left), self.right(right)], 1))


def towers_port() -> keras.Model:
    left, right = keras.Input((16,)), keras.Input((5,))
    towers = dense(10, 8)(dense(16, 10, "tanh")(left)), dense(10, 6)(dense(5, 10, "tanh")(right))
    return keras.Model([left, right], dense(14, CLASSES)(layers.Concatenate()(towers)))

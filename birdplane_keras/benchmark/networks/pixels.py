"""Networks from images to images."""

import keras
import numpy as np
import torch
from keras import layers
from torch import nn
from torch.nn import functional

from birdplane_keras.benchmark.networks.images import CHANNELS, SIDE, shape_of
from birdplane_keras.benchmark.networks.network import Network, draw_normal


def twice(inputs: int, outputs: int) -> nn.Sequential:
    """Two convolutions."""
    first, second = nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1)
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU())


class UNet(nn.Module):
    """Two levels down and up, with their bridges (Ronneberger et al. 2015, padded)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.bottom = twice(CHANNELS, 16), twice(16, 32), twice(32, 64)
        self.up_second, self.up_first = nn.ConvTranspose2d(64, 32, 2, 2), nn.ConvTranspose2d(32, 16, 2, 2)
        self.join_second, self.join_first = twice(64, 32), twice(32, 16)
        self.head = nn.Conv2d(16, 1, 1)

    def forward(self, x):
        first = self.first(x)
        second = self.second(functional.max_pool2d(first, 2))
        bottom = self.bottom(functional.max_pool2d(second, 2))
        second = self.join_second(torch.cat([self.up_second(bottom), second], 1))
        return self.head(self.join_first(torch.cat([self.up_first(second), first], 1)))


def build_unet_in_keras(layout: str) -> keras.Model:
    """The same with Keras' layers."""

    def twice(x, filters: int):
        for _ in range(2):
            x = layers.Conv2D(filters, 3, padding="same", activation="relu", data_format=layout)(x)
        return x

    def joined(x, bridge, filters: int):
        x = layers.Conv2DTranspose(filters, 2, 2, data_format=layout)(x)
        return twice(layers.Concatenate(1 if layout == "channels_first" else -1)([x, bridge]), filters)

    inputs = keras.Input(shape_of(layout))
    first = twice(inputs, 16)
    second = twice(layers.MaxPooling2D(data_format=layout)(first), 32)
    bottom = twice(layers.MaxPooling2D(data_format=layout)(second), 64)
    x = joined(joined(bottom, second, 32), first, 16)
    return keras.Model(inputs, layers.Conv2D(1, 1, data_format=layout)(x))


def draw_masks(generator: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns images, and for each pixel 0 or 1."""
    masks = generator.integers(0, 2, (rows, 1, SIDE, SIDE)).astype(np.float32)
    return draw_normal(generator, rows, CHANNELS, SIDE, SIDE), masks


def build_autoencoder() -> nn.Module:
    """Three convolutions down, three up."""
    down = [
        nn.Conv2d(CHANNELS, 16, 2, 2),
        nn.ReLU(),
        nn.Conv2d(16, 32, 2, 2),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3),
        nn.ReLU(),
    ]
    up = [nn.ConvTranspose2d(32, 32, 3), nn.ReLU(), nn.ConvTranspose2d(32, 16, 2, 2), nn.ReLU()]
    return nn.Sequential(*down, *up, nn.ConvTranspose2d(16, CHANNELS, 2, 2))


def build_autoencoder_in_keras(layout: str) -> keras.Model:
    """The same with Keras' layers."""
    down = [
        layers.Conv2D(filters, size, stride, activation="relu", data_format=layout)
        for filters, size, stride in [(16, 2, 2), (32, 2, 2), (32, 3, 1)]
    ]
    up = [
        layers.Conv2DTranspose(filters, size, stride, activation=activation, data_format=layout)
        for filters, size, stride, activation in [(32, 3, 1, "relu"), (16, 2, 2, "relu"), (CHANNELS, 2, 2, None)]
    ]
    return keras.Sequential([keras.Input(shape_of(layout)), *down, *up])


def draw_twice(generator: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns images, and the same images."""
    images = draw_normal(generator, rows, CHANNELS, SIDE, SIDE)
    return images, images.copy()


UNET = Network(
    name="unet",
    words="U-Net of two levels, Adam",
    batch_size=16,
    module=UNet,
    model=build_unet_in_keras,
    data=draw_masks,
    torch_loss=functional.binary_cross_entropy_with_logits,
    keras_loss=lambda: keras.losses.BinaryCrossentropy(from_logits=True),
    torch_optimizer=lambda parameters: torch.optim.Adam(parameters, lr=1e-3),
    keras_optimizer=lambda: keras.optimizers.Adam(1e-3),
    is_of_images=True,
)
AUTOENCODER = Network(
    name="autoencoder",
    words="convolutions down and up, mean squared error, Adam",
    batch_size=64,
    module=build_autoencoder,
    model=build_autoencoder_in_keras,
    data=draw_twice,
    torch_loss=functional.mse_loss,
    keras_loss=keras.losses.MeanSquaredError,
    torch_optimizer=lambda parameters: torch.optim.Adam(parameters, lr=1e-3),
    keras_optimizer=lambda: keras.optimizers.Adam(1e-3),
    is_of_images=True,
)

"""A small convolutional network on CIFAR-10's airplanes and birds, written twice, as each framework's users write it.

`make_pair` leaves the two as they come out of a first port: the same layers, the same loss and an optimizer of the same
name. Three things differ all the same. Each later function has followed one more advice of the judge:

    python scripts/compare.py --pair examples.lenet:make_pair             # names the inputs
    python scripts/compare.py --pair examples.lenet:make_pair_normalised  # names the initial weights
    python scripts/compare.py --pair examples.lenet:make_pair_initialised # names Adam's epsilon
    python scripts/compare.py --pair examples.lenet:make_fixed_pair       # rounding-only
"""

import keras
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (as PyTorch's tutorials call it)
from keras import layers

from birdplane_keras.data import load_data
from birdplane_keras.model import linear_uniform
from birdplane_keras.parity import Pair, channels_last
from birdplane_keras.torch_equivalents import Adam

IMAGES = 2_000  # enough, as the judge follows few batches: an epoch is 62 of 32, and one of 16
MEAN = STD = np.float32(0.5)


class LeNet(torch.nn.Module):
    """The reference: from (N, 3, 32, 32) pixels to (N, 2) logits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = torch.nn.Conv2d(3, 6, 5)
        self.conv2 = torch.nn.Conv2d(6, 16, 5)
        self.fc1 = torch.nn.Linear(16 * 5 * 5, 120)
        self.fc2 = torch.nn.Linear(120, 84)
        self.fc3 = torch.nn.Linear(84, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.fc1(torch.flatten(x, 1)))
        return self.fc3(F.relu(self.fc2(x)))


def build_torch(seed: int) -> LeNet:
    """Returns the reference with PyTorch's default start, drawn after setting PyTorch's global seed."""
    torch.manual_seed(seed)
    return LeNet()


def build_keras(seed: int, *, initialised: bool, torch_adam: bool) -> keras.Sequential:
    """Returns the port, compiled: from (N, 32, 32, 3) pixels to (N, 2) logits.

    Args:
        seed: Set as Keras' global seed before the weights are drawn.
        initialised: Start the weights from PyTorch's default distribution, not from Keras'.
        torch_adam: Train by Adam in PyTorch's form, not in Keras'.
    """
    keras.utils.set_random_seed(seed)

    def start(fan_in: int) -> dict[str, keras.initializers.Initializer]:
        if not initialised:
            return {}
        return {"kernel_initializer": linear_uniform(fan_in), "bias_initializer": linear_uniform(fan_in)}

    model = keras.Sequential(
        [
            layers.Input((32, 32, 3)),
            layers.Conv2D(6, 5, activation="relu", **start(3 * 5 * 5)),
            layers.MaxPooling2D(2),
            layers.Conv2D(16, 5, activation="relu", **start(6 * 5 * 5)),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(120, activation="relu", **start(16 * 5 * 5)),
            layers.Dense(84, activation="relu", **start(120)),
            layers.Dense(2, **start(84)),
        ]
    )
    model.compile(
        optimizer=Adam() if torch_adam else keras.optimizers.Adam(),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def reference_data() -> tuple[np.ndarray, np.ndarray]:
    """Returns images (2000, 3, 32, 32) float32 from -1 to 1 and labels (2000,) int64, as PyTorch's users do."""
    (images, labels), _ = load_data()
    pixels = np.ascontiguousarray(images[:IMAGES].transpose(0, 3, 1, 2), dtype=np.float32) / np.float32(255)
    return (pixels - MEAN) / STD, labels[:IMAGES]


def port_data(*, normalised: bool) -> tuple[np.ndarray, np.ndarray]:
    """Returns images (2000, 32, 32, 3) float32 and labels (2000,) int64.

    Args:
        normalised: From -1 to 1 as the reference has them, not from 0 to 1 as Keras' users scale them.
    """
    (images, labels), _ = load_data()
    pixels = images[:IMAGES].astype(np.float32) / np.float32(255)
    return (pixels - MEAN) / STD if normalised else pixels, labels[:IMAGES]


def make_pair(seed: int = 0) -> Pair:
    """Returns the two programs as they are first written."""
    return build_pair(seed, normalised=False, initialised=False, torch_adam=False)


def make_pair_normalised(seed: int = 0) -> Pair:
    """Returns the pair after the first advice."""
    return build_pair(seed, normalised=True, initialised=False, torch_adam=False)


def make_pair_initialised(seed: int = 0) -> Pair:
    """Returns the pair after the second advice."""
    return build_pair(seed, normalised=True, initialised=True, torch_adam=False)


def make_fixed_pair(seed: int = 0) -> Pair:
    """Returns the pair after the third advice."""
    return build_pair(seed, normalised=True, initialised=True, torch_adam=True)


def build_pair(seed: int, *, normalised: bool, initialised: bool, torch_adam: bool) -> Pair:
    """Returns both programs with their own data pipelines; see `port_data` and `build_keras`."""
    module = build_torch(seed)
    return Pair(
        keras_model=build_keras(seed, initialised=initialised, torch_adam=torch_adam),
        torch_module=module,
        torch_loss=torch.nn.CrossEntropyLoss(),
        torch_optimizer=torch.optim.Adam(module.parameters()),
        data=reference_data(),
        to_keras=channels_last,
        keras_data=port_data(normalised=normalised),
    )

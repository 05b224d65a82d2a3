"""A small network written twice, with a mistake in the port: both frameworks' `leaky_relu` has a slope of its own.

python scripts/compare.py --pair examples.leaky:make_pair
"""

import keras
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (as PyTorch's tutorials call it)

from birdplane_keras.parity import Pair, channels_last


class Reference(torch.nn.Module):
    """From (N, 3, 8, 8) pixels to (N, 2) logits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3)
        self.out = torch.nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.leaky_relu(self.conv(x))
        return self.out(x.mean((2, 3)))


class Port(keras.Model):
    """From (N, 8, 8, 3) pixels to (N, 2) logits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = keras.layers.Conv2D(8, 3)
        self.out = keras.layers.Dense(2)

    def call(self, x: torch.Tensor) -> torch.Tensor:
        x = keras.ops.leaky_relu(self.conv(x))
        return self.out(keras.ops.mean(x, (1, 2)))


def make_pair(seed: int = 0) -> Pair:
    """Returns the pair, trained by SGD; both start from the reference's weights."""
    torch.manual_seed(seed)
    module, model = Reference(), Port()
    model.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model(np.zeros((1, 8, 8, 3), np.float32))  # builds it
    random = np.random.default_rng(seed)
    return Pair(
        keras_model=model,
        torch_module=module,
        torch_loss=torch.nn.CrossEntropyLoss(),
        torch_optimizer=torch.optim.SGD(module.parameters(), lr=0.1),
        data=(random.normal(size=(96, 3, 8, 8)).astype(np.float32), random.integers(0, 2, 96)),
        batch_size=16,
        to_keras=channels_last,
        initialisation=False,
    )

"""What an ordinary network is here: the same one on both sides, what it is trained on, and how."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import keras
import numpy as np
import torch
from torch import nn

LAYOUTS = ("channels_last", "channels_first")


@dataclass(frozen=True, kw_only=True)
class Network:
    """One network, written by hand in PyTorch and with Keras' layers.

    Args:
        name: Short.
        words: What it is made of and trained with.
        batch_size: Rows of a step.
        module: Builds it in PyTorch; images are (N, C, H, W).
        model: Builds it in Keras, for one of `LAYOUTS`.
        data: From a generator and a number of rows to inputs and targets; images are (N, C, H, W).
        torch_loss: From what the module returns and the targets to a scalar.
        keras_loss: The same, as `compile` takes it.
        torch_optimizer: Over the module's parameters.
        keras_optimizer: The same, as Keras has it.
        is_of_images: Whether inputs, and targets of four axes, are images, which each layout has its own form of.
    """

    name: str
    words: str
    batch_size: int
    module: Callable[[], nn.Module]
    model: Callable[[str], keras.Model]
    data: Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]
    torch_loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    keras_loss: Callable[[], keras.losses.Loss]
    torch_optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
    keras_optimizer: Callable[[], keras.optimizers.Optimizer]
    is_of_images: bool = False

    def compiled_model(self, layout: str, *, jit_compile: bool = False) -> keras.Model:
        """Returns the Keras model, compiled with its loss and its optimizer and no further metric."""
        model = self.model(layout)
        model.compile(optimizer=self.keras_optimizer(), loss=self.keras_loss(), jit_compile=jit_compile)
        return model

    def draw(self, rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Returns inputs and targets, as the module takes them."""
        return self.data(np.random.default_rng(seed), rows)

    def as_laid_out(self, array: np.ndarray, layout: str) -> np.ndarray:
        """Returns images (N, C, H, W) as a layout has them; anything else as it is."""
        if not self.is_of_images or array.ndim != 4 or layout == "channels_first":
            return array
        return np.ascontiguousarray(array.transpose(0, 2, 3, 1))


def sparse_categorical() -> keras.losses.Loss:
    """Keras' cross-entropy of logits and class numbers."""
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def draw_normal(generator: np.random.Generator, *shape: int) -> np.ndarray:
    """Returns normal numbers, float32."""
    return generator.standard_normal(shape, dtype=np.float32)

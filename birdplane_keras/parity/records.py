"""What a side shows the judge. The two sides share these shapes, not code."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

Tensors = Mapping[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class FirstStep:
    """The first training step of a side, taken apart.

    Args:
        logits: `forward`: (B, C) of the first batch, before any update.
        loss: `loss`: () of the first batch.
        gradients: `gradients`: name of each parameter -> its gradient, in the reference's layout.
        updated_weights: `first_update`: name of each parameter -> its value after one step.
    """

    logits: np.ndarray
    loss: np.ndarray
    gradients: Tensors
    updated_weights: Tensors


class TrainingRun(Protocol):
    """What training leaves behind on either side; weights in the reference's names and layout."""

    @property
    def weights(self) -> Tensors: ...
    @property
    def step_losses(self) -> np.ndarray: ...
    @property
    def history(self) -> Mapping[str, Sequence[float]]: ...
    @property
    def train_logits(self) -> np.ndarray: ...
    @property
    def validation_logits(self) -> np.ndarray: ...
    @property
    def seconds_per_epoch(self) -> Sequence[float]: ...

"""What a side shows the judge. The two sides share these shapes, not code."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

Tensors = Mapping[str, np.ndarray]
Reading = tuple[str, str, np.ndarray]  # a rung of the first steps, the name of a tensor, its value

STEP_RUNGS = ("forward", "loss", "gradients", "first_update", "optimizer_state", "evaluation")


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What the first few training steps of a side computed, rung by rung, in the reference's names and layout.

    Args:
        tensors: For each of `STEP_RUNGS`, name -> tensor: `forward` the outputs on the first batch, in training mode;
            `loss` the loss of each step; `gradients` those of the first step; `first_update` every weight after it;
            `optimizer_state` the optimizer's state and every weight after the last of the steps; `evaluation` moving
            statistics after the first and the last, and the outputs in evaluation mode, at the start and then.
    """

    tensors: Mapping[str, Tensors]

    @classmethod
    def of(cls, readings: Iterable[Reading]) -> "Probe":
        """Collects what was read on the way."""
        tensors: dict[str, dict[str, np.ndarray]] = {rung: {} for rung in STEP_RUNGS}
        for rung, name, value in readings:
            tensors[rung][name] = value
        return cls(tensors=tensors)


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

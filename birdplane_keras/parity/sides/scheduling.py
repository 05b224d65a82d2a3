"""When a scheduler of the reference is called, and with what."""

import copy
import inspect
import warnings
from typing import Any

import numpy as np

from birdplane_keras.parity.pair import Pair, count_examples
from birdplane_keras.parity.sides.examples import Epochs


class Schedule:
    """Counts the steps of a run of the reference and calls its scheduler after each, or after each epoch.

    Args:
        pair: With batches stated.
    """

    def __init__(self, pair: Pair) -> None:
        if pair.batches is None:
            raise RuntimeError("expected batches, which build_batches has stated")
        self.by = pair.schedule_by
        self.steps = 0
        self._epochs = Epochs(pair.batches, count_examples(pair.data))
        self._loss, self._examples = 0.0, 0

    def copy(self) -> "Schedule":
        """Returns one that counts on from here by itself."""
        copied = copy.copy(self)
        copied._epochs = copy.copy(self._epochs)
        return copied

    def made(self, scheduler: Any, loss: float, rows: np.ndarray) -> None:
        """Counts a step by its loss and the numbers of its examples, and calls the scheduler if it is time."""
        self.steps += 1
        if scheduler is None:
            return
        self._loss, self._examples = self._loss + loss * len(rows), self._examples + len(rows)
        self._epochs.begin(rows)
        if not self._epochs.end() and self.by == "epoch":
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if takes_a_number(scheduler):
                scheduler.step(self._loss / self._examples)
            else:
                scheduler.step()
        self._loss, self._examples = 0.0, 0


def takes_a_number(scheduler: Any) -> bool:
    """Whether a scheduler's `step` must be given a number, as that of `ReduceLROnPlateau`."""
    parameters = inspect.signature(scheduler.step).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return any(p.default is inspect.Parameter.empty and p.kind in kinds for p in parameters)

"""When a scheduler of the reference is called, and with what."""

import inspect
import warnings
from typing import Any

from birdplane_keras.parity.pair import Pair


class Schedule:
    """Counts the steps of a run of the reference and calls its scheduler after each, or after each epoch.

    Args:
        pair: With batches stated.
    """

    def __init__(self, pair: Pair) -> None:
        self.by = pair.schedule_by
        self.steps_per_epoch = len(pair.batches(0)) if pair.batches else 1
        self.steps = 0
        self._loss, self._examples = 0.0, 0

    def made(self, scheduler: Any, loss: float, examples: int) -> None:
        """Counts a step with its loss, and calls the scheduler if it is time."""
        self.steps += 1
        self._loss, self._examples = self._loss + loss * examples, self._examples + examples
        if scheduler is None or (self.by == "epoch" and self.steps % self.steps_per_epoch):
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

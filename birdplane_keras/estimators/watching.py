"""What an estimator looks at after each epoch: whether training still helps, and with which rate it goes on."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

LOWEST_RATE = 1e-6  # below it, `adaptive` stops instead of dividing once more, as scikit-learn's does
DIVISOR = 5.0


@dataclass(kw_only=True)
class Record:
    """What an estimator remembers of its training, beside weights and history.

    Args:
        rows: Rows that steps were made of.
        steps: Steps made.
        scores: Of held out rows, after each epoch of early stopping.
        best_score: The best of them.
        least_loss: The least training loss of an epoch that was watched.
        unimproved: Epochs in a row in which what was watched has not become better by `tol`.
    """

    rows: int = 0
    steps: int = 0
    scores: list[float] = field(default_factory=list)
    best_score: float = -np.inf
    least_loss: float = np.inf
    unimproved: int = 0


class Watch(keras.callbacks.Callback):
    """Stops training that no longer helps, keeps the best weights, and lets the rate fall.

    Args:
        record: Is brought up to date.
        rows: In an epoch.
        steps: In an epoch.
        tol: What counts as better.
        patience: Epochs in a row without that, after which the rate falls or training ends; `None` for no end.
        score: Returns the score of held out rows, which is then watched instead of the loss, and its best weights kept.
        rate: `constant`, `invscaling` or `adaptive`.
        first_rate: Where `invscaling` begins.
        power_t: Its exponent.
    """

    def __init__(
        self,
        record: Record,
        *,
        rows: int,
        steps: int,
        tol: float,
        patience: int | None,
        score: Callable[[], float] | None,
        rate: str,
        first_rate: Any,
        power_t: float,
    ) -> None:
        super().__init__()
        self.record, self.rows, self.steps = record, rows, steps
        self.tol, self.patience, self.score = tol, patience, score
        self.rate, self.first_rate, self.power_t = rate, first_rate, power_t
        self.stopped = False
        self._best_weights: list[np.ndarray] | None = None

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Takes the weights that a warm start begins with for the best so far."""
        if self.score is not None:
            self.record.best_score = self.score() if self.record.steps else -np.inf
            self._best_weights = self.model.get_weights()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Judges the epoch."""
        self.record.rows += self.rows
        self.record.steps += self.steps
        improved = self._watch_loss(logs or {}) if self.score is None else self._watch_score(self.score())
        self.record.unimproved = 0 if improved else self.record.unimproved + 1
        if self.rate == "invscaling":
            self.model.optimizer.learning_rate = self.first_rate / (self.record.rows + 1) ** self.power_t
        if self.patience is not None and self.record.unimproved >= self.patience:
            self._lower_or_stop()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Puts the best weights back."""
        if self._best_weights is not None:
            self.model.set_weights(self._best_weights)

    def _watch_loss(self, logs: dict[str, float]) -> bool:
        """Returns whether the training loss is less by `tol` than it ever was."""
        loss, least = logs["loss"], self.record.least_loss
        self.record.least_loss = min(least, loss)
        return loss < least and loss <= least - self.tol

    def _watch_score(self, score: float) -> bool:
        """Returns whether a score is better by `tol` than it ever was; the weights are kept if it is better at all."""
        best = self.record.best_score
        self.record.scores.append(score)
        if score > best:
            self.record.best_score = score
            self._best_weights = self.model.get_weights()
        return score > best and score >= best + self.tol

    def _lower_or_stop(self) -> None:
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        if self.rate == "adaptive" and rate > LOWEST_RATE:
            self.model.optimizer.learning_rate = rate / DIVISOR
            self.record.unimproved = 0
        else:
            self.stopped = self.model.stop_training = True

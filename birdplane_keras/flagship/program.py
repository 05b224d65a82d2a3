"""What each of the two programs is to the judge, in one shape; weights by the reference's names, in its layout."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from birdplane_keras.parity.core.records import Tensors, TrainingRun
from birdplane_keras.parity.core.samples import Places

# Called after each step as on_step_end(step, loss), the loss a tensor ().
OnStepEnd = Callable[[int, Any], None]
# Called after each epoch as on_epoch_end(epoch, metrics).
OnEpochEnd = Callable[[int, dict[str, float]], None]


class View(Protocol):
    """The weights of a model that is being trained."""

    def names(self, *, trainable: bool | None = None) -> Sequence[str]:
        """Returns the names of all tensors, of those that are trained, or of those that are not."""

    def read(self, name: str) -> np.ndarray:
        """Returns a copy of a tensor."""

    def read_some(self, name: str, places: Places) -> np.ndarray:
        """Returns the values at some places of a tensor."""

    def weights(self, *, trainable: bool | None = None) -> Tensors:
        """Returns copies of those tensors."""

    def set_weights(self, weights: Tensors) -> None:
        """Sets all tensors."""


class Program(Protocol):
    """A program that trains the classifier by itself."""

    def recipe(self) -> dict[str, Any]:
        """The hyperparameters, by field."""

    def data(self) -> Mapping[str, np.ndarray]:
        """`x_train` (10000, 3072) float32, `y_train` (10000,) int64, and the same for `validation`."""

    def inputs(self, epoch: int) -> np.ndarray:
        """`x_train` (10000, 3072) float32 as an epoch shows them, in file order."""

    def batches(self, epoch: int) -> list[np.ndarray]:
        """The row numbers of each batch of an epoch."""

    def parameter_counts(self) -> list[int]:
        """The elements of each trainable tensor."""

    def as_built(self) -> Tensors:
        """The trained weights that the program draws by itself."""

    def new_model(self) -> Any:
        """A model to train: with the weights that the comparison starts from."""

    def view(self, model: Any) -> View:
        """The weights of such a model."""

    def train(self, model: Any, on_step_end: OnStepEnd, on_epoch_end: OnEpochEnd) -> TrainingRun:
        """Trains such a model, the whole run."""

    def predict(self, model: Any, x: np.ndarray) -> np.ndarray:
        """From normalised pixels (N, 3072) to logits (N, 2)."""

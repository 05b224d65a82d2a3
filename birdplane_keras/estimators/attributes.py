"""What a fitted estimator shows of its model and its training, under the names that scikit-learn's networks use."""

import keras
import numpy as np

from birdplane_keras.estimators.network import weights_of
from birdplane_keras.estimators.optimizers import Compiled
from birdplane_keras.estimators.watching import Record


class FittedAttributes:
    """The attributes that are read from the Keras model, its history and the record of its training."""

    model_: keras.Sequential
    history_: dict[str, list[float]]
    _record: Record
    _compiled: Compiled

    @property
    def loss_curve_(self) -> list[float]:
        """The training loss of each epoch, its penalty included."""
        return self.history_["loss"]

    @property
    def best_loss_(self) -> float:
        """The least of `loss_curve_`."""
        return min(self.loss_curve_)

    @property
    def coefs_(self) -> list[np.ndarray]:
        """A copy of each layer's kernel, (in, out) float32."""
        return weights_of(self.model_, "kernel")

    @property
    def intercepts_(self) -> list[np.ndarray]:
        """A copy of each layer's bias, (out,) float32."""
        return weights_of(self.model_, "bias")

    @property
    def n_layers_(self) -> int:
        """Layers, the input counted as one."""
        return len(self.model_.layers) + 1

    @property
    def n_outputs_(self) -> int:
        """Units of the last layer."""
        return self.model_.output_shape[-1]

    @property
    def engine_(self) -> str:
        """What steps run on."""
        return self._compiled.engine

    @property
    def t_(self) -> int:
        """Rows that steps were made of, each as often as it came."""
        return self._record.rows

    @property
    def validation_scores_(self) -> list[float] | None:
        """The score of the held out rows after each epoch of early stopping; `None` without it."""
        return self._record.scores or None

    @property
    def best_validation_score_(self) -> float | None:
        """The best of `validation_scores_`."""
        return self._record.best_score if self._record.scores else None

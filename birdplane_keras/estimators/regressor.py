"""A stack of Dense layers as a scikit-learn regressor."""

from typing import Any

import keras
import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split
from sklearn.utils.validation import _check_sample_weight

from birdplane_keras.estimators.base import KerasDenseEstimator


class KerasDenseRegressor(RegressorMixin, KerasDenseEstimator):
    """A stack of Dense layers on the mean squared error, trained through `model.fit()`, as a scikit-learn regressor.

    Parameters and attributes are those of `KerasDenseClassifier`, without `class_weight`, `classes_` and accuracy. The
    loss of a step is the mean of `(y - prediction) ** 2` over rows and targets, with the penalty of `alpha`.
    `MLPRegressor` halves the squares: half of this `alpha` has the same effect there, for one target.

    `y` is not scaled: for targets far from 1, take scikit-learn's `TransformedTargetRegressor` with a `StandardScaler`.
    `score` and the score of held out rows are R².

    Args:
        hidden_layers: Units of each hidden layer; an integer is one layer, `()` none, which is linear regression.
        activation: As `KerasDenseClassifier` has it, like all that follow.
        optimizer: `sgd`, `adam`, `adamw`, `rmsprop`, or a Keras optimizer.
        learning_rate: A number, a schedule, `constant`, `invscaling`, `adaptive` or `None`.
        learning_rate_init: First step size, where `learning_rate` is a name.
        power_t: Exponent of `invscaling`.
        momentum: Of `sgd`.
        nesterov: Whether that momentum is Nesterov's.
        alpha: L2 penalty.
        batch_size: Rows in a step.
        epochs: Passes of `fit` over the rows, at most.
        standardise: `auto`, `pixels`, `features`, `cifar10` or `None`.
        engine: `auto`, `stock`, `exact` or `fused`.
        early_stopping: Whether held out rows end training.
        tol: What counts as better.
        n_iter_no_change: Epochs in a row without that which end training.
        validation_fraction: Part of the rows that `fit` holds out.
        warm_start: Whether a second `fit` goes on.
        random_state: Fixes initial weights, held out rows and orders.
        callbacks: Keras callbacks for `fit`.
        verbose: As Keras' `fit` takes it.
        device: Where to compute.
    """

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X, y, sample_weight=None):
        """Trains from new weights; with `warm_start`, goes on.

        Args:
            X: (N, D), (N, H, W) or (N, H, W, C).
            y: (N,) or (N, T) numbers.
            sample_weight: (N,) what each row's loss counts; `None` for 1.

        Returns:
            The estimator.

        Raises:
            ValueError: A parameter, a row or a target is not what it can be, or the weights did not stay finite.
        """
        self._learn(X, y, sample_weight, self._read_numbers, whole=True, multi_output=True, y_numeric=True)
        return self

    def partial_fit(self, X, y, sample_weight=None):
        """Makes one more pass, over these rows; nothing is held out.

        Args:
            X: As `fit` takes it.
            y: As many targets as at the first call.
            sample_weight: As `fit` takes it.

        Returns:
            The estimator.

        Raises:
            ValueError: As `fit`; or early stopping is asked for.
        """
        self._learn(X, y, sample_weight, self._read_numbers, whole=False, multi_output=True, y_numeric=True)
        return self

    def predict(self, X):
        """Returns float64 of the shape that `y` had: (N,) or (N, T)."""
        outputs = self._outputs(X)
        return outputs[:, 0] if self._one_dimensional else outputs

    def _read_numbers(self, y: np.ndarray, first: bool) -> tuple[np.ndarray, int]:
        """Returns targets (N, T) float32, and T."""
        with np.errstate(over="ignore"):
            targets = y.reshape(len(y), -1).astype(np.float32)
        if not np.isfinite(targets).all():
            raise ValueError("expected y within ±3.4e38, which float32 holds, received larger numbers: scale y")
        if first:
            self._one_dimensional = y.ndim == 1
        elif targets.shape[1] != self.n_outputs_:
            raise ValueError(f"expected {self.n_outputs_} targets, as in the first fit, received {targets.shape[1]}")
        return targets, targets.shape[1]

    def _weigh(self, sample_weight: Any, rows: np.ndarray, y: np.ndarray) -> np.ndarray | None:
        if sample_weight is None:
            return None
        return _check_sample_weight(sample_weight, rows, dtype=np.float64, ensure_non_negative=True).astype(np.float32)

    def _split(self, targets: np.ndarray, fraction: float) -> list[np.ndarray]:
        return train_test_split(np.arange(len(targets)), test_size=fraction, random_state=self.seed_)

    def _loss(self) -> tuple[keras.losses.Loss, list[str]]:
        return keras.losses.MeanSquaredError(), []

    def _score_outputs(self, outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None) -> float:
        return float(r2_score(targets, outputs, sample_weight=weights))

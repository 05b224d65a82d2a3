"""What both estimators share: rows in, `model.fit()` with the batches and engines of this package, outputs out."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any

import keras
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from birdplane_keras.estimators.optimizers import Rate
from birdplane_keras.estimators.rows import check_alike, fit_scaling, hint_at_pixels, look_at, standardise
from birdplane_keras.estimators.settings import check_settings, held_out_fraction
from birdplane_keras.estimators.training import NetworkTraining
from birdplane_keras.keras_warnings import own_warnings_ignored
from birdplane_keras.prediction import predict_rows
from birdplane_keras.user_code import warning_level

ReadTargets = Callable[[np.ndarray, bool], tuple[np.ndarray, int]]
FEWEST_HELD_OUT = 2  # a score of less says nothing


class KerasDenseEstimator(NetworkTraining, ABC):
    """A stack of Dense layers behind scikit-learn's interface: see `KerasDenseClassifier` for the parameters."""

    def __init__(
        self,
        hidden_layers: int | Sequence[int] = 100,
        *,
        activation: str | Callable = "relu",
        optimizer: str | keras.optimizers.Optimizer = "adam",
        learning_rate: Rate = None,
        learning_rate_init: float | None = None,
        power_t: float = 0.5,
        momentum: float = 0.0,
        nesterov: bool = False,
        alpha: float = 1e-4,
        batch_size: int = 200,
        epochs: int = 200,
        standardise: str | None = "auto",
        engine: str = "auto",
        early_stopping: bool = False,
        tol: float | None = 1e-4,
        n_iter_no_change: int = 10,
        validation_fraction: float | None = None,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        callbacks: Sequence[keras.callbacks.Callback] | None = None,
        verbose: int = 0,
        device: str = "cpu",
    ) -> None:
        self.hidden_layers = hidden_layers
        self.activation = activation
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.momentum = momentum
        self.nesterov = nesterov
        self.alpha = alpha
        self.batch_size = batch_size
        self.epochs = epochs
        self.standardise = standardise
        self.engine = engine
        self.early_stopping = early_stopping
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.validation_fraction = validation_fraction
        self.warm_start = warm_start
        self.random_state = random_state
        self.callbacks = callbacks
        self.verbose = verbose
        self.device = device

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    @abstractmethod
    def _weigh(self, sample_weight: Any, rows: np.ndarray, y: np.ndarray) -> np.ndarray | None:
        """Returns what each row's loss counts, (N,) float32; `None` where that is 1."""

    @abstractmethod
    def _split(self, targets: np.ndarray, fraction: float) -> list[np.ndarray]:
        """Returns which rows train, and which are held out."""

    @own_warnings_ignored()
    def _learn(self, X, y, sample_weight: Any, read_targets: ReadTargets, *, whole: bool, **checks: Any) -> None:
        """Trains on rows.

        Args:
            X: As `fit` takes it.
            y: Likewise.
            sample_weight: Likewise.
            read_targets: Returns from checked labels or numbers, and whether they are the first, what the network
                learns, and how many outputs that takes.
            whole: Whether this is `fit`: epochs, held out rows and an end; else it is one more pass.
            checks: Of `y`, by scikit-learn.
        """
        check_settings(self)
        if self.early_stopping and not whole:
            raise ValueError("expected early_stopping=False in partial_fit, which holds nothing out, received True")
        first = not hasattr(self, "model_") or (whole and not self.warm_start)
        look = look_at(X)
        rows, y = validate_data(self, look.values, y, dtype="numeric", reset=first, **checks)
        targets, outputs = read_targets(y, first)
        weights = self._weigh(sample_weight, rows, y)
        if first:
            self.seed_ = draw_seed(self.random_state)
        kept, out = self._hold_out(targets, held_out_fraction(self) if whole else 0.0)
        if first:
            self._begin(fit_scaling(self.standardise, look, rows, kept), outputs)
            hint_at_pixels(self._scaling, look, rows)
        else:
            check_alike(self._scaling, look, rows)
            self._require_same_network()
        parts = [part for part in (standardise(self._scaling, rows), targets, weights) if part is not None]
        if whole:
            self._record.unimproved = 0
        watch = self._train(
            [part[kept] for part in parts] if len(out) else parts,
            [part[out] for part in parts if len(out)],
            self.epochs if whole else 1,
        )
        if whole and self.tol is not None and not watch.stopped and self.n_iter_ == self.epochs:
            warnings.warn(
                f"expected tol={self.tol:g} to end training within epochs={self.epochs}, received no end: raise epochs "
                "or tol, or set tol=None",
                ConvergenceWarning,
                stacklevel=warning_level(),
            )

    def _hold_out(self, targets: np.ndarray, fraction: float) -> list[np.ndarray]:
        if not fraction:
            return [np.arange(len(targets)), np.arange(0)]
        kept, out = self._split(targets, fraction)
        if self.early_stopping and len(out) < FEWEST_HELD_OUT:
            raise ValueError(
                f"expected {FEWEST_HELD_OUT} held out rows or more for early_stopping, received {len(out)} of "
                f"{len(targets)}: raise validation_fraction"
            )
        return [kept, out]

    def _outputs(self, X) -> np.ndarray:
        """Returns what the network says of rows, (N, outputs) float64, as it comes in float32."""
        check_is_fitted(self, "model_")
        look = look_at(X)
        rows = validate_data(self, look.values, dtype="numeric", reset=False)
        check_alike(self._scaling, look, rows)
        x = standardise(self._scaling, rows)
        with keras.device(self.device):
            return predict_rows(self.model_, x).astype(np.float64)


def draw_seed(state: int | np.random.RandomState | None) -> int:
    """Returns the integer that a `random_state` stands for."""
    return int(state) if isinstance(state, Integral) else int(check_random_state(state).randint(2**31))

"""The classifier as a scikit-learn estimator: the model, the batches and the engines of this package behind `fit`."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import keras
import numpy as np
import torch
from scipy.special import log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, column_or_1d, validate_data

from birdplane_keras import torch_plugin
from birdplane_keras.data.batches import EpochBatches
from birdplane_keras.data.inputs import normalize
from birdplane_keras.model import add_dense_layers, initial_seeds
from birdplane_keras.prediction import predict_rows

IMAGE_SHAPE = (32, 32, 3)
PIXELS = 3072


class BirdPlaneClassifier(ClassifierMixin, BaseEstimator):
    """A stack of Dense layers on softmax cross-entropy, trained by plain SGD through `model.fit()`.

    With the defaults and an integer `random_state` it ends in the weights of the preset `narrow` with that seed, to the
    last bit.

    `X` is either pixels, uint8 images (N, 32, 32, 3) or the same flattened to (N, 3072), which are standardised with
    the mean and deviation of CIFAR-10 as the presets do; or any other numbers (N, D), which are taken as they are. What
    `fit` has seen, `predict` expects.

    Args:
        hidden_layers: Units of each hidden layer.
        activation: After each hidden layer, by the name that Keras has for it, or a function.
        learning_rate: Step size of plain SGD.
        batch_size: Rows in a step; the last batch of an epoch is smaller.
        epochs: Passes of `fit` over the rows.
        engine: What a step runs on: `stock`, `exact` or `fused`.
        class_weight: What an error in each class counts: a dictionary by label, `"balanced"`, or `None` for 1.
        validation_fraction: Part of the rows, with the classes in proportion, that `fit` holds out and scores after
            each epoch.
        random_state: An integer fixes initial weights, held out rows and the order of every epoch.
        callbacks: Keras callbacks for `fit`.
        verbose: As Keras' `fit` takes it.
        device: Where to compute, as PyTorch names it.

    Attributes:
        classes_: The labels, sorted.
        model_: The Keras model, from (N, D) float32 to (N, classes) logits.
        history_: Keras' lists, an entry per epoch: `loss`, `accuracy`, and with held out rows `val_loss` and
            `val_accuracy`.
        epochs_: Passes made so far.
        seed_: The integer that was made of `random_state`.
        n_features_in_: D; 3072 for images.
        feature_names_in_: The columns' names, if `X` had any.
    """

    def __init__(
        self,
        hidden_layers: Sequence[int] = (512,),
        *,
        activation: str = "tanh",
        learning_rate: float = 1e-2,
        batch_size: int = 64,
        epochs: int = 100,
        engine: str = "exact",
        class_weight: dict | str | None = None,
        validation_fraction: float = 0.0,
        random_state: int | np.random.RandomState | None = None,
        callbacks: Sequence[keras.callbacks.Callback] | None = None,
        verbose: int = 0,
        device: str = "cpu",
    ) -> None:
        self.hidden_layers = hidden_layers
        self.activation = activation
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.epochs = epochs
        self.engine = engine
        self.class_weight = class_weight
        self.validation_fraction = validation_fraction
        self.random_state = random_state
        self.callbacks = callbacks
        self.verbose = verbose
        self.device = device

    def fit(self, X, y, sample_weight=None):
        """Trains from new weights.

        Args:
            X: (N, 32, 32, 3) uint8, (N, 3072) uint8, or (N, D).
            y: (N,) labels of any type.
            sample_weight: (N,) what each row's loss counts; `None` for 1.
        """
        x, y = self._check_rows(X, y)
        weights = self._check_weights(sample_weight, x, y)
        self._begin(np.unique(y), x.shape[1])
        codes = np.searchsorted(self.classes_, y)
        held_out = None
        if self.validation_fraction:
            kept, out = train_test_split(
                np.arange(len(x)), test_size=self.validation_fraction, stratify=codes, random_state=self.seed_
            )
            held_out = (x[out], codes[out]) if weights is None else (x[out], codes[out], weights[out])
            x, codes, weights = x[kept], codes[kept], None if weights is None else weights[kept]
        self._train(x, codes, weights, self.epochs, held_out)
        return self

    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Makes one more pass, over these rows; nothing is held out.

        Args:
            X: As `fit` takes it.
            y: (N,) labels.
            classes: All labels that will ever come; needed at the first call.
            sample_weight: As `fit` takes it.
        """
        first = not hasattr(self, "model_")
        if first and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit")
        if self.class_weight == "balanced":
            raise ValueError("class_weight 'balanced' needs all rows at once: pass partial_fit a dictionary")
        x, y = self._check_rows(X, y, reset=first)
        if first:
            self._begin(np.unique(classes), x.shape[1])
        elif classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(f"expected the classes of the first call, {self.classes_}, received {np.unique(classes)}")
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise ValueError(f"expected labels among the classes {self.classes_}, received {unknown}")
        self._train(x, np.searchsorted(self.classes_, y), self._check_weights(sample_weight, x, y), 1, None)
        return self

    def decision_function(self, X):
        """Returns (N,) the second class's logit less the first's; with more than two classes, logits (N, classes)."""
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def predict(self, X):
        """Returns the label of the largest logit: (N,)."""
        best = self._logits(X).argmax(axis=1)
        return self.classes_[best]

    def predict_proba(self, X):
        """Returns probabilities (N, classes) float64, in the order of `classes_`."""
        return softmax(self._logits(X), axis=1)

    def predict_log_proba(self, X):
        """Returns the logarithms of `predict_proba`."""
        return log_softmax(self._logits(X), axis=1)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if "model_" in state:
            state["model_"] = self.model_.get_weights()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "model_" in state:
            weights = state["model_"]
            self._build()
            self.model_.set_weights(weights)

    def _check_rows(self, X, y, reset: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """Returns rows (N, D) float32 and labels (N,), and notes what the rows are."""
        self._check_parameters()
        pixels, X = flatten_images(X)
        X, y = validate_data(self, X, y, dtype=np.uint8 if pixels else np.float32, reset=reset)
        check_classification_targets(y)
        if reset:
            self.pixels_ = pixels
        return self._standardise(X, pixels), column_or_1d(y, warn=True)

    def _standardise(self, rows: np.ndarray, pixels: bool) -> np.ndarray:
        if pixels != self.pixels_:
            kinds = {True: "uint8 pixels", False: "numbers that are no uint8 pixels"}
            raise ValueError(f"expected {kinds[self.pixels_]}, as in fit, received {kinds[pixels]}")
        return normalize(rows.reshape(-1, *IMAGE_SHAPE)) if pixels else rows

    def _check_weights(self, sample_weight, x: np.ndarray, y: np.ndarray) -> np.ndarray | None:
        """Returns what each row counts by itself and by its class, (N,) float32; `None` where that is 1."""
        if sample_weight is None and self.class_weight is None:
            return None
        weights = _check_sample_weight(sample_weight, x, dtype=np.float64, ensure_non_negative=True)
        if self.class_weight is not None:
            weights = weights * compute_sample_weight(self.class_weight, y)
        return weights.astype(np.float32)

    def _check_parameters(self) -> None:
        for name in ("batch_size", "epochs"):
            value = getattr(self, name)
            if not isinstance(value, Integral) or value < 1:
                raise ValueError(f"expected {name} to be an integer of at least 1, received {value!r}")
        if not all(isinstance(units, Integral) and units >= 1 for units in self.hidden_layers):
            raise ValueError(f"expected hidden_layers of at least 1 unit each, received {self.hidden_layers!r}")
        if not 0 < self.learning_rate < float("inf"):
            raise ValueError(f"expected learning_rate above 0, received {self.learning_rate!r}")
        if not 0 <= self.validation_fraction < 1:
            raise ValueError(f"expected validation_fraction from 0 to below 1, received {self.validation_fraction!r}")
        if self.engine not in ("stock", "exact", "fused"):
            raise ValueError(f"expected engine to be stock, exact or fused, received {self.engine!r}")

    def _begin(self, classes: np.ndarray, inputs: int) -> None:
        """Starts anew: the seed, the weights, an empty history."""
        if len(classes) < 2:
            raise ValueError(f"expected labels of at least 2 classes, received {len(classes)} class: {classes}")
        state = self.random_state
        self.seed_ = int(state) if isinstance(state, Integral) else int(check_random_state(state).randint(2**31))
        self.classes_ = classes
        self.n_features_in_ = inputs
        self.history_: dict[str, list[float]] = {}
        self.epochs_ = 0
        self._build()

    def _build(self) -> None:
        with keras.device(self.device):
            self.model_ = keras.Sequential([keras.layers.Input((self.n_features_in_,))])
            seeds = initial_seeds(self.seed_, len(self.hidden_layers) + 1)
            add_dense_layers(
                self.model_, self.n_features_in_, self.hidden_layers, len(self.classes_), seeds, self.activation
            )
            self.model_.compile(
                optimizer=keras.optimizers.SGD(learning_rate=self.learning_rate),
                loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                metrics=["accuracy"],
                jit_compile=False,
            )
            if self.engine != "stock":
                torch_plugin.attach(self.model_, self.engine)

    def _train(self, x: np.ndarray, codes: np.ndarray, weights: np.ndarray | None, epochs: int, held_out: Any) -> None:
        """Makes passes over rows (N, D), classes (N,) as numbers and what each row counts."""
        with keras.device(self.device):
            rows = [torch.from_numpy(part).to(self.device) for part in (x, codes, weights) if part is not None]
            batches = EpochBatches(*rows, batch_size=self.batch_size, seed=self.seed_)
            history = self.model_.fit(
                batches,
                initial_epoch=self.epochs_,
                epochs=self.epochs_ + epochs,
                shuffle=False,  # the batches are in the epoch's order already
                validation_data=held_out,
                validation_batch_size=self.batch_size,
                callbacks=[batches.follow_epochs(), *(self.callbacks or ())],
                verbose=self.verbose,
            )
        self.epochs_ += len(history.epoch)
        for name, values in history.history.items():
            self.history_.setdefault(name, []).extend(values)

    def _logits(self, X) -> np.ndarray:
        """Returns logits (N, classes) float64, as they come in float32."""
        check_is_fitted(self)
        pixels, X = flatten_images(X)
        X = validate_data(self, X, dtype=np.uint8 if pixels else np.float32, reset=False)
        rows = self._standardise(X, pixels)
        with keras.device(self.device):
            return predict_rows(self.model_, rows).astype(np.float64)


def flatten_images(X) -> tuple[bool, Any]:
    """Returns whether `X` is pixels, and `X` with images (N, 32, 32, 3) flattened to (N, 3072).

    Raises:
        ValueError: `X` has more than two dimensions and is not uint8 images.
    """
    shape: tuple[int, ...] = getattr(X, "shape", ())
    dtype = getattr(X, "dtype", None)
    if len(shape) > 2:
        if shape[1:] != IMAGE_SHAPE or dtype != np.uint8:
            expected = "Expected rows (N, D), a 2D array, or images (N, 32, 32, 3) uint8"
            raise ValueError(f"{expected}, received shape {shape}, {dtype}")
        return True, np.asarray(X).reshape(len(X), PIXELS)
    return len(shape) == 2 and shape[1] == PIXELS and dtype == np.uint8, X

"""The classifier of airplanes and birds as a scikit-learn estimator."""

from collections.abc import Callable, Sequence

import keras
import numpy as np

from birdplane_keras.estimators.classifier import KerasDenseClassifier
from birdplane_keras.estimators.optimizers import Rate


class BirdPlaneClassifier(KerasDenseClassifier):
    """`KerasDenseClassifier` with the defaults of the preset `narrow`: pixels of CIFAR-10, tanh, plain SGD.

    With the defaults and an integer `random_state` it ends in the weights of that preset with that seed, to the last
    bit.

    `X` is either pixels of CIFAR-10, or any other rows (N, D), which are read as they are. Pixels are images (N,
    32, 32, 3) or rows of 3072 integers within 0..255, in an array or a DataFrame of any integer dtype. They are
    standardised as the presets do. Parameters and attributes are those of `KerasDenseClassifier`; these are the
    defaults that differ.

    Args:
        hidden_layers: One layer of 512 units.
        activation: `tanh`.
        optimizer: `sgd`, without momentum.
        learning_rate: 0.01. Beside an optimizer object it is to be `None`.
        alpha: 0.
        batch_size: 64.
        epochs: 100.
        standardise: `cifar10`.
        engine: `exact`, as the presets.
        tol: `None`: all epochs are made.
    """

    def __init__(
        self,
        hidden_layers: int | Sequence[int] = (512,),
        *,
        activation: str | Callable = "tanh",
        optimizer: str | keras.optimizers.Optimizer = "sgd",
        learning_rate: Rate = 1e-2,
        learning_rate_init: float | None = None,
        power_t: float = 0.5,
        momentum: float = 0.0,
        nesterov: bool = False,
        alpha: float = 0.0,
        batch_size: int = 64,
        epochs: int = 100,
        standardise: str | None = "cifar10",
        engine: str = "exact",
        early_stopping: bool = False,
        tol: float | None = None,
        n_iter_no_change: int = 10,
        validation_fraction: float | None = None,
        warm_start: bool = False,
        class_weight: dict | str | None = None,
        random_state: int | np.random.RandomState | None = None,
        callbacks: Sequence[keras.callbacks.Callback] | None = None,
        verbose: int = 0,
        device: str = "cpu",
    ) -> None:
        super().__init__(
            hidden_layers,
            activation=activation,
            optimizer=optimizer,
            learning_rate=learning_rate,
            learning_rate_init=learning_rate_init,
            power_t=power_t,
            momentum=momentum,
            nesterov=nesterov,
            alpha=alpha,
            batch_size=batch_size,
            epochs=epochs,
            standardise=standardise,
            engine=engine,
            early_stopping=early_stopping,
            tol=tol,
            n_iter_no_change=n_iter_no_change,
            validation_fraction=validation_fraction,
            warm_start=warm_start,
            class_weight=class_weight,
            random_state=random_state,
            callbacks=callbacks,
            verbose=verbose,
            device=device,
        )

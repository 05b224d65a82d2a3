"""The parameters of an estimator, checked when `fit` is called, as scikit-learn does."""

from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

import keras
import numpy as np

from birdplane_keras.devices import why_not
from birdplane_keras.estimators.engines import ENGINES
from birdplane_keras.estimators.network import hidden_units, keras_activation
from birdplane_keras.estimators.optimizers import OPTIMIZERS, RATES
from birdplane_keras.estimators.rows import STANDARDISE

HELD_OUT = 0.1  # what early stopping holds out where nothing else is asked for


def held_out_fraction(settings: Any) -> float:
    """Returns which part of the rows `fit` holds out."""
    if settings.validation_fraction is None:
        return HELD_OUT if settings.early_stopping else 0.0
    return settings.validation_fraction


def check_settings(settings: Any) -> None:
    """Makes sure that the parameters of an estimator have values that they can have, together.

    Raises:
        ValueError: One has not.
    """
    hidden_units(settings.hidden_layers)
    keras_activation(settings.activation)
    for name in ("batch_size", "epochs", "n_iter_no_change"):
        value = getattr(settings, name)
        expect(is_number(value, Integral) and value >= 1, f"{name} to be an integer of at least 1", value)
    callbacks = settings.callbacks or ()
    are_callbacks = isinstance(callbacks, Iterable) and all(
        isinstance(each, keras.callbacks.Callback) for each in callbacks
    )
    expect(are_callbacks, "callbacks to be Keras callbacks", settings.callbacks)
    expect(why_not(settings.device) is None, "a device that this machine has, such as cpu", settings.device)
    for name in ("early_stopping", "warm_start", "nesterov"):
        value = getattr(settings, name)
        expect(isinstance(value, bool | np.bool_), f"{name} to be True or False", value)
    for name in ("alpha", "power_t"):
        value = getattr(settings, name)
        expect(is_number(value, Real) and 0 <= value < float("inf"), f"{name} of at least 0", value)
    expect(settings.engine in ENGINES, "engine to be auto, stock, exact or fused", settings.engine)
    known = isinstance(settings.verbose, bool | int | np.integer) or settings.verbose == "auto"
    expect(known and settings.verbose in (0, 1, 2, "auto"), "verbose to be 0, 1, 2 or 'auto'", settings.verbose)
    words = "standardise to be 'auto', 'pixels', 'features', 'cifar10' or None"
    expect(settings.standardise in STANDARDISE, words, settings.standardise)
    check_optimizer(settings)
    check_stopping(settings)


def check_optimizer(settings: Any) -> None:
    """Checks `optimizer` and what belongs to it.

    Raises:
        ValueError: They do not fit together.
    """
    optimizer, rate, first = settings.optimizer, settings.learning_rate, settings.learning_rate_init
    if isinstance(optimizer, str):
        expect(optimizer in OPTIMIZERS, f"optimizer to be {', '.join(OPTIMIZERS)}, or a Keras optimizer", optimizer)
    else:
        expect(
            isinstance(optimizer, keras.optimizers.Optimizer), "optimizer to be a name or a Keras optimizer", optimizer
        )
        for name, value in (("learning_rate", rate), ("learning_rate_init", first)):
            expect(value is None, f"{name}=None beside an optimizer object, which brings its own rate", value)
    if isinstance(rate, str):
        expect(rate in RATES, f"learning_rate to be a number, a schedule, {', '.join(RATES)} or None", rate)
    elif rate is not None and not isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        expect(is_number(rate, Real) and 0 < rate < float("inf"), "learning_rate above 0", rate)
    if first is not None:
        expect(isinstance(rate, str), "learning_rate_init=None where learning_rate is no name", first)
        expect(is_number(first, Real) and 0 < first < float("inf"), "learning_rate_init above 0", first)
    momentum = settings.momentum
    expect(is_number(momentum, Real) and 0 <= momentum <= 1, "momentum from 0 to 1", momentum)
    if optimizer != "sgd":
        expect(momentum == 0, "momentum=0 with another optimizer than 'sgd'", momentum)
        expect(not settings.nesterov, "nesterov=False with another optimizer than 'sgd'", settings.nesterov)
    expect(momentum > 0 or not settings.nesterov, "nesterov=False where momentum is 0", settings.nesterov)


def check_stopping(settings: Any) -> None:
    """Checks what `fit` holds out and when it stops.

    Raises:
        ValueError: That does not fit together.
    """
    tol, fraction = settings.tol, settings.validation_fraction
    expect(tol is None or (is_number(tol, Real) and 0 <= tol < float("inf")), "tol of at least 0, or None", tol)
    number = fraction is None or (is_number(fraction, Real) and 0 <= fraction < 1)
    expect(number, "validation_fraction from 0 to below 1, or None", fraction)
    if settings.early_stopping:
        expect(held_out_fraction(settings) > 0, "validation_fraction above 0 with early_stopping", fraction)
    elif isinstance(settings.learning_rate, str) and settings.learning_rate == "adaptive":
        expect(tol is not None, "tol of at least 0 with learning_rate='adaptive', which falls where that stops", tol)


def is_number(value: Any, kind: type) -> bool:
    """Returns whether a value is a number of a kind, and no truth value."""
    return isinstance(value, kind) and not isinstance(value, bool)


def expect(holds: bool, expected: str, received: Any) -> None:
    """Makes sure that a condition holds.

    Raises:
        ValueError: It does not.
    """
    if not holds:
        raise ValueError(f"expected {expected}, received {received!r}")

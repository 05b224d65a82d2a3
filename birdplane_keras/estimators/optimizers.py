"""The optimizer of an estimator, by name or as a Keras object, and what else a model is compiled with."""

from dataclasses import dataclass
from numbers import Real
from typing import Any, Protocol, TypeAlias

import keras

OPTIMIZERS = {
    "sgd": keras.optimizers.SGD,
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "rmsprop": keras.optimizers.RMSprop,
}
RATES = ("constant", "invscaling", "adaptive")  # scikit-learn's names
Configured: TypeAlias = tuple[type[keras.optimizers.Optimizer], dict[str, Any]]
Rate: TypeAlias = float | str | keras.optimizers.schedules.LearningRateSchedule | None


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """How a model is trained at present.

    Args:
        optimizer: Its class and configuration.
        penalty: `alpha` and `batch_size`, which `factor` was made of.
        factor: Of the sum of all squared kernels, in the loss of a step.
        engine: What it runs on.
    """

    optimizer: Configured
    penalty: tuple[float, int]
    factor: float
    engine: str


class OptimizerSettings(Protocol):
    """The parameters of an estimator that are its optimizer's."""

    optimizer: str | keras.optimizers.Optimizer
    learning_rate: Rate
    learning_rate_init: float | None
    momentum: float
    nesterov: bool


def build_optimizer(settings: OptimizerSettings) -> keras.optimizers.Optimizer:
    """Returns a new optimizer; an optimizer object is cloned, as it was configured."""
    if not isinstance(settings.optimizer, str):
        return type(settings.optimizer).from_config(settings.optimizer.get_config())
    chosen: dict[str, Any] = {}
    rate = settings.learning_rate_init if isinstance(settings.learning_rate, str) else settings.learning_rate
    if rate is not None:
        chosen["learning_rate"] = float(rate) if isinstance(rate, Real) else rate
    if settings.optimizer == "sgd":
        chosen |= {"momentum": settings.momentum, "nesterov": settings.nesterov}
    return OPTIMIZERS[settings.optimizer](**chosen)


def describe_optimizer(
    optimizer: keras.optimizers.Optimizer,
) -> Configured:
    """Returns the class and the configuration that make the same optimizer again, with no memory of any step."""
    return type(optimizer), {name: value for name, value in optimizer.get_config().items() if name != "name"}


def optimizer_state(optimizer: keras.optimizers.Optimizer) -> list:
    """Returns what an optimizer remembers, as arrays: steps, rate, moments."""
    return [keras.ops.convert_to_numpy(variable).copy() for variable in optimizer.variables]


def restore_optimizer(optimizer: keras.optimizers.Optimizer, model: keras.Model, state: list) -> None:
    """Has an optimizer go on as the one did that `optimizer_state` was taken from."""
    optimizer.build(model.trainable_variables)
    for variable, value in zip(optimizer.variables, state, strict=True):
        variable.assign(value)

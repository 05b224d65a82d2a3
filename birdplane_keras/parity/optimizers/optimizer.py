"""What an optimizer is to the judge: one file of this package describes one, one line of `registry` makes it known."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import torch

from birdplane_keras.torch_equivalents.form import as_given

# PyTorch's name of a state -> Keras' variables in the order of its weights, and what makes PyTorch's value of theirs.
KerasStates = Mapping[str, tuple[Sequence[Any], float]]
Option = str | tuple[str, int]  # of a parameter group of PyTorch's: its name, or a place in it

CLOSE = 1e-6  # relative difference below which two settings are one number: Keras keeps some in float32


@dataclass(frozen=True, kw_only=True)
class Form:
    """A difference between the rules of the two frameworks that no setting fixes.

    Args:
        cause: What the diagnosis calls it.
        text: The difference in a sentence.
        evidence: What was emulated.
        make: From the parameter groups of the reference to an optimizer in the port's form.
    """

    cause: str
    text: str
    evidence: str
    make: Callable[[Sequence[dict[str, Any]]], torch.optim.Optimizer]


def no_states(optimizer: Any) -> KerasStates:
    """Returns that an optimizer keeps nothing that PyTorch's keeps, too."""
    return {}


def no_forms(ours: Any, theirs: torch.optim.Optimizer, *, scheduled: bool) -> Iterator[Form]:
    """Yields no difference of form."""
    return iter(())


@dataclass(frozen=True, kw_only=True)
class OptimizerKind:
    """An optimizer that both frameworks have.

    Args:
        name: PyTorch's class.
        is_keras: Whether a Keras optimizer is one.
        is_torch: Whether a PyTorch optimizer is one.
        settings: Keras' name of a setting -> the option of PyTorch's parameter groups, and the cause of a difference.
        torch_states: What PyTorch's keeps for each weight.
        states: From a Keras optimizer to what it keeps, by PyTorch's names.
        complete: Whether these states are all that it keeps, so that a run may go on from them.
        couples: Whether a PyTorch optimizer adds the weight decay to the gradient, or takes it from the weight.
        forms: Yields where the rules of the two differ, whatever the settings.
        equivalent: The class of `torch_equivalents` that is PyTorch's; `None` where there is none.
    """

    name: str
    is_keras: Callable[[Any], bool]
    is_torch: Callable[[torch.optim.Optimizer], bool]
    settings: Mapping[str, tuple[Option, str]]
    torch_states: tuple[str, ...] = ()
    states: Callable[[Any], KerasStates] = no_states
    complete: Callable[[Any], bool] = lambda optimizer: True
    couples: bool = True
    forms: Callable[..., Iterator[Form]] = no_forms
    equivalent: type | None = None


def read_option(group: Mapping[str, Any], option: Option) -> Any:
    """Returns the value of an option of a parameter group; `None` where it has none."""
    if isinstance(option, str):
        return group.get(option)
    name, place = option
    return group[name][place] if name in group else None


def with_option(group: Mapping[str, Any], option: Option, value: Any) -> dict[str, Any]:
    """Returns what a parameter group has to be given for an option to have a value."""
    if isinstance(option, str):
        return {option: value}
    name, place = option
    values = list(group[name])
    values[place] = value
    return {name: tuple(values)}


def same_number(ours: Any, theirs: Any) -> bool:
    """Whether two settings are the same number, up to the float32 in which Keras keeps some."""
    if isinstance(ours, bool) or isinstance(theirs, bool) or ours is None or theirs is None:
        return bool(ours) == bool(theirs)
    return abs(ours - theirs) <= CLOSE * max(abs(ours), abs(theirs))


def is_stock(optimizer: Any) -> bool:
    """Whether an optimizer is one of Keras' own, not one of somebody's or of `torch_equivalents`."""
    return type(optimizer).__module__.startswith("keras.")


def is_scheduled(optimizer: Any) -> bool:
    """Whether the rate of a Keras optimizer follows a schedule of its own."""
    return isinstance(optimizer._learning_rate, keras.optimizers.schedules.LearningRateSchedule)


def rate_of(optimizer: Any) -> float:
    """Returns the rate of the next step of a Keras optimizer, as it was typed."""
    return as_given(optimizer.learning_rate)

"""An optimizer's rule over lists of tensors, and what of it changes from step to step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import torch

Tensors = list[torch.Tensor]
States = list[Tensors]  # of each kind of state, the tensors of all weights
Step = Callable[[Tensors, Tensors, States, Any], None]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How weights follow from gradients and states.

    Args:
        name: Of the optimizer.
        states: Of each kind of state, the tensors of all weights.
        scalars: Computes what is common to all weights in a step: the rate, a correction.
        step: From weights, gradients, states and scalars; writes weights and states by the optimizer's own operations.
        fused: The same in one call, which may round otherwise; `None` where PyTorch has none.
        decays: Whether the rule itself decays weights; elsewhere Keras' own function does, before it.
    """

    name: str
    states: list[list[torch.Tensor]]
    scalars: Callable[[], Any]
    step: Step
    fused: Step | None = None
    decays: bool = False


def states_of(optimizer: Any, weights: Sequence[Any], *names: str) -> list[list[torch.Tensor]]:
    """Returns the tensors that an optimizer keeps for some weights, by the names of its lists."""
    numbers = [optimizer._get_variable_index(weight) for weight in weights]
    return [[getattr(optimizer, name)[number]._value for number in numbers] for name in names]


def rate_tensor(optimizer: Any, dtype: torch.dtype) -> torch.Tensor:
    """Returns the rate of the next step, () of a type, as Keras' own rules take it."""
    rate = optimizer._get_current_learning_rate()
    value = rate._value if isinstance(rate, keras.Variable) else rate
    return value.to(dtype) if isinstance(value, torch.Tensor) else torch.tensor(value, dtype=dtype)


def rate_number(optimizer: Any) -> float:
    """Returns the rate of the next step: a variable's value, a schedule's, or what a function returns."""
    rate = optimizer._get_current_learning_rate()
    return float(rate._value if isinstance(rate, keras.Variable) else rate)

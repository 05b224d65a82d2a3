"""`torch.optim.Adagrad` and `keras.optimizers.Adagrad`, which adds its epsilon within the root."""

from collections.abc import Iterable, Iterator
from typing import Any

import keras
import torch

from birdplane_keras import torch_equivalents
from birdplane_keras.parity.optimizers.optimizer import Form, KerasStates, OptimizerKind, is_stock


class KerasAdagrad(torch.optim.Optimizer):
    """Adagrad as Keras has it: s += g^2; w -= rate * g / sqrt(s + epsilon), and s does not start at zero.

    Args:
        params: What to train, as groups with `lr`.
        epsilon: Added to s.
        start: Of s.

    Source: `keras.optimizers.Adagrad`.
    """

    def __init__(self, params: Iterable[Any], *, epsilon: float, start: float) -> None:
        super().__init__(params, {})
        self.epsilon, self.start = epsilon, start

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Makes one update."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    total = self.state[weight].setdefault("sum", torch.full_like(weight, self.start))
                    total.addcmul_(weight.grad, weight.grad)
                    weight -= group["lr"] * weight.grad / (total + self.epsilon).sqrt()


def states(optimizer: Any) -> KerasStates:
    """Returns the sum of squares."""
    return {"sum": (optimizer._accumulators, 1.0)}


def forms(ours: Any, theirs: torch.optim.Optimizer, *, scheduled: bool) -> Iterator[Form]:
    """Yields Keras' place of epsilon, and where its sums start."""
    if is_stock(ours):
        group = theirs.param_groups[0]
        yield Form(
            cause="adagrad_epsilon",
            text=f"Keras' Adagrad starts its sums at {ours.initial_accumulator_value:g} and adds epsilon "
            f"({ours.epsilon:g}) within the square root; PyTorch's starts at "
            f"{group.get('initial_accumulator_value', 0.0):g} and adds it ({group['eps']:g}) after",
            evidence="Keras' form of the update, emulated in PyTorch",
            make=lambda groups: KerasAdagrad(
                [dict(group) for group in groups], epsilon=ours.epsilon, start=ours.initial_accumulator_value
            ),
        )


KIND = OptimizerKind(
    name="Adagrad",
    is_keras=lambda optimizer: isinstance(optimizer, keras.optimizers.Adagrad),
    is_torch=lambda optimizer: isinstance(optimizer, torch.optim.Adagrad),
    settings={
        "learning_rate": ("lr", "learning_rate"),
        "epsilon": ("eps", "adagrad_epsilon"),
        "lr_decay": ("lr_decay", "schedule"),
    },
    torch_states=("sum",),
    states=states,
    forms=forms,
    equivalent=torch_equivalents.Adagrad,
)

"""`torch.optim.SGD` and `keras.optimizers.SGD`, whose velocity holds the rate."""

from collections.abc import Iterable, Iterator
from typing import Any

import keras
import torch

from birdplane_keras import torch_equivalents
from birdplane_keras.parity.optimizers.optimizer import (
    Form,
    KerasStates,
    OptimizerKind,
    is_scheduled,
    is_stock,
    rate_of,
)


class KerasSGD(torch.optim.Optimizer):
    """SGD with momentum as Keras has it: v = momentum * v - rate * g; w += v. The rate is part of what is kept.

    With Nesterov's momentum w += momentum * v - rate * g. The weight decays first: w -= rate * decay * w.

    Args:
        params: What to train, as groups with `lr`, `momentum`, `nesterov` and `weight_decay`.

    Source: `keras.optimizers.SGD`.
    """

    def __init__(self, params: Iterable[Any]) -> None:
        super().__init__(params, {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Makes one update."""
        for group in self.param_groups:
            rate, momentum = group["lr"], group["momentum"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                if group["weight_decay"]:
                    weight.mul_(1 - rate * group["weight_decay"])
                velocity = self.state[weight].setdefault("velocity", torch.zeros_like(weight))
                velocity.mul_(momentum).sub_(weight.grad, alpha=rate)
                weight += momentum * velocity - rate * weight.grad if group["nesterov"] else velocity


def states(optimizer: Any) -> KerasStates:
    """Returns the momentum buffer; Keras keeps -rate times PyTorch's, which with a schedule cannot be compared."""
    if not optimizer.momentum:
        return {}
    if isinstance(optimizer, torch_equivalents.SGD):
        return {"momentum_buffer": (optimizer.momentums, 1.0)}
    rate = 0.0 if is_scheduled(optimizer) else rate_of(optimizer)
    return {"momentum_buffer": (optimizer.momentums, -1 / rate)} if rate else {}


def complete(optimizer: Any) -> bool:
    """Whether the states are all that an optimizer keeps."""
    return not optimizer.momentum or bool(states(optimizer))


def forms(ours: Any, theirs: torch.optim.Optimizer, *, scheduled: bool) -> Iterator[Form]:
    """Yields Keras' momentum under a schedule."""
    if is_stock(ours) and scheduled and theirs.param_groups[0].get("momentum"):
        yield Form(
            cause="momentum",
            text="Keras' momentum keeps the rate in its velocity, PyTorch's does not: with a schedule they differ",
            evidence="Keras' form of momentum, emulated in PyTorch",
            make=lambda groups: KerasSGD([dict(group) for group in groups]),
        )


KIND = OptimizerKind(
    name="SGD",
    is_keras=lambda optimizer: isinstance(optimizer, keras.optimizers.SGD),
    is_torch=lambda optimizer: isinstance(optimizer, torch.optim.SGD),
    settings={
        "learning_rate": ("lr", "learning_rate"),
        "momentum": ("momentum", "momentum"),
        "nesterov": ("nesterov", "nesterov"),
        "dampening": ("dampening", "momentum"),
    },
    torch_states=("momentum_buffer",),
    states=states,
    complete=complete,
    forms=forms,
    equivalent=torch_equivalents.SGD,
)

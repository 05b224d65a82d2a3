"""`torch.optim.RMSprop` and `keras.optimizers.RMSprop`, which adds its epsilon within the root."""

from collections.abc import Iterable, Iterator
from typing import Any

import keras
import torch

from birdplane_keras import torch_equivalents
from birdplane_keras.parity.optimizers.optimizer import Form, KerasStates, OptimizerKind, is_stock


class KerasRMSprop(torch.optim.Optimizer):
    """RMSprop as Keras has it: v = rho * v + (1 - rho) * g^2; w -= rate * g / sqrt(v + epsilon).

    With momentum b = momentum * b + rate * g / sqrt(v + epsilon), and w -= b. Centred, v is less the square of the mean
    gradient.

    Args:
        params: What to train, as groups with `lr`, `alpha`, `momentum`, `centered` and `weight_decay`.
        epsilon: Added to v.

    Source: `keras.optimizers.RMSprop`.
    """

    def __init__(self, params: Iterable[Any], *, epsilon: float) -> None:
        super().__init__(params, {"momentum": 0.0, "centered": False, "weight_decay": 0.0})
        self.epsilon = epsilon

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Makes one update."""
        for group in self.param_groups:
            rho, rate = group["alpha"], group["lr"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                gradient = weight.grad + group["weight_decay"] * weight if group["weight_decay"] else weight.grad
                kept = self.state[weight]
                square = kept.setdefault("square_avg", torch.zeros_like(weight))
                square.mul_(rho).addcmul_(gradient, gradient, value=1 - rho)
                inner = square + self.epsilon
                if group["centered"]:
                    mean = kept.setdefault("grad_avg", torch.zeros_like(weight))
                    mean.lerp_(gradient, 1 - rho)
                    inner = inner - mean**2
                change = rate * gradient / inner.sqrt()
                if group["momentum"]:
                    change = kept.setdefault("gathered", torch.zeros_like(weight)).mul_(group["momentum"]).add_(change)
                weight -= change


def states(optimizer: Any) -> KerasStates:
    """Returns the mean of squares."""
    return {"square_avg": (optimizer._velocities, 1.0)}


def forms(ours: Any, theirs: torch.optim.Optimizer, *, scheduled: bool) -> Iterator[Form]:
    """Yields Keras' place of epsilon."""
    if is_stock(ours):
        yield Form(
            cause="rmsprop_epsilon",
            text=f"Keras' RMSprop adds epsilon ({ours.epsilon:g}) within the square root, PyTorch's "
            f"({theirs.param_groups[0]['eps']:g}) after it: no value makes them equal",
            evidence="Keras' form of the update, emulated in PyTorch",
            make=lambda groups: KerasRMSprop([dict(group) for group in groups], epsilon=ours.epsilon),
        )


KIND = OptimizerKind(
    name="RMSprop",
    is_keras=lambda optimizer: isinstance(optimizer, keras.optimizers.RMSprop),
    is_torch=lambda optimizer: isinstance(optimizer, torch.optim.RMSprop),
    settings={
        "learning_rate": ("lr", "learning_rate"),
        "rho": ("alpha", "rho"),
        "momentum": ("momentum", "momentum"),
        "epsilon": ("eps", "rmsprop_epsilon"),
        "centered": ("centered", "centered"),
    },
    torch_states=("square_avg",),
    states=states,
    complete=lambda optimizer: not optimizer.momentum and not optimizer.centered,
    forms=forms,
    equivalent=torch_equivalents.RMSprop,
)

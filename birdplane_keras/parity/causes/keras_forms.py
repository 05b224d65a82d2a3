"""Updates in the form that Keras has them, in PyTorch."""

from collections.abc import Iterable
from typing import Any

import torch


class KerasAdam(torch.optim.Optimizer):
    """Adam as Keras has it: w -= rate * sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + epsilon).

    Args:
        params: What to train.
        lr: The rate.
        betas: Decay of the two moments.
        eps: Added to sqrt(v).
        correct: Whether the bias of the moments is corrected.
        inside: Whether epsilon is added before the correction (Keras) or after it (PyTorch).

    Source: `keras.optimizers.Adam`.
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float,
        betas: tuple[float, float],
        eps: float,
        correct: bool,
        inside: bool,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})
        self.correct, self.inside, self.steps = correct, inside, 0

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Makes one update."""
        self.steps += 1
        for group in self.param_groups:
            first, second = group["betas"]
            biases = (1 - first**self.steps, 1 - second**self.steps) if self.correct else (1.0, 1.0)
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(weight), torch.zeros_like(weight)
                state["exp_avg"] += (weight.grad - state["exp_avg"]) * (1 - first)
                state["exp_avg_sq"] += (weight.grad**2 - state["exp_avg_sq"]) * (1 - second)
                root = state["exp_avg_sq"].sqrt()
                divisor = (
                    (root + group["eps"]) / biases[1] ** 0.5 if self.inside else root / biases[1] ** 0.5 + group["eps"]
                )
                weight -= group["lr"] / biases[0] * state["exp_avg"] / divisor


class KerasMomentum(torch.optim.Optimizer):
    """SGD with momentum as Keras has it: v = momentum * v - rate * g; w += v. The rate is part of what is kept.

    Args:
        params: What to train.
        lr: The rate.
        momentum: What is kept of the velocity.

    Source: `keras.optimizers.SGD`.
    """

    def __init__(self, params: Iterable[Any], *, lr: float, momentum: float) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Makes one update."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    velocity = self.state[weight].setdefault("velocity", torch.zeros_like(weight))
                    velocity.mul_(group["momentum"]).sub_(weight.grad, alpha=group["lr"])
                    weight += velocity


class KerasRMSprop(torch.optim.Optimizer):
    """RMSprop as Keras has it: w -= rate * g / sqrt(v + epsilon), where PyTorch has sqrt(v) + epsilon.

    Args:
        params: What to train.
        lr: The rate.
        rho: What is kept of the mean of squares.
        eps: Added to v.

    Source: `keras.optimizers.RMSprop`, without momentum and not centred.
    """

    def __init__(self, params: Iterable[Any], *, lr: float, rho: float, eps: float) -> None:
        super().__init__(params, {"lr": lr, "rho": rho, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Makes one update."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    square = self.state[weight].setdefault("square_avg", torch.zeros_like(weight))
                    square.mul_(group["rho"]).addcmul_(weight.grad, weight.grad, value=1 - group["rho"])
                    weight.addcdiv_(weight.grad, (square + group["eps"]).sqrt(), value=-group["lr"])

"""The rules of Keras' own optimizers on this backend, operation by operation, as its classes have them."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from birdplane_keras.torch_plugin.private_keras import SGD_ADDS_MULTIPLES, TORCH_OPTIMIZERS
from birdplane_keras.torch_plugin.updates.rule import Rule, States, Tensors, rate_number, rate_tensor, states_of


def sgd_rule(optimizer: Any, weights: Sequence[Any]) -> Rule:
    """`SGD`: v = momentum * v - rate * g; w += v, or w += momentum * v - rate * g. Without momentum w -= rate * g."""
    momentum = float(optimizer.momentum)

    def step(values: Tensors, gradients: Tensors, states: States, rate: float) -> None:
        moves, by = (gradients, -rate) if SGD_ADDS_MULTIPLES else (torch._foreach_mul(gradients, -rate), 1)
        if not momentum:
            torch._foreach_add_(values, moves, alpha=by)
            return
        (velocities,) = states
        torch._foreach_mul_(velocities, momentum)
        torch._foreach_add_(velocities, moves, alpha=by)
        if optimizer.nesterov:
            torch._foreach_add_(values, moves, alpha=by)
            torch._foreach_add_(values, velocities, alpha=momentum)
        else:
            torch._foreach_add_(values, velocities)

    def fused(values: Tensors, gradients: Tensors, states: States, rate: float) -> None:
        # PyTorch's buffer holds no rate: 1 - dampening is -rate here, and what is subtracted is minus the buffer.
        torch._fused_sgd_(
            values, gradients, states[0], weight_decay=0.0, momentum=momentum, lr=-1.0, dampening=1.0 + rate,
            nesterov=False, maximize=False, is_first_step=False,
        )  # fmt: skip

    return Rule(
        name="SGD",
        states=states_of(optimizer, weights, *["momentums"] * (momentum > 0)),
        scalars=lambda: rate_number(optimizer),
        step=step,
        fused=None if optimizer.nesterov or not momentum else fused,
    )


def adam_rule(optimizer: Any, weights: Sequence[Any]) -> Rule:
    """`Adam` and `AdamW`: w -= rate * sqrt(1 - beta_2^t) / (1 - beta_1^t) * m / (sqrt(v) + epsilon)."""
    dtype = weights[0]._value.dtype
    beta_1, beta_2, epsilon = optimizer.beta_1, optimizer.beta_2, optimizer.epsilon
    bases = torch.tensor(beta_1, dtype=dtype), torch.tensor(beta_2, dtype=dtype)
    iterations = optimizer._iterations._value
    names = ("_momentums", "_velocities", "_velocity_hats") if optimizer.amsgrad else ("_momentums", "_velocities")

    def scalars() -> tuple[torch.Tensor, torch.Tensor]:
        count = (iterations + 1).to(dtype)
        first, second = (torch.pow(base, count) for base in bases)
        return rate_tensor(optimizer, dtype) * torch.sqrt(1 - second) / (1 - first), count

    def step(values: Tensors, gradients: Tensors, states: States, given: tuple[torch.Tensor, torch.Tensor]) -> None:
        means, squares, *largest = states
        torch._foreach_mul_(means, beta_1)
        torch._foreach_add_(means, gradients, alpha=1 - beta_1)
        torch._foreach_mul_(squares, beta_2)
        torch._foreach_add_(squares, torch._foreach_mul(gradients, gradients), alpha=1 - beta_2)
        if largest:
            torch._foreach_maximum_(largest[0], squares)
            squares = largest[0]
        roots = torch._foreach_sqrt(squares)
        torch._foreach_add_(roots, epsilon)
        moves = torch._foreach_mul(means, given[0])
        torch._foreach_div_(moves, roots)
        torch._foreach_add_(values, moves, alpha=-1)

    def fused(values: Tensors, gradients: Tensors, states: States, given: tuple[torch.Tensor, torch.Tensor]) -> None:
        # PyTorch's call corrects by itself, and adds epsilon to the corrected root; Keras' factor is made of these.
        factor, count = given
        means, squares = states
        first, second = 1 - beta_1 ** float(count), (1 - beta_2 ** float(count)) ** 0.5
        torch._fused_adam_(
            values, gradients, means, squares, [], [count] * len(values), lr=float(factor) * first / second,
            beta1=beta_1, beta2=beta_2, weight_decay=0.0, eps=epsilon / second, amsgrad=False, maximize=False,
        )  # fmt: skip

    return Rule(
        name=type(optimizer).__name__,
        states=states_of(optimizer, weights, *names),
        scalars=scalars,
        step=step,
        fused=None if optimizer.amsgrad else fused,
    )


def rmsprop_rule(optimizer: Any, weights: Sequence[Any]) -> Rule:
    """`RMSprop`: v = rho * v + (1 - rho) * g^2; w -= rate * g / sqrt(v + epsilon)."""
    dtype, rho, epsilon, momentum = weights[0]._value.dtype, optimizer.rho, optimizer.epsilon, optimizer.momentum
    names = ["_velocities"] + ["_average_gradients"] * optimizer.centered + ["_momentums"] * (momentum > 0)

    def step(values: Tensors, gradients: Tensors, states: States, rate: torch.Tensor) -> None:
        squares, *others = states
        torch._foreach_mul_(squares, rho)
        torch._foreach_add_(squares, torch._foreach_mul(gradients, gradients), alpha=1 - rho)
        roots = torch._foreach_add(squares, epsilon)
        if optimizer.centered:
            averages = others[0]
            torch._foreach_mul_(averages, rho)
            torch._foreach_add_(averages, gradients, alpha=1 - rho)
            torch._foreach_add_(roots, torch._foreach_mul(averages, averages), alpha=-1)
        torch._foreach_sqrt_(roots)
        moves = torch._foreach_mul(gradients, rate)
        torch._foreach_div_(moves, roots)
        if momentum > 0:
            velocities = others[-1]
            torch._foreach_mul_(velocities, momentum)
            torch._foreach_add_(velocities, moves)
            moves = tuple(velocities)
        torch._foreach_add_(values, moves, alpha=-1)

    return Rule(
        name="RMSprop",
        states=states_of(optimizer, weights, *names),
        scalars=lambda: rate_tensor(optimizer, dtype),
        step=step,
    )


def adagrad_rule(optimizer: Any, weights: Sequence[Any]) -> Rule:
    """`Adagrad`: s += g^2; w -= rate * g / sqrt(s + epsilon)."""
    dtype, epsilon = weights[0]._value.dtype, optimizer.epsilon

    def step(values: Tensors, gradients: Tensors, states: States, rate: torch.Tensor) -> None:
        (sums,) = states
        torch._foreach_add_(sums, torch._foreach_mul(gradients, gradients))
        roots = torch._foreach_add(sums, epsilon)
        torch._foreach_sqrt_(roots)
        moves = torch._foreach_mul(gradients, rate)
        torch._foreach_div_(moves, roots)
        torch._foreach_add_(values, moves, alpha=-1)

    return Rule(
        name="Adagrad",
        states=states_of(optimizer, weights, "_accumulators"),
        scalars=lambda: rate_tensor(optimizer, dtype),
        step=step,
    )


RULES: dict[type, Callable[[Any, Sequence[Any]], Rule]] = {
    TORCH_OPTIMIZERS["SGD"]: sgd_rule,
    TORCH_OPTIMIZERS["Adam"]: adam_rule,
    TORCH_OPTIMIZERS["AdamW"]: adam_rule,
    TORCH_OPTIMIZERS["RMSprop"]: rmsprop_rule,
    TORCH_OPTIMIZERS["Adagrad"]: adagrad_rule,
}

"""The rules of `torch_equivalents`: PyTorch's own operations; what weights have in common is computed once."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from birdplane_keras import torch_equivalents
from birdplane_keras.torch_plugin.updates.rule import Rule, States, Tensors, states_of


def decayed(values: Tensors, gradients: Tensors, decay: float) -> Tensors:
    """Returns the gradients with a share of the weights added to them."""
    return list(torch._foreach_add(gradients, values, alpha=decay)) if decay else gradients


def sgd_rule(optimizer: Any, weights: Sequence[Any]) -> Rule:
    """`torch.optim.SGD`: v = momentum * v + (1 - dampening) * g; w -= rate * v."""
    decay, momentum, kept = optimizer.decay_of(weights[0]), optimizer.momentum, 1 - optimizer.dampening

    def scalars() -> tuple[float, int]:
        rate = optimizer.rate_of(weights[0], optimizer._get_current_learning_rate())
        return rate, int(optimizer.iterations)

    def step(values: Tensors, gradients: Tensors, states: States, given: tuple[float, int]) -> None:
        rate, made = given
        gradients = decayed(values, gradients, decay)
        if momentum:
            (velocities,) = states
            if made == 0:
                torch._foreach_copy_(velocities, gradients)
            else:
                torch._foreach_mul_(velocities, momentum)
                torch._foreach_add_(velocities, gradients, alpha=kept)
            nesterov = optimizer.nesterov
            gradients = list(torch._foreach_add(gradients, velocities, alpha=momentum)) if nesterov else velocities
        torch._foreach_add_(values, gradients, alpha=-rate)

    def fused(values: Tensors, gradients: Tensors, states: States, given: tuple[float, int]) -> None:
        rate, made = given
        torch._fused_sgd_(
            values, gradients, states[0] if states else [], weight_decay=decay, momentum=momentum, lr=rate,
            dampening=optimizer.dampening, nesterov=optimizer.nesterov, maximize=False, is_first_step=made == 0,
        )  # fmt: skip

    names = ["momentums"] if momentum else []
    states = states_of(optimizer, weights, *names)
    return Rule(name="PyTorch's SGD", states=states, scalars=scalars, step=step, fused=fused, decays=True)


def adam_rule(optimizer: Any, weights: Sequence[Any]) -> Rule:
    """`torch.optim.Adam` and `AdamW`: w -= rate / (1 - beta_1^t) * m / (sqrt(v) / sqrt(1 - beta_2^t) + epsilon)."""
    decay, beta_1, beta_2 = optimizer.decay_of(weights[0]), optimizer.beta_1, optimizer.beta_2
    scales = isinstance(optimizer, torch_equivalents.AdamW)

    def scalars() -> tuple[float, int]:
        rate = optimizer.rate_of(weights[0], optimizer._get_current_learning_rate())
        return rate, int(optimizer.iterations) + 1

    def step(values: Tensors, gradients: Tensors, states: States, given: tuple[float, int]) -> None:
        rate, count = given
        if scales and decay:
            torch._foreach_mul_(values, 1 - rate * decay)
        elif decay:
            gradients = decayed(values, gradients, decay)
        means, squares, *largest = states
        torch._foreach_lerp_(means, gradients, 1 - beta_1)
        torch._foreach_mul_(squares, beta_2)
        torch._foreach_addcmul_(squares, gradients, gradients, value=1 - beta_2)
        if largest:
            torch._foreach_maximum_(largest[0], squares)
            squares = largest[0]
        roots = torch._foreach_sqrt(squares)
        torch._foreach_div_(roots, (1 - beta_2**count) ** 0.5)
        torch._foreach_add_(roots, optimizer.epsilon)
        torch._foreach_addcdiv_(values, means, roots, value=-(rate / (1 - beta_1**count)))

    def fused(values: Tensors, gradients: Tensors, states: States, given: tuple[float, int]) -> None:
        rate, count = given
        call = torch._fused_adamw_ if scales else torch._fused_adam_
        means, squares, *largest = states
        call(
            values, gradients, means, squares, largest[0] if largest else [],
            [torch.tensor(float(count))] * len(values), lr=rate, beta1=beta_1, beta2=beta_2, weight_decay=decay,
            eps=optimizer.epsilon, amsgrad=bool(largest), maximize=False,
        )  # fmt: skip

    names = ["_momentums", "_velocities"] + ["_velocity_hats"] * optimizer.amsgrad
    states = states_of(optimizer, weights, *names)
    name = f"PyTorch's {type(optimizer).__name__}"
    return Rule(name=name, states=states, scalars=scalars, step=step, fused=fused, decays=True)


def rmsprop_rule(optimizer: Any, weights: Sequence[Any]) -> Rule:
    """`torch.optim.RMSprop`: v = rho * v + (1 - rho) * g^2; w -= rate * g / (sqrt(v) + epsilon)."""
    decay, rho, momentum = optimizer.decay_of(weights[0]), optimizer.rho, optimizer.momentum

    def scalars() -> float:
        return optimizer.rate_of(weights[0], optimizer._get_current_learning_rate())

    def step(values: Tensors, gradients: Tensors, states: States, rate: float) -> None:
        gradients = decayed(values, gradients, decay)
        squares, *others = states
        torch._foreach_mul_(squares, rho)
        torch._foreach_addcmul_(squares, gradients, gradients, value=1 - rho)
        if optimizer.centered:
            torch._foreach_lerp_(others[0], gradients, 1 - rho)
            squares = list(torch._foreach_addcmul(squares, others[0], others[0], value=-1))
        roots = torch._foreach_sqrt(squares)
        torch._foreach_add_(roots, optimizer.epsilon)
        if momentum > 0:
            torch._foreach_mul_(others[-1], momentum)
            torch._foreach_addcdiv_(others[-1], gradients, roots)
            torch._foreach_add_(values, others[-1], alpha=-rate)
        else:
            torch._foreach_addcdiv_(values, gradients, roots, value=-rate)

    names = ["_velocities"] + ["_average_gradients"] * optimizer.centered + ["_momentums"] * (momentum > 0)
    states = states_of(optimizer, weights, *names)
    return Rule(name="PyTorch's RMSprop", states=states, scalars=scalars, step=step, decays=True)


def adagrad_rule(optimizer: Any, weights: Sequence[Any]) -> Rule:
    """`torch.optim.Adagrad`: s += g^2; w -= rate / (1 + t * lr_decay) * g / (sqrt(s) + epsilon)."""
    decay = optimizer.decay_of(weights[0])

    def scalars() -> float:
        rate = optimizer.rate_of(weights[0], optimizer._get_current_learning_rate())
        return rate / (1 + int(optimizer.iterations) * optimizer.lr_decay)

    def step(values: Tensors, gradients: Tensors, states: States, rate: float) -> None:
        gradients = decayed(values, gradients, decay)
        (sums,) = states
        torch._foreach_addcmul_(sums, gradients, gradients, value=1)
        roots = torch._foreach_sqrt(sums)
        torch._foreach_add_(roots, optimizer.epsilon)
        torch._foreach_addcdiv_(values, gradients, roots, value=-rate)

    states = states_of(optimizer, weights, "_accumulators")
    return Rule(name="PyTorch's Adagrad", states=states, scalars=scalars, step=step, decays=True)


RULES: dict[type, Callable[[Any, Sequence[Any]], Rule]] = {
    torch_equivalents.SGD: sgd_rule,
    torch_equivalents.Adam: adam_rule,
    torch_equivalents.AdamW: adam_rule,
    torch_equivalents.RMSprop: rmsprop_rule,
    torch_equivalents.Adagrad: adagrad_rule,
}

"""The update of the weights: Keras' own, plain SGD without its detours, or plain SGD inside the gradient's product."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
import torch

from birdplane_keras.torch_plugin.agreement import further_apart, same_bits, ulp_of
from birdplane_keras.torch_plugin.errors import NotTraceableError
from birdplane_keras.torch_plugin.guards import Guards
from birdplane_keras.torch_plugin.partition import add_product_by_parts, parts_of
from birdplane_keras.torch_plugin.private_keras import is_torch_sgd
from birdplane_keras.torch_plugin.tracing import Trace
from birdplane_keras.torch_plugin.trial import Trial

SGD_ULPS = 2  # a product that is rounded before it is added, or not
# From the outputs of the traced step to nothing; it changes the weights.
Update = Callable[[tuple], None]


@dataclass(frozen=True, kw_only=True)
class Proof:
    """That plain SGD does what Keras' own update does.

    Args:
        guards: Over what that update read.
        rounds: Whether the two round differently.
    """

    guards: Guards
    rounds: bool


@dataclass(frozen=True, kw_only=True)
class ChosenUpdate:
    """How a step updates the weights.

    Args:
        apply: Makes the update.
        words: What it is.
        proof: That it may stand in for Keras' own update; `None` where it is that.
    """

    apply: Update
    words: str
    proof: Proof | None = None


def is_plain_sgd(optimizer: keras.optimizers.Optimizer, weights: Sequence[keras.Variable]) -> bool:
    """Tells whether the update is `w -= learning_rate * gradient` and nothing besides."""
    return (
        is_torch_sgd(optimizer)
        and optimizer.momentum == 0
        and not optimizer.use_ema
        and all(
            getattr(optimizer, name) is None
            for name in ("weight_decay", "clipnorm", "clipvalue", "global_clipnorm", "loss_scale_factor")
        )
        and not optimizer.gradient_accumulation_steps
        and "apply" not in vars(optimizer)
        and all(id(weight) in optimizer._trainable_variables_indices for weight in weights)
        and all(weight.constraint is None and not weight.overwrite_with_gradient for weight in weights)
    )


def choose_update(model: keras.Model, weights: list[keras.Variable], trace: Trace, first: int) -> ChosenUpdate:
    """Returns the update of a traced step.

    Args:
        model: Compiled.
        weights: Its trainable weights.
        trace: Its outputs from number `first` on are the gradients; some may be left as factors.
        first: Number of the first gradient among the outputs.
    """
    optimizer = model.optimizer
    values = [weight._value for weight in weights]
    whole = [n for n in range(len(weights)) if first + n not in trace.factors]
    proof = None
    if is_plain_sgd(optimizer, weights) and all(trace.outputs[first + n] is not None for n in whole):
        made = [product_of(trace.factors, trace.outputs, first + n) for n in range(len(weights))]
        proof = prove_plain_sgd(optimizer, weights, made)
    if proof is None:

        def apply(outputs: tuple) -> None:
            optimizer.apply([product_of(trace.factors, outputs, first + n) for n in range(len(weights))], weights)

        return ChosenUpdate(apply=apply, words=f"{type(optimizer).__name__}'s own apply")

    iterations = optimizer._iterations._value
    if not trace.factors:

        def sgd(outputs: tuple) -> None:
            torch._foreach_add_(values, outputs[first : first + len(values)], alpha=-learning_rate(optimizer))
            iterations.add_(1)

        return ChosenUpdate(apply=sgd, words="plain SGD, w -= rate * gradient", proof=proof)

    products = [
        (values[number - first], left, right, parts_of(values[number - first]))
        for number, (left, right) in trace.factors.items()
    ]
    rest = [values[n] for n in whole]

    def fused(outputs: tuple) -> None:
        rate = -learning_rate(optimizer)
        for value, left, right, parts in products:
            if parts > 1:
                add_product_by_parts(value, outputs[left], outputs[right], rate, parts)
            else:
                value.addmm_(outputs[left], outputs[right], alpha=rate)
        if rest:
            torch._foreach_add_(rest, [outputs[first + n] for n in whole], alpha=rate)
        iterations.add_(1)

    words = f"plain SGD, fused into the gradient's product for {len(products)} of {len(weights)} weights"
    return ChosenUpdate(apply=fused, words=words, proof=proof)


def product_of(factors: dict[int, tuple[int, int]], outputs: tuple, number: int) -> torch.Tensor:
    """Returns the gradient that an output is, or that two outputs are the factors of."""
    pair = factors.get(number)
    return outputs[pair[0]] @ outputs[pair[1]] if pair else outputs[number]


def prove_plain_sgd(
    optimizer: keras.optimizers.Optimizer, weights: list[keras.Variable], gradients: list[torch.Tensor]
) -> Proof | None:
    """Tries Keras' own update and plain SGD from one state; nothing stays.

    Returns:
        `None` where the two are not the same, up to the rounding of one product: Keras 3.16 multiplies by the rate
        first, where PyTorch and earlier versions add a multiple.
    """
    values = [weight._value for weight in weights]

    def keras_update(*_: torch.Tensor) -> list:
        with torch.no_grad():
            optimizer.apply(list(gradients), weights)
        return []

    def plain_sgd(*_: torch.Tensor) -> list:
        with torch.no_grad():
            torch._foreach_add_(values, gradients, alpha=-learning_rate(optimizer))
            optimizer._iterations._value.add_(1)
        return []

    trial = Trial(keras_update, gradients, [optimizer, *weights])
    try:
        trial.observe()
        ours = trial.attempt(plain_sgd)[2].after
        theirs = trial.seen.after
    except NotTraceableError:
        return None
    finally:
        trial.undo()
    if ours.keys() != theirs.keys():
        return None
    close = [further_apart(ours[key], theirs[key], SGD_ULPS * ulp_of(ours[key]), 0.0) == 0 for key in ours]
    rounds = not all(same_bits(ours[key], theirs[key]) for key in ours)
    return Proof(guards=trial.guards, rounds=rounds) if all(close) else None


def learning_rate(optimizer: keras.optimizers.Optimizer) -> float:
    """Returns the rate of the next step: a variable's value, a schedule's, or what a function returns."""
    rate = optimizer._get_current_learning_rate()
    return float(rate._value if isinstance(rate, keras.Variable) else rate)

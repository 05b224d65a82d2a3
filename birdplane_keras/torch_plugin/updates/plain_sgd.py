"""Plain SGD: w -= rate * gradient, by itself or inside the product that the gradient is."""

from collections.abc import Sequence
from typing import Any

import keras
import torch

from birdplane_keras.torch_plugin.partition import add_product_by_parts, parts_of
from birdplane_keras.torch_plugin.private_keras import is_torch_sgd
from birdplane_keras.torch_plugin.updates.rule import rate_number


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


class PlainSGD:
    """The update of some weights by plain SGD.

    Args:
        optimizer: `is_plain_sgd` of it.
        weights: Keras variables.
        factors: Number of an output that is a gradient -> the numbers of the two outputs whose product it is.
        first: Number of the first weight's gradient among the outputs of a step.
        present: Numbers of the weights that have a gradient.
    """

    def __init__(
        self,
        optimizer: Any,
        weights: Sequence[Any],
        factors: dict[int, tuple[int, int]],
        first: int,
        present: Sequence[int],
    ) -> None:
        self._optimizer, self._iterations = optimizer, optimizer._iterations._value
        values = [weight._value for weight in weights]
        self._products = [
            (values[number - first], left, right, parts_of(values[number - first]))
            for number, (left, right) in factors.items()
        ]
        whole = [first + number for number in present if first + number not in factors]
        self._whole, self._rest = whole, [values[number - first] for number in whole]
        self.words = "plain SGD, w -= rate * gradient"
        if factors:
            fused = f"{len(factors)} of {len(present)} weights"
            self.words = f"plain SGD, fused into the gradient's product for {fused}"

    def __call__(self, outputs: Sequence[Any]) -> None:
        """Updates the weights from the outputs of a step."""
        rate = -rate_number(self._optimizer)
        for value, left, right, parts in self._products:
            if parts > 1:
                add_product_by_parts(value, outputs[left], outputs[right], rate, parts)
            else:
                value.addmm_(outputs[left], outputs[right], alpha=rate)
        if self._rest:
            torch._foreach_add_(self._rest, [outputs[number] for number in self._whole], alpha=rate)
        self._iterations.add_(1)

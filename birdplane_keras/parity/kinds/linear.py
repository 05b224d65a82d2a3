"""`nn.Linear` and `keras.layers.Dense`."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from torch import nn

from birdplane_keras.parity.kinds import layouts
from birdplane_keras.parity.kinds.kind import (
    FeatureOrder,
    KerasUnit,
    Kind,
    Placed,
    Rule,
    TorchUnit,
    call_on_one,
    of,
    simple_rules,
)
from birdplane_keras.parity.kinds.repairing import attributes_set


def rules(ours: KerasUnit, theirs: TorchUnit, order: FeatureOrder) -> list[Rule]:
    """Returns the rules: (in, out) in Keras, (out, in) in PyTorch."""
    kernel, bias = layouts.dense_kernel(order.inputs, order.outputs), layouts.reordered(order.outputs, 0)
    return simple_rules(ours, theirs, {"kernel": ("weight", kernel), "bias": ("bias", bias)})


def call_without_activation(placed: Placed, args: Sequence[Any], turn: Callable[[Any], Any]) -> Any:
    """Calls a layer without its activation, which in PyTorch is no part of the module."""
    with attributes_set(placed.layer, activation=keras.activations.linear):
        return call_on_one(placed, args, turn)


KIND = Kind(
    name="Linear",
    is_keras=of(keras.layers.Dense),
    is_torch=of(nn.Linear),
    rules=rules,
    call=call_without_activation,
)

"""`nn.GRU` and `keras.layers.GRU`, and their cells: another order of the gates, two biases on both sides."""

from typing import Any

import keras
from torch import nn

from birdplane_keras.parity.kinds import layouts, recurrent
from birdplane_keras.parity.kinds.kind import Refusal, of


def refusal(layer: Any, module: Any) -> Refusal | None:
    """Says why a layer that resets before the product has no counterpart."""
    if getattr(layer, "forward_layer", layer).reset_after:
        return None
    return Refusal(
        cause="reset_after",
        text="reset_after=False resets the state before the recurrent kernel, and nn.GRU after it: no weights make "
        "them equal",
        fix="keras.layers.GRU(reset_after=True), Keras' default",
    )


KINDS = recurrent.both_ways(
    of(keras.layers.GRU, keras.layers.GRUCell),
    of(nn.GRU, nn.GRUCell),
    name="GRU",
    rules=recurrent.rules_with(layouts.gates_swapped, layouts.stacked, layouts.gates_swapped(1)),
    refusal=refusal,
)

"""At which rates a layer of Keras drops what it computes."""

from collections.abc import Iterator
from typing import Any

import keras

RATES: dict[type, tuple[str, ...]] = {  # what the layers that drop call the share that they drop
    keras.layers.Dropout: ("rate",),
    keras.layers.GaussianDropout: ("rate",),
    keras.layers.AlphaDropout: ("rate",),
    keras.layers.Attention: ("dropout",),
    keras.layers.MultiHeadAttention: ("_dropout",),
    keras.layers.GroupQueryAttention: ("dropout",),
    keras.layers.RNN: ("dropout", "recurrent_dropout"),
    keras.layers.SimpleRNNCell: ("dropout", "recurrent_dropout"),
    keras.layers.LSTMCell: ("dropout", "recurrent_dropout"),
    keras.layers.GRUCell: ("dropout", "recurrent_dropout"),
}


def rates_of(layer: Any) -> Iterator[tuple[str, float]]:
    """Yields name and value of the rates at which a layer drops; a layer of the user's may call anything a rate."""
    for kind, names in RATES.items():
        if isinstance(layer, kind):
            yield from ((name, vars(layer)[name]) for name in names if isinstance(vars(layer).get(name), float))

"""`nn.RNN` and `keras.layers.SimpleRNN`, and their cells."""

import keras
from torch import nn

from birdplane_keras.parity.kinds import layouts, recurrent
from birdplane_keras.parity.kinds.kind import of

KINDS = recurrent.both_ways(
    of(keras.layers.SimpleRNN, keras.layers.SimpleRNNCell),
    of(nn.RNN, nn.RNNCell),
    name="RNN",
    rules=recurrent.rules_with(lambda axis: layouts.as_is(), layouts.summed, layouts.as_is()),
)

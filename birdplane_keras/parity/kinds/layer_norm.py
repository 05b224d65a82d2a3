"""`nn.LayerNorm` and `keras.layers.LayerNormalization`."""

import keras
from torch import nn

from birdplane_keras.parity.kinds.kind import Kind, of
from birdplane_keras.parity.kinds.normalisation import epsilon, feature_rules

KIND = Kind(
    name="LayerNorm",
    is_keras=of(keras.layers.LayerNormalization),
    is_torch=of(nn.LayerNorm),
    rules=feature_rules,
    settings=epsilon,
)

"""`nn.RMSNorm` and `keras.layers.RMSNormalization`."""

import keras
from torch import nn

from birdplane_keras.parity.kinds.kind import Kind, of
from birdplane_keras.parity.kinds.normalisation import epsilon, feature_rules

KIND = Kind(
    name="RMSNorm",
    is_keras=of(keras.layers.RMSNormalization),
    is_torch=of(nn.RMSNorm),
    rules=feature_rules,
    settings=epsilon,
)

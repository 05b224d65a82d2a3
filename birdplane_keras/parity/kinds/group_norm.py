"""`nn.GroupNorm` and `keras.layers.GroupNormalization`."""

import keras
from torch import nn

from birdplane_keras.parity.kinds.kind import Kind, of, received_as_map, returned_as_map
from birdplane_keras.parity.kinds.normalisation import epsilon, feature_rules

KIND = Kind(
    name="GroupNorm",
    is_keras=of(keras.layers.GroupNormalization),
    is_torch=of(nn.GroupNorm),
    rules=feature_rules,
    settings=epsilon,
    received=received_as_map,
    returned=returned_as_map,
)

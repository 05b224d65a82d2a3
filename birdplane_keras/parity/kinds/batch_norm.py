"""`nn.BatchNorm1d` to `nn.BatchNorm3d`, and `keras.layers.BatchNormalization`."""

import keras
from torch import nn

from birdplane_keras.parity.kinds.kind import Kind, of, received_as_map, returned_as_map
from birdplane_keras.parity.kinds.normalisation import epsilon, feature_rules

MODULES = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)

KIND = Kind(
    name="BatchNorm",
    is_keras=of(keras.layers.BatchNormalization),
    is_torch=of(*MODULES),
    rules=feature_rules,
    settings=epsilon,
    received=received_as_map,
    returned=returned_as_map,
)

"""`nn.PReLU` and `keras.layers.PReLU`, whose slopes may be those of a whole feature map."""

import keras
from torch import nn

from birdplane_keras.parity.kinds import layouts
from birdplane_keras.parity.kinds.kind import FeatureOrder, KerasUnit, Kind, Rule, TorchUnit, of, simple_rules
from birdplane_keras.parity.kinds.normalisation import feature_turn


def rules(ours: KerasUnit, theirs: TorchUnit, order: FeatureOrder) -> list[Rule]:
    """Returns the rule of the slopes, which PyTorch keeps as a vector."""
    turn, shape = feature_turn(ours, order), tuple(ours.layer.alpha.shape)
    if len(shape) > 1:
        view = (shape[-1], *shape[:-1]) if order.channels == "last" else shape
        turn = layouts.chain(turn, layouts.reshaped(view, (-1,)))
    return simple_rules(ours, theirs, {"alpha": ("weight", turn)})


KIND = Kind(name="PReLU", is_keras=of(keras.layers.PReLU), is_torch=of(nn.PReLU), rules=rules)

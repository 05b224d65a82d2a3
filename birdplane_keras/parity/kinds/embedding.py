"""`nn.Embedding` and `keras.layers.Embedding`."""

import keras
from torch import nn

from birdplane_keras.parity.kinds import layouts
from birdplane_keras.parity.kinds.kind import FeatureOrder, KerasUnit, Kind, Rule, TorchUnit, of, simple_rules


def rules(ours: KerasUnit, theirs: TorchUnit, order: FeatureOrder) -> list[Rule]:
    """Returns the rule of the table, which both keep as (words, features)."""
    return simple_rules(ours, theirs, {"embeddings": ("weight", layouts.as_is())})


KIND = Kind(name="Embedding", is_keras=of(keras.layers.Embedding), is_torch=of(nn.Embedding), rules=rules)

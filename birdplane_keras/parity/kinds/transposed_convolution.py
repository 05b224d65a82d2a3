"""`nn.ConvTranspose1d` to `nn.ConvTranspose3d`, and Keras' transposed convolutions."""

import keras
from torch import nn

from birdplane_keras.parity.kinds import layouts
from birdplane_keras.parity.kinds.kind import (
    FeatureOrder,
    KerasUnit,
    Kind,
    Rule,
    TorchUnit,
    of,
    received_as_map,
    returned_as_map,
    simple_rules,
)
from birdplane_keras.parity.kinds.linear import call_without_activation


def rules(ours: KerasUnit, theirs: TorchUnit, order: FeatureOrder) -> list[Rule]:
    """Returns the rules: (*k, out, in) in Keras, (in, out, *k) in PyTorch."""
    kernel = layouts.convolution_kernel(ours.layer.rank)
    return simple_rules(ours, theirs, {"kernel": ("weight", kernel), "bias": ("bias", layouts.as_is())})


def kind_of_rank(rank: int, keras_class: type, torch_class: type) -> Kind:
    """Returns the transposed convolutions over so many axes."""
    return Kind(
        name=f"ConvTranspose{rank}d",
        is_keras=of(keras_class),
        is_torch=of(torch_class),
        rules=rules,
        received=received_as_map,
        returned=returned_as_map,
        call=call_without_activation,
    )


KINDS = (
    kind_of_rank(1, keras.layers.Conv1DTranspose, nn.ConvTranspose1d),
    kind_of_rank(2, keras.layers.Conv2DTranspose, nn.ConvTranspose2d),
    kind_of_rank(3, keras.layers.Conv3DTranspose, nn.ConvTranspose3d),
)

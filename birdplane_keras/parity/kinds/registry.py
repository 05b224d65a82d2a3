"""The kinds that the judge knows, in the order in which they are tried, and the layers of a model by their kind."""

from collections.abc import Iterator
from typing import Any

import keras
from torch import nn

from birdplane_keras.parity.kinds import (
    attention,
    batch_norm,
    convolution,
    embedding,
    group_norm,
    gru,
    layer_norm,
    linear,
    lstm,
    prelu,
    rms_norm,
    rnn,
    transposed_convolution,
)
from birdplane_keras.parity.kinds.kind import KerasUnit, Kind, Setting, TorchUnit
from birdplane_keras.parity.kinds.precision import precision

KINDS: list[Kind] = [
    linear.KIND,
    *convolution.KINDS,
    *transposed_convolution.KINDS,
    batch_norm.KIND,
    layer_norm.KIND,
    group_norm.KIND,
    rms_norm.KIND,
    prelu.KIND,
    embedding.KIND,
    *lstm.KINDS,
    *gru.KINDS,
    *rnn.KINDS,
    attention.KIND,
]


def kind_of_keras(layer: Any) -> Kind | None:
    """Returns the kind of a Keras layer."""
    return next((kind for kind in KINDS if kind.is_keras(layer)), None)


def kind_of_torch(module: Any) -> Kind | None:
    """Returns the kind of a PyTorch module."""
    return next((kind for kind in KINDS if kind.is_torch(module)), None)


def layers_of(layer: Any) -> Iterator[Any]:
    """Yields a layer and those in it, in the order in which they were registered; a known kind is not entered."""
    seen, stack = set(), [layer]
    while stack:
        layer = stack.pop()
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        yield layer
        if kind_of_keras(layer) is None:
            inner = layer.layers if isinstance(layer, keras.Model) else layer._layers
            stack.extend(reversed(inner))


def keras_units(model: Any) -> list[KerasUnit]:
    """Returns the layers of known kinds, in order."""
    found = ((kind_of_keras(layer), layer) for layer in layers_of(model))
    return [KerasUnit(kind=kind, layer=la, variables=kind.keras_parts(la)) for kind, la in found if kind is not None]


def torch_units(module: nn.Module, name: str = "", seen: set[int] | None = None) -> list[TorchUnit]:
    """Returns the modules of known kinds, in order; a recurrent module once for each of its layers."""
    seen = set() if seen is None else seen
    if id(module) in seen:
        return []
    seen.add(id(module))
    kind = kind_of_torch(module)
    if kind is None:
        prefix = f"{name}." if name else ""
        children = module.named_children()
        return [unit for child, inner in children for unit in torch_units(inner, prefix + child, seen)]
    parts = kind.torch_parts(module, name)
    return [TorchUnit(kind=kind, module=module, name=name, tensors=tensors) for tensors in parts]


def differing_settings(kind: Kind, layer: Any, module: Any) -> Iterator[Setting]:
    """Yields the settings of two layers of one kind that differ."""
    yield from kind.settings(layer, module)
    yield from precision(layer, module)

"""Which Keras layer is which PyTorch module, and which variable is which tensor: as told, by use, by kind and order."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import nn
from torch.nn.parameter import is_lazy

from birdplane_keras.errors import TransferError
from birdplane_keras.parity.core.records import Problem
from birdplane_keras.parity.kinds.kind import KerasUnit, Kind, TorchUnit
from birdplane_keras.parity.kinds.layouts import TensorMatch
from birdplane_keras.parity.kinds.registry import keras_units, layers_of, torch_units
from birdplane_keras.parity.matching.as_told import leave_out, match_as_told, match_variable, variables_called
from birdplane_keras.parity.matching.by_kind import ambiguous_groups, match_by_kind
from birdplane_keras.parity.matching.by_name import match_by_name, match_whole_numbers
from birdplane_keras.parity.matching.by_use import take_over
from birdplane_keras.parity.matching.expressions import TorchTensor
from birdplane_keras.parity.matching.feature_order import read_graph
from birdplane_keras.parity.matching.ledger import LayerMatch, Ledger, count, tensors_of
from birdplane_keras.parity.matching.walked import Walked

LayerMapping = Mapping[str, str | tuple[str, tuple[int, ...]] | TorchTensor | None]


@dataclass(frozen=True, kw_only=True)
class Matching:
    """All that matched, in the order of Keras' layers, and all that did not.

    `variables` has each match's Keras variable by the match's name, since two variables may share a path. `ambiguous`
    has the groups of matches that order alone has told apart, where another order would fit as well. `notes` say what
    could not be done.
    """

    layers: tuple[LayerMatch, ...]
    problems: tuple[Problem, ...]
    variables: Mapping[str, Any]
    ambiguous: tuple[tuple[LayerMatch, ...], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def tensors(self) -> tuple[TensorMatch, ...]:
        """The tensors of all layers."""
        return tuple(tensor for layer in self.layers for tensor in layer.tensors)

    def updating(self, names: Collection[str]) -> "Matching":
        """Returns the same where the reference trains no other tensors than these: an optimizer may not have all."""

        def restrict(match: TensorMatch) -> TensorMatch:
            ours, theirs = match.trainable
            return replace(match, trainable=(ours, theirs and any(name in names for name in match.torch)))

        layers = {id(layer): replace(layer, tensors=tuple(map(restrict, layer.tensors))) for layer in self.layers}
        groups = tuple(tuple(layers[id(layer)] for layer in group) for group in self.ambiguous)
        return replace(self, layers=tuple(layers.values()), ambiguous=groups)


def match_layers(
    keras_model: Any,
    torch_module: nn.Module,
    mapping: LayerMapping | None = None,
    look: Callable[[Ledger], Walked] | None = None,
) -> Matching:
    """Finds the counterpart of every weight.

    By its use, where both models can be looked at as they predict. Where that does not tell, the i-th layer of a kind
    is the i-th module of that kind, both in the order of registration, nested ones included. A weight of a layer of
    the user's own is the parameter of the same last name and shape, where there is one such.
    Integer buffers, and buffers of modules of no known kind, are left alone.

    Args:
        keras_model: A built `keras.Model` on the torch backend.
        torch_module: Any module.
        mapping: What neither use nor order tells. Keras layer name (or path) -> PyTorch module name, also of nested
            models, whose layers are then matched within; so are all layers whose path begins with a prefix that ends
            in "/". Keras variable path ("path#2" for the second of several that share it) -> PyTorch tensor name of the
            same shape, or (name, axes) where axes transposes PyTorch's tensor into Keras', or a `TorchTensor` with
            whatever makes Keras' of it. What is mapped so is taken as said: no order of flattened features is applied.
            `None` in the place of a counterpart: the layer, variable, module or tensor is left out of the comparison;
            `*` in its name is for anything.
        look: Looks at both as they predict, and returns what was found; it is given what the mapping has matched.

    Returns:
        the matching, which also lists what does not fit.

    Raises:
        TransferError: A side has no weights yet.
    """
    require_built(keras_model, torch_module)
    graph = read_graph(keras_model)
    ledger = Ledger(tensors=tensors_of(torch_module), orders=graph.orders)
    mapping = dict(mapping or {})
    for name in [key for key, target in mapping.items() if target is None]:
        leave_out(ledger, keras_model, torch_module, name)
        del mapping[name]
    for path in [key for key in mapping if variables_called(keras_model, key)]:
        match_variable(ledger, keras_model, torch_module, path, mapping.pop(path))
    ours, theirs = ledger.open(keras_units(keras_model)), ledger.open(torch_units(torch_module))
    for name, target in mapping.items():
        ours, theirs = match_as_told(ledger, keras_model, torch_module, (name, target), (ours, theirs))
    match_whole_numbers(ledger, keras_model, torch_module)
    walked = Walked() if look is None else look(ledger)
    done = take_over(ledger, walked, theirs, torch_module)
    ours = [u for u in ours if id(u.layer) not in done and not ledger.members(u) <= ledger.settled]
    theirs = [u for u in theirs if id(u) not in done and not ledger.members(u) <= ledger.settled]
    left, right = match_by_kind(ledger, ours, theirs)
    unsure = [step.chosen.unit for step in walked.steps if step.doubted and step.chosen and id(step.layer) in done]
    ordered = [unit for unit in ours if unit not in left] + [unit for unit in unsure if unit is not None]
    doubted = [] if walked.right else ambiguous_groups(ledger, ordered, graph.made_by)
    for unit in left:
        ledger.complain_of_variables(unit.variables.values(), no_counterpart(ours, theirs, unit.kind))
    for other in right:
        ledger.complain_of_tensors(other.tensors.values(), no_counterpart(ours, theirs, other.kind))
    match_by_name(ledger, keras_model, torch_module)
    unknown = "no counterpart, as its layer is of no known kind: map the variable's path to the tensor's name"
    ledger.complain_of_variables(keras_model.weights, unknown)
    ledger.complain_of_tensors([name for name, _ in torch_module.named_parameters()], unknown)
    place = {id(layer): index for index, layer in enumerate(layers_of(keras_model))}
    layers = sorted(ledger.layers, key=lambda match: place.get(id(match.layer), -1))
    of_layer = {id(match.layer): match for match in layers}
    return Matching(
        layers=tuple(layers),
        problems=tuple(ledger.problems.values()),
        variables=ledger.variables,
        ambiguous=tuple(tuple(of_layer[id(unit.layer)] for unit in group) for group in doubted),
        notes=(walked.note,) if walked.note else (),
    )


def require_built(keras_model: Any, torch_module: nn.Module) -> None:
    """Raises where a side has not made its weights."""
    members = [keras_model, *(unit.layer for unit in keras_units(keras_model))]
    unbuilt = [layer.name for layer in members if not layer.built]
    if unbuilt:
        raise TransferError(
            f"expected a built Keras model, received {unbuilt[0]!r} without weights: call it once on data, or give it "
            "an Input"
        )
    lazy = [name for name, weight in torch_module.named_parameters() if is_lazy(weight)]
    if lazy:
        raise TransferError(f"expected a PyTorch module with weights, received a lazy {lazy[0]!r}: call it once")


def no_counterpart(ours: list[KerasUnit], theirs: list[TorchUnit], kind: Kind) -> str:
    """Says in which number a kind is left on either side."""
    return (
        f"no counterpart: {count(ours, kind)} {kind.name} in Keras, {count(theirs, kind)} in PyTorch; add the missing "
        "layer, or tell by mapping which layers belong together"
    )

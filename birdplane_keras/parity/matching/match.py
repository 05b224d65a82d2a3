"""Which Keras layer is which PyTorch module, and which variable is which tensor: by order and kind, or as told."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.nn.parameter import is_lazy

from birdplane_keras.parity.kinds import layouts
from birdplane_keras.parity.kinds.kinds import KerasUnit, TorchUnit, keras_units, layers_of, torch_units
from birdplane_keras.parity.kinds.layouts import TensorMatch
from birdplane_keras.parity.matching.feature_order import feature_orders
from birdplane_keras.parity.matching.ledger import (
    LayerMatch,
    Ledger,
    Problem,
    count,
    match_tensors,
    pair,
    turn_as_told,
)

__all__ = ["LayerMapping", "LayerMatch", "Matching", "Problem", "TransferError", "match_layers"]

LayerMapping = Mapping[str, str | tuple[str, tuple[int, ...]]]


class TransferError(ValueError):
    """Two models whose weights cannot be carried over; the message lists every reason."""


@dataclass(frozen=True, kw_only=True)
class Matching:
    """All that matched, in the order of Keras' layers, and all that did not.

    `variables` has each match's Keras variable by the match's name, since two variables may share a path.
    """

    layers: tuple[LayerMatch, ...]
    problems: tuple[Problem, ...]
    variables: Mapping[str, Any]

    @property
    def tensors(self) -> tuple[TensorMatch, ...]:
        """The tensors of all layers."""
        return tuple(tensor for layer in self.layers for tensor in layer.tensors)


def match_layers(keras_model: Any, torch_module: nn.Module, mapping: LayerMapping | None = None) -> Matching:
    """Finds the counterpart of every weight.

    The i-th layer of a kind is the i-th module of that kind, both in the order of registration, nested ones included.
    A weight of a layer of one's own is the parameter of the same last name and shape, where there is one such.
    Integer buffers, and buffers of modules of no known kind, are left alone.

    Args:
        keras_model: A built `keras.Model` on the torch backend.
        torch_module: Any module.
        mapping: What order and kind do not tell. Keras layer name (or path) -> PyTorch module name, also of nested
            models, whose layers are then matched within. Keras variable path -> PyTorch tensor name of the same shape,
            or (name, axes) where axes transposes PyTorch's tensor into Keras'. What is mapped so is taken as said: no
            order of flattened features is applied to it.

    Returns:
        the matching, which also lists what does not fit.

    Raises:
        TransferError: A side has no weights yet.
    """
    require_built(keras_model, torch_module)
    tensors = {
        **dict(torch_module.named_parameters(remove_duplicate=False)),
        **dict(torch_module.named_buffers(remove_duplicate=False)),
    }
    ledger = Ledger(tensors=tensors, orders=feature_orders(keras_model))
    mapping = dict(mapping or {})
    paths = {variable.path for variable in keras_model.weights}
    for path in [key for key in mapping if key in paths]:
        match_variable(ledger, keras_model, torch_module, path, mapping.pop(path))
    ours, theirs = ledger.open(keras_units(keras_model)), ledger.open(torch_units(torch_module))
    for name, target in mapping.items():
        ours, theirs = match_as_told(ledger, keras_model, torch_module, (name, target), (ours, theirs))
    left, right = pair(ledger, ours, theirs)
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
    return Matching(layers=tuple(layers), problems=tuple(ledger.problems.values()), variables=ledger.variables)


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


def no_counterpart(ours: list[KerasUnit], theirs: list[TorchUnit], kind: str) -> str:
    """Says in which number a kind is left on either side."""
    return (
        f"no counterpart: {count(ours, kind)} {kind} in Keras, {count(theirs, kind)} in PyTorch; add the missing "
        "layer, or tell by mapping which layers belong together"
    )


def match_variable(ledger: Ledger, keras_model: Any, torch_module: nn.Module, path: str, target: Any) -> None:
    """Matches a variable with the tensor that the mapping names."""
    name, axes = (target, None) if isinstance(target, str) else target
    variables = [variable for variable in keras_model.weights if variable.path == path]
    if len(variables) > 1:
        ledger.complain(path, "keras", f"expected a path of one variable, received one of {len(variables)}")
        return
    if name not in ledger.tensors:
        ledger.complain(path, "keras", f"is mapped to {name!r}, which is no parameter or buffer of the PyTorch module")
        return
    variable, tensor = variables[0], ledger.tensors[name]
    ledger.mapped |= {id(variable), id(tensor)}
    ledger.settled |= {id(variable), id(tensor)}
    turn = turn_as_told(variable, tensor, axes)
    if isinstance(turn, str):
        ledger.complain(path, "keras", turn)
        return
    match = match_tensors(ledger, name, variable, (name,), turn, layouts.single())
    if match is not None:
        owners = [layer for layer in layers_of(keras_model) if any(variable is weight for weight in layer.weights)]
        prefix = name.rpartition(".")[0]
        module = torch_module.get_submodule(prefix)
        layer = LayerMatch(kind="mapped", layer=owners[-1], module=module, name=prefix or "module", tensors=(match,))
        ledger.layers.append(layer)


def match_by_name(ledger: Ledger, keras_model: Any, torch_module: nn.Module) -> None:
    """Matches weights of layers of no known kind, where name and shape leave one choice."""
    variables = [variable for variable in keras_model.weights if id(variable) not in ledger.settled]
    parameters = [(n, weight) for n, weight in torch_module.named_parameters() if id(weight) not in ledger.settled]
    ours = [(variable.name, tuple(variable.shape)) for variable in variables]
    theirs = [(name.rpartition(".")[2], tuple(weight.shape)) for name, weight in parameters]
    for variable, key in zip(variables, ours, strict=True):
        if ours.count(key) == theirs.count(key) == 1:
            name, _ = parameters[theirs.index(key)]
            match_variable(ledger, keras_model, torch_module, variable.path, name)


def match_as_told(
    ledger: Ledger,
    keras_model: Any,
    torch_module: nn.Module,
    told: tuple[str, Any],
    units: tuple[list[KerasUnit], list[TorchUnit]],
) -> tuple[list[KerasUnit], list[TorchUnit]]:
    """Matches the layers within a layer with the modules within a module; returns what is left to match."""
    (name, target), (ours, theirs) = told, units
    layers = [layer for layer in layers_of(keras_model) if name in (layer.name, getattr(layer, "path", None))]
    if len(layers) != 1:
        text = f"expected the mapping to name a layer or a variable by name or path, received {len(layers)} such"
        ledger.complain(name, "keras", text)
        return units
    modules = dict(torch_module.named_modules(remove_duplicate=False))
    if target not in modules:
        ledger.complain(name, "keras", f"is mapped to {target!r}, which is no module of the PyTorch module")
        return units
    inside = {id(layer) for layer in layers_of(layers[0])}
    below = {id(module) for module in modules[target].modules()}
    mine = [unit for unit in ours if id(unit.layer) in inside]
    yours = [other for other in theirs if id(other.module) in below]
    left, right = pair(ledger, mine, yours)
    for unit in left:
        text = f"no counterpart: {name!r} is mapped to {target!r}, which has no {unit.kind} left"
        ledger.complain_of_variables(unit.variables.values(), text)
    if not mine:
        ledger.complain(name, "keras", "is mapped, but it has no layer of a known kind left: map its variables' paths")
    gone = {id(unit) for unit in [*mine, *yours]} - {id(other) for other in right}
    return [unit for unit in ours if id(unit) not in gone], [other for other in theirs if id(other) not in gone]

"""Matches what a mapping names: layers with modules, variables with tensors."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import torch
from torch import nn

from birdplane_keras.errors import first_line
from birdplane_keras.parity.kinds import layouts
from birdplane_keras.parity.kinds.kind import KerasUnit, TorchUnit
from birdplane_keras.parity.kinds.layouts import TensorMatch, Turn
from birdplane_keras.parity.kinds.registry import layers_of
from birdplane_keras.parity.matching.by_kind import match_by_kind
from birdplane_keras.parity.matching.expressions import TorchTensor
from birdplane_keras.parity.matching.ledger import ROOT, LayerMatch, Ledger, match_tensors


def match_variable(ledger: Ledger, keras_model: Any, torch_module: nn.Module, path: str, target: Any) -> None:
    """Matches a variable with the tensor that the mapping names."""
    if isinstance(target, TorchTensor):
        match_expression(ledger, keras_model, torch_module, path, target)
        return
    name, axes = (target, None) if isinstance(target, str) else target
    variables = variables_called(keras_model, path)
    if len(variables) > 1:
        ledger.complain("mapping", path, "keras", several(path, len(variables)))
        return
    if name not in ledger.tensors:
        text = f"is mapped to {name!r}, which is no parameter or buffer of the PyTorch module"
        ledger.complain("mapping", path, "keras", text)
        return
    variable, tensor = variables[0], ledger.tensors[name]
    ledger.mapped |= {id(variable), id(tensor)}
    ledger.settled |= {id(variable), id(tensor)}
    turn = turn_as_told(variable, tensor, axes)
    if isinstance(turn, str):
        ledger.complain("mapping", path, "keras", turn)
        return
    match = match_tensors(ledger, name, variable, (name,), turn, layouts.single())
    note_match(ledger, keras_model, torch_module, match)


def note_match(ledger: Ledger, keras_model: Any, torch_module: nn.Module, match: TensorMatch | None) -> None:
    """Notes the match of a single variable, in the name of its layer and its tensor's module."""
    if match is None:
        return
    variable, prefix = ledger.variables[match.name], match.torch[0].rpartition(".")[0]
    owners = [layer for layer in layers_of(keras_model) if any(variable is weight for weight in layer.weights)]
    module = torch_module.get_submodule(prefix)
    ledger.layers.append(LayerMatch(kind=None, layer=owners[-1], module=module, name=prefix or ROOT, tensors=(match,)))


def variables_called(keras_model: Any, path: str) -> list[Any]:
    """Returns the variables of a path, or the one that `path#2` says of several that share a path."""
    found = [variable for variable in keras_model.weights if variable.path == path]
    front, _, number = path.rpartition("#")
    if found or not number.isdecimal():
        return found
    shared = [variable for variable in keras_model.weights if variable.path == front]
    return shared[int(number) - 1 : int(number)] if len(shared) > 1 and int(number) else []


def several(path: str, count: int) -> str:
    """Says that a path names several variables, and how each of them is named."""
    return f"expected a path of one variable, received one of {count}: name them {path}#1 to {path}#{count}"


def match_expression(ledger: Ledger, keras_model: Any, torch_module: nn.Module, path: str, made: TorchTensor) -> None:
    """Matches a variable with what the mapping makes of tensors."""
    unknown = [name for name in made.names if name not in ledger.tensors]
    variables = variables_called(keras_model, path)
    if unknown or len(variables) > 1:
        no_tensor = (
            f"is mapped to {unknown[0]!r}, which is no parameter or buffer of the PyTorch module" if unknown else ""
        )
        told = no_tensor or several(path, len(variables))
        ledger.complain("mapping", path, "keras", told)
        return
    shapes = [tuple(ledger.tensors[name].shape) for name in made.names]
    try:
        taken = made.value({n: np.zeros(shape, bool) for n, shape in zip(made.names, shapes, strict=True)})
    except (ValueError, IndexError) as error:
        ledger.complain("mapping", path, "keras", f"{made!r} cannot be made of shapes {shapes}: {first_line(error)}")
        return
    sizes = {name: int(np.prod(shape)) for name, shape in zip(made.names, shapes, strict=True)}
    whole = taken.size == sum(size for name, size in sizes.items() if name not in made.added)
    name = " + ".join(made.names) + ("" if whole else f"[{made.code(lambda name: '')}]")
    ledger.mapped |= {id(variables[0]), *(id(ledger.tensors[name]) for name in made.names)}
    joint = made.joint
    match = match_tensors(ledger, name, variables[0], made.names, layouts.as_is(), joint, labelled=not whole)
    note_match(ledger, keras_model, torch_module, match)


def leave_out(ledger: Ledger, keras_model: Any, torch_module: nn.Module, name: str) -> None:
    """Takes layers, variables, modules or tensors out of the comparison, as the mapping says; `*` is for anything."""
    layers = [layer for layer in layers_of(keras_model) if is_called(layer, name)]
    variables = variables_called(keras_model, name) or [v for v in keras_model.weights if fnmatchcase(v.path, name)]
    variables += [variable for layer in layers for variable in layer.weights]
    tensors = [
        tensor
        for full, tensor in ledger.tensors.items()
        if full.startswith(f"{name}.") or full == name or fnmatchcase(full, name)
    ]
    if not variables and not tensors:
        ledger.complain("mapping", name, "keras", "is left out, but neither side has weights of that name")
    found = {id(weight) for weight in [*variables, *tensors]}
    ledger.settled |= found
    ledger.left_out |= found
    ledger.mapped |= found  # a layer or module may have others, which are matched without them


def turn_as_told(variable: Any, tensor: torch.Tensor, axes: Sequence[int] | None) -> Turn | str:
    """Returns the turn of a variable that the mapping names, or what is wrong with it."""
    ours, theirs = tuple(variable.shape), tuple(tensor.shape)
    if not tensor.is_floating_point():
        return layouts.of_type(str(variable.dtype), str(tensor.dtype).removeprefix("torch."))
    if axes is not None:
        if sorted(axes) != list(range(len(theirs))):
            return f"expected axes to order the {len(theirs)} axes of PyTorch's tensor {theirs}, received {tuple(axes)}"
        return layouts.transposed(*np.argsort(axes).tolist())
    if len(ours) == 2 and ours == theirs and ours[0] == ours[1] > 1:
        return f"a square matrix {ours} may be transposed or not: map it to (name, (0, 1)) as it is, or (name, (1, 0))"
    if len(ours) == 2 and ours == theirs[::-1] and ours != theirs:
        return layouts.transposed(1, 0)
    return layouts.as_is()


def match_as_told(
    ledger: Ledger,
    keras_model: Any,
    torch_module: nn.Module,
    told: tuple[str, Any],
    units: tuple[list[KerasUnit], list[TorchUnit]],
) -> tuple[list[KerasUnit], list[TorchUnit]]:
    """Matches the layers within a layer with the modules within a module; returns what is left to match."""
    (name, target), (ours, theirs) = told, units
    prefix = name.endswith("/")
    layers = [layer for layer in layers_of(keras_model) if is_called(layer, name)]
    if not layers or (len(layers) > 1 and not prefix):
        text = f"expected the mapping to name a layer or a variable by name or path, received {len(layers)} such"
        ledger.complain("mapping", name, "keras", text)
        return units
    modules = dict(torch_module.named_modules(remove_duplicate=False))
    roots = [module for full, module in modules.items() if full == target or (prefix and full.startswith(target))]
    if not roots:
        ledger.complain("mapping", name, "keras", f"is mapped to {target!r}, which is no module of the PyTorch module")
        return units
    inside = {id(within) for layer in layers for within in layers_of(layer)}
    below = {id(module) for root in roots for module in root.modules()}
    mine = [unit for unit in ours if id(unit.layer) in inside]
    yours = [other for other in theirs if id(other.module) in below]
    left, right = match_by_kind(ledger, mine, yours)
    for unit in left:
        text = f"no counterpart: {name!r} is mapped to {target!r}, which has no {unit.kind.name} left"
        ledger.complain_of_variables(unit.variables.values(), text)
    if not mine:
        text = "is mapped, but it has no layer of a known kind left: map its variables' paths"
        ledger.complain("mapping", name, "keras", text)
    gone = {id(unit) for unit in [*mine, *yours]} - {id(other) for other in right}
    return [unit for unit in ours if id(unit) not in gone], [other for other in theirs if id(other) not in gone]


def is_called(layer: Any, name: str) -> bool:
    """Whether a layer has a name or path, or a path that begins with one that ends in "/"."""
    path = str(getattr(layer, "path", None) or layer.name)
    return path.startswith(name) if name.endswith("/") else name in (layer.name, path)

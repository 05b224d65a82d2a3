"""Matches what a mapping names: layers with modules, variables with tensors."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from birdplane_keras.parity.kinds import layouts
from birdplane_keras.parity.kinds.kind import KerasUnit, TorchUnit
from birdplane_keras.parity.kinds.layouts import Turn
from birdplane_keras.parity.kinds.registry import layers_of
from birdplane_keras.parity.matching.by_kind import match_by_kind
from birdplane_keras.parity.matching.ledger import ROOT, LayerMatch, Ledger, match_tensors


def match_variable(ledger: Ledger, keras_model: Any, torch_module: nn.Module, path: str, target: Any) -> None:
    """Matches a variable with the tensor that the mapping names."""
    name, axes = (target, None) if isinstance(target, str) else target
    variables = [variable for variable in keras_model.weights if variable.path == path]
    if len(variables) > 1:
        text = f"expected a path of one variable, received one of {len(variables)}"
        ledger.complain("mapping", path, "keras", text)
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
    if match is not None:
        owners = [layer for layer in layers_of(keras_model) if any(variable is weight for weight in layer.weights)]
        prefix = name.rpartition(".")[0]
        module = torch_module.get_submodule(prefix)
        ledger.layers.append(
            LayerMatch(kind=None, layer=owners[-1], module=module, name=prefix or ROOT, tensors=(match,))
        )


def leave_out(ledger: Ledger, keras_model: Any, torch_module: nn.Module, name: str) -> None:
    """Takes a layer, a variable, a module or a tensor out of the comparison, as the mapping says."""
    layers = [layer for layer in layers_of(keras_model) if name in (layer.name, getattr(layer, "path", None))]
    variables = [variable for variable in keras_model.weights if variable.path == name]
    variables += [variable for layer in layers for variable in layer.weights]
    tensors = [tensor for full, tensor in ledger.tensors.items() if full == name or full.startswith(f"{name}.")]
    if not variables and not tensors:
        ledger.complain("mapping", name, "keras", "is left out, but neither side has weights of that name")
    ledger.settled |= {id(weight) for weight in [*variables, *tensors]}
    ledger.left_out |= {id(weight) for weight in [*variables, *tensors]}


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
    layers = [layer for layer in layers_of(keras_model) if name in (layer.name, getattr(layer, "path", None))]
    if len(layers) != 1:
        text = f"expected the mapping to name a layer or a variable by name or path, received {len(layers)} such"
        ledger.complain("mapping", name, "keras", text)
        return units
    modules = dict(torch_module.named_modules(remove_duplicate=False))
    if target not in modules:
        ledger.complain("mapping", name, "keras", f"is mapped to {target!r}, which is no module of the PyTorch module")
        return units
    inside = {id(layer) for layer in layers_of(layers[0])}
    below = {id(module) for module in modules[target].modules()}
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

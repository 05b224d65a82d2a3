"""What has been matched so far, and what was found not to fit."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import torch
from torch import nn

from birdplane_keras.parity.core.records import Problem
from birdplane_keras.parity.kinds import layouts
from birdplane_keras.parity.kinds.kind import FeatureOrder, KerasUnit, Kind, Placed, Rule, TorchUnit
from birdplane_keras.parity.kinds.layouts import TensorMatch, Turn

ROOT = "module"  # how reports call the root of a PyTorch module


@dataclass(frozen=True, kw_only=True)
class LayerMatch:
    """A Keras layer and its PyTorch module; `name` is the module's dotted name, "module" for the root.

    `kind` is `None` for variables that a mapping, or their name, has matched. A vector `x` (N, F) that goes into the
    module goes into the layer as `x[:, order.inputs]`, if that is not `None`, and so for `order.outputs` with what
    comes out.
    """

    kind: Kind | None
    layer: Any
    module: nn.Module
    name: str
    tensors: tuple[TensorMatch, ...]
    order: FeatureOrder = field(default_factory=FeatureOrder)

    @property
    def placed(self) -> Placed:
        """The two layers as their kind takes them."""
        return Placed(layer=self.layer, module=self.module, order=self.order)


@dataclass(kw_only=True)
class Ledger:
    """What has been matched so far. Variables and tensors are known by `id`: names may repeat, and weights be tied."""

    tensors: Mapping[str, torch.Tensor]
    orders: Mapping[int, FeatureOrder]
    layers: list[LayerMatch] = field(default_factory=list)
    problems: dict[tuple[str, str], Problem] = field(default_factory=dict)
    variables: dict[str, Any] = field(default_factory=dict)
    settled: set[int] = field(default_factory=set)  # matched or complained of
    mapped: set[int] = field(default_factory=set)  # named one by one in the mapping
    left_out: set[int] = field(default_factory=set)  # of the comparison, as the mapping says

    def empty(self) -> "Ledger":
        """Returns one for the same models, in which nothing is matched."""
        return Ledger(tensors=self.tensors, orders=self.orders)

    def complain(self, code: str, tensor: str, side: str, text: str, **more: Any) -> None:
        """Notes a problem, the first one of a tensor; see `Problem`."""
        problem = Problem(code=code, tensor=tensor, side=side, text=f"{tensor}: {text}", **more)
        self.problems.setdefault((side, tensor), problem)

    def complain_of_variables(self, variables: Iterable[Any], text: str) -> None:
        """Notes that Keras variables have no counterpart; one that is shared with a matched layer has."""
        for variable in variables:
            if id(variable) not in self.settled and keras.backend.is_float_dtype(variable.dtype):
                self.settled.add(id(variable))
                shape = tuple(variable.shape)
                self.complain("no_counterpart", variable.path, "keras", f"{shape} in Keras has {text}", shape=shape)

    def complain_of_tensors(self, names: Iterable[str], text: str) -> None:
        """Notes that PyTorch tensors have no counterpart; one that is tied to a matched tensor has."""
        for name in names:
            if id(self.tensors[name]) not in self.settled:
                self.settled.add(id(self.tensors[name]))
                shape = tuple(self.tensors[name].shape)
                self.complain("no_counterpart", name, "torch", f"{shape} in PyTorch has {text}", shape=shape)

    def members(self, unit: KerasUnit | TorchUnit) -> set[int]:
        """Returns the identities of a layer's weights."""
        if isinstance(unit, KerasUnit):
            return {id(variable) for variable in unit.variables.values()}
        return {id(self.tensors[name]) for name in unit.tensors.values()}

    def open(self, units: Iterable[Any]) -> list[Any]:
        """Returns the layers of which the mapping has not named every weight."""
        return [unit for unit in units if not (members := self.members(unit)) or not members <= self.mapped]


def match_units(ledger: Ledger, ours: KerasUnit, theirs: TorchUnit) -> None:
    """Matches the weights of two layers of one kind."""
    name, kind = theirs.name or ROOT, ours.kind
    refusal = kind.refusal(ours.layer, theirs.module)
    tensors = []
    order = ledger.orders.get(id(ours.layer), FeatureOrder())
    if refusal is not None:
        told = f"{refusal.text} (Keras layer {ours.layer.name!r})"
        ledger.complain("refused", name, "torch", told, layer=ours.layer.name, cause=refusal.cause, fix=refusal.fix)
    else:
        found = [match_rule(ledger, rule, ours, theirs) for rule in kind.rules(ours, theirs, order)]
        tensors = [match for match in found if match is not None]
    ledger.settled |= ledger.members(ours) | ledger.members(theirs)
    ledger.layers.append(
        LayerMatch(kind=kind, layer=ours.layer, module=theirs.module, name=name, tensors=tuple(tensors), order=order)
    )


def match_rule(ledger: Ledger, rule: Rule, ours: KerasUnit, theirs: TorchUnit) -> TensorMatch | None:
    """Matches one weight of two layers, or notes why not; parts that both lack, or the mapping named, are no matter."""
    variable = ours.variables.get(rule.keras)
    if variable is not None and id(variable) in ledger.mapped:
        variable = None
    parts = [part for part in rule.torch if part in theirs.tensors]
    parts = [part for part in parts if id(ledger.tensors[theirs.tensors[part]]) not in ledger.mapped]
    names = tuple(theirs.tensors[part] for part in parts)
    name = " + ".join(names) + (f"[{rule.label}]" if rule.label else "")
    layer = ours.layer.name
    if variable is None:
        if names:
            shapes = [tuple(ledger.tensors[tensor].shape) for tensor in names]
            told = " and ".join(map(str, shapes))
            text = f"{told} in PyTorch has no counterpart in the Keras layer {layer!r}"
            ledger.complain("missing", name, "torch", text, part=parts[0], layer=layer, shape=shapes[0])
        return None
    if len(names) < len(rule.torch):
        shape = tuple(variable.shape)
        text = f"{shape} in Keras has no counterpart in the PyTorch module {theirs.name or ROOT!r}"
        ledger.complain("missing", variable.path, "keras", text, part=rule.keras, layer=layer, shape=shape)
        return None
    return match_tensors(ledger, name, variable, names, rule.turn, rule.joint, labelled=bool(rule.label))


def match_tensors(
    ledger: Ledger,
    name: str,
    variable: Any,
    names: tuple[str, ...],
    turn: Turn,
    joint: layouts.Joint,
    *,
    labelled: bool = False,
) -> TensorMatch | None:
    """Matches a variable with its tensors if their shapes fit; `labelled` where it has a part of them."""
    tensors = [ledger.tensors[tensor] for tensor in names]
    ledger.settled |= {id(variable), *(id(tensor) for tensor in tensors)}
    shape, shapes = tuple(variable.shape), [tuple(tensor.shape) for tensor in tensors]
    view, expected = layouts.shapes_of_view(turn, joint, shape, shapes)
    if view is None or view != expected:
        turned = "" if view in (None, shape) else f", which is {view} in PyTorch's layout"
        received = " and ".join(map(str, shapes))
        part = f" ({expected} of it)" if expected not in (None, *shapes) else ""
        text = f"{shape} in Keras ({variable.path}){turned}, does not fit {received} in PyTorch{part}"
        ledger.complain("shape", name, "torch", text, shape=shapes[0])
        return None
    match = TensorMatch(
        name=name,
        keras=variable.path,
        torch=names,
        whole=not labelled,
        trainable=(bool(variable.trainable), any(tensor.requires_grad for tensor in tensors)),
        turn=turn,
        joint=joint,
    )
    ledger.variables[name] = variable
    return match


def count(units: Iterable[Any], kind: Kind) -> int:
    """Counts the layers of a kind."""
    return sum(unit.kind is kind for unit in units)


def largest_shape(unit: KerasUnit | TorchUnit, ledger: Ledger) -> Sequence[int]:
    """Returns the sizes of a layer's largest weight, in no order: kernels are transposed."""
    weights = (
        unit.variables.values() if isinstance(unit, KerasUnit) else [ledger.tensors[n] for n in unit.tensors.values()]
    )
    shapes = [sorted(weight.shape) for weight in weights]
    return max(shapes, key=lambda shape: torch.Size(shape).numel(), default=[])


def tensors_of(module: nn.Module) -> dict[str, torch.Tensor]:
    """Returns parameters and buffers by dotted name, tied ones under each name."""
    parameters, buffers = module.named_parameters(remove_duplicate=False), module.named_buffers(remove_duplicate=False)
    return {**dict(parameters), **dict(buffers)}

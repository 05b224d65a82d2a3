"""What has been matched so far, and the steps that match more: by mapping, and by order among what remains."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from birdplane_keras.parity.kinds import layouts
from birdplane_keras.parity.kinds.kinds import KerasUnit, Rule, TorchUnit, refusal, rules_of
from birdplane_keras.parity.kinds.layouts import TensorMatch, Turn
from birdplane_keras.parity.matching.feature_order import FeatureOrder


@dataclass(frozen=True, kw_only=True)
class LayerMatch:
    """A Keras layer and its PyTorch module; `name` is the module's dotted name, "module" for the root.

    `kind` is PyTorch's class name, "bidirectional LSTM" and the like, or "mapped" for variables that the mapping names.
    A vector `x` (N, F) that goes into the module goes into the layer as `x[:, order.inputs]`, if that is not `None`,
    and so for `order.outputs` with what comes out.
    """

    kind: str
    layer: Any
    module: nn.Module
    name: str
    tensors: tuple[TensorMatch, ...]
    order: FeatureOrder = field(default_factory=FeatureOrder)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A tensor without counterpart or of another shape; `side` ("keras", "torch") is the one that `tensor` is of."""

    tensor: str
    side: str
    text: str


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

    def complain(self, tensor: str, side: str, text: str) -> None:
        """Notes a problem, the first one of a tensor."""
        self.problems.setdefault((side, tensor), Problem(tensor=tensor, side=side, text=f"{tensor}: {text}"))

    def complain_of_variables(self, variables: Iterable[Any], text: str) -> None:
        """Notes that Keras variables have no counterpart; one that is shared with a matched layer has."""
        for variable in variables:
            if id(variable) not in self.settled:
                self.settled.add(id(variable))
                self.complain(variable.path, "keras", f"{tuple(variable.shape)} in Keras has {text}")

    def complain_of_tensors(self, names: Iterable[str], text: str) -> None:
        """Notes that PyTorch tensors have no counterpart; one that is tied to a matched tensor has."""
        for name in names:
            if id(self.tensors[name]) not in self.settled:
                self.settled.add(id(self.tensors[name]))
                self.complain(name, "torch", f"{tuple(self.tensors[name].shape)} in PyTorch has {text}")

    def members(self, unit: KerasUnit | TorchUnit) -> set[int]:
        """Returns the identities of a layer's weights."""
        if isinstance(unit, KerasUnit):
            return {id(variable) for variable in unit.variables.values()}
        return {id(self.tensors[name]) for name in unit.tensors.values()}

    def open(self, units: Iterable[Any]) -> list[Any]:
        """Returns the layers of which the mapping has not named every weight."""
        return [unit for unit in units if not (members := self.members(unit)) or not members <= self.mapped]


def pair(ledger: Ledger, ours: Sequence[KerasUnit], theirs: Sequence[TorchUnit]) -> tuple[list[Any], list[Any]]:
    """Matches the i-th of a kind with the i-th of that kind; returns the layers left over on either side."""
    left, right = without_tied(ledger, ours, theirs), without_tied(ledger, theirs, ours)
    done: set[int] = set()
    for kind in dict.fromkeys(unit.kind for unit in left):
        mine, yours = ([unit for unit in side if unit.kind == kind] for side in (left, right))
        for unit, other in zip(mine, in_fitting_order(ledger, mine, yours), strict=False):
            done |= {id(unit), id(other)}
            match_units(ledger, unit, other)
    return [unit for unit in ours if id(unit) not in done], [other for other in theirs if id(other) not in done]


def in_fitting_order(ledger: Ledger, ours: Sequence[KerasUnit], theirs: Sequence[TorchUnit]) -> list[TorchUnit]:
    """Returns PyTorch's layers of a kind as they are, or so that each fits, where only another order makes them fit.

    Keras orders the layers of a functional model by their depth, PyTorch those of a module as they were assigned.
    """
    fits = [[largest_shape(unit, ledger) == largest_shape(other, ledger) for other in theirs] for unit in ours]
    if len(ours) != len(theirs) or all(fits[index][index] for index in range(len(ours))):
        return list(theirs)
    order: list[int] = []
    for row in fits:
        place = next((index for index, fit in enumerate(row) if fit and index not in order), None)
        if place is None:
            return list(theirs)
        order.append(place)
    return [theirs[index] for index in order]


def largest_shape(unit: KerasUnit | TorchUnit, ledger: Ledger) -> list[int]:
    """Returns the sizes of a layer's largest weight, in no order: kernels are transposed."""
    weights = (
        unit.variables.values() if isinstance(unit, KerasUnit) else [ledger.tensors[n] for n in unit.tensors.values()]
    )
    return max((sorted(weight.shape) for weight in weights), key=lambda shape: int(np.prod(shape)), default=[])


def without_tied(ledger: Ledger, units: Sequence[Any], others: Sequence[Any]) -> list[Any]:
    """Drops, where a kind has more layers than on the other side, those that only repeat weights met before."""
    seen: set[int] = set()
    kept = []
    for unit in units:
        members = ledger.members(unit)
        if not members or not members <= seen or count(units, unit.kind) <= count(others, unit.kind):
            kept.append(unit)
        seen |= members
    return kept


def count(units: Iterable[Any], kind: str) -> int:
    """Counts the layers of a kind."""
    return sum(unit.kind == kind for unit in units)


def match_units(ledger: Ledger, ours: KerasUnit, theirs: TorchUnit) -> None:
    """Matches the weights of two layers of one kind."""
    name = theirs.name or "module"
    reason = refusal(ours, theirs)
    tensors = []
    order = ledger.orders.get(id(ours.layer), FeatureOrder())
    if reason is not None:
        ledger.complain(name, "torch", f"{reason} (Keras layer {ours.layer.name!r})")
    else:
        found = [match_rule(ledger, rule, ours, theirs) for rule in rules_of(ours, theirs, order)]
        tensors = [match for match in found if match is not None]
    ledger.settled |= ledger.members(ours) | ledger.members(theirs)
    ledger.layers.append(
        LayerMatch(
            kind=ours.kind,
            layer=ours.layer,
            module=theirs.module,
            name=name,
            tensors=tuple(tensors),
            order=order,
        )
    )


def match_rule(ledger: Ledger, rule: Rule, ours: KerasUnit, theirs: TorchUnit) -> TensorMatch | None:
    """Matches one weight of two layers, or notes why not; parts that both lack, or the mapping named, are no matter."""
    variable = ours.variables.get(rule.keras)
    if variable is not None and id(variable) in ledger.mapped:
        variable = None
    names = tuple(theirs.tensors[part] for part in rule.torch if part in theirs.tensors)
    names = tuple(name for name in names if id(ledger.tensors[name]) not in ledger.mapped)
    name = " + ".join(names) + (f"[{rule.label}]" if rule.label else "")
    if variable is None:
        if names:
            shapes = " and ".join(str(tuple(ledger.tensors[tensor].shape)) for tensor in names)
            text = f"{shapes} in PyTorch has no counterpart in the Keras layer {ours.layer.name!r}"
            ledger.complain(name, "torch", text)
        return None
    if len(names) < len(rule.torch):
        text = f"{tuple(variable.shape)} in Keras has no counterpart in the PyTorch module {theirs.name or 'module'!r}"
        ledger.complain(variable.path, "keras", text)
        return None
    return match_tensors(ledger, name, variable, names, rule.turn, rule.joint)


def match_tensors(
    ledger: Ledger, name: str, variable: Any, names: tuple[str, ...], turn: Turn, joint: layouts.Joint
) -> TensorMatch | None:
    """Matches a variable with its tensors if their shapes fit."""
    tensors = [ledger.tensors[tensor] for tensor in names]
    ledger.settled |= {id(variable), *(id(tensor) for tensor in tensors)}
    shape, shapes = tuple(variable.shape), [tuple(tensor.shape) for tensor in tensors]
    view, expected = layouts.shapes_of_view(turn, joint, shape, shapes)
    if view is None or view != expected:
        turned = "" if view in (None, shape) else f", which is {view} in PyTorch's layout"
        received = " and ".join(map(str, shapes))
        part = f" ({expected} of it)" if expected not in (None, *shapes) else ""
        text = f"{shape} in Keras ({variable.path}){turned}, does not fit {received} in PyTorch{part}"
        ledger.complain(name, "torch", text)
        return None
    match = layouts.matched(
        name=name,
        keras=variable.path,
        torch=names,
        trainable=(bool(variable.trainable), any(tensor.requires_grad for tensor in tensors)),
        turn=turn,
        joint=joint,
    )
    ledger.variables[name] = variable
    return match


def turn_as_told(variable: Any, tensor: torch.Tensor, axes: Sequence[int] | None) -> Turn | str:
    """Returns the turn of a variable that the mapping names, or what is wrong with it."""
    ours, theirs = tuple(variable.shape), tuple(tensor.shape)
    if axes is not None:
        if sorted(axes) != list(range(len(theirs))):
            return f"expected axes to order the {len(theirs)} axes of PyTorch's tensor {theirs}, received {tuple(axes)}"
        return layouts.transposed(*np.argsort(axes).tolist())
    if len(ours) == 2 and ours == theirs and ours[0] == ours[1] > 1:
        return f"a square matrix {ours} may be transposed or not: map it to (name, (0, 1)) as it is, or (name, (1, 0))"
    if len(ours) == 2 and ours == theirs[::-1] and ours != theirs:
        return layouts.transposed(1, 0)
    return layouts.as_is()

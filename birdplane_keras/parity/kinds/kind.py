"""What a kind of layer is to the judge: a file of this package describes one, a line of `registry` makes it known."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from birdplane_keras.parity.kinds import layouts
from birdplane_keras.parity.kinds.layouts import Joint, Turn

Edit = Callable[[Any], None]  # changes a copy of the reference's module
Repair = Callable[[Any], AbstractContextManager[None]]  # within it, a layer of the port is another


@dataclass(frozen=True, kw_only=True)
class FeatureOrder:
    """How a layer's features are ordered: the i-th of Keras is the `inputs[i]`-th of PyTorch, `None` the i-th itself.

    `channels` is where the layer's input, if it is a feature map, has its channels: "first", "last".
    """

    inputs: np.ndarray | None = None
    outputs: np.ndarray | None = None
    channels: str | None = None


@dataclass(frozen=True, kw_only=True)
class KerasUnit:
    """A Keras layer of a known kind, and its variables by their part in it."""

    kind: "Kind"
    layer: Any
    variables: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class TorchUnit:
    """A PyTorch module of a known kind, or one layer of a recurrent one, and its tensors' dotted names by their part.

    `name` is the module's own, "" for the root.
    """

    kind: "Kind"
    module: nn.Module
    name: str
    tensors: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A weight of a kind of layer: its part on either side, and the layouts. `label` names a slice."""

    keras: str
    torch: tuple[str, ...]
    turn: Turn
    joint: Joint
    label: str = ""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A setting that differs between two layers of one kind.

    Args:
        cause: What the diagnosis calls it.
        what: The setting, in words.
        ours: Its value in the port.
        theirs: Its value in the reference.
        fix: What to change in the port.
        edit: Gives the port's setting to a copy of the reference's module.
        repair: Gives the reference's setting to the port's layer for a while; `None` where it cannot in place.
        coarse: Whether it rounds to a half type on the way, where the frameworks round differently.
    """

    cause: str
    what: str
    ours: str
    theirs: str
    fix: str
    edit: Edit
    repair: Repair | None = None
    coarse: bool = False


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why no weights can make two layers equal: what the diagnosis calls it, in words, and what to change."""

    cause: str
    text: str
    fix: str


@dataclass(frozen=True, kw_only=True)
class Placed:
    """Two layers that are to be called on the same numbers, and the order of their features."""

    layer: Any
    module: nn.Module
    order: FeatureOrder


def whole_module(module: nn.Module, name: str) -> list[Mapping[str, str]]:
    """Returns the floating parameters and buffers of a module and those in it: name in it -> dotted name.

    Buffers that are not saved are no weights.
    """
    saved = module.state_dict(keep_vars=True)
    pairs = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    pairs = [(own, tensor) for own, tensor in pairs if own in saved]
    return [{own: f"{name}.{own}" if name else own for own, tensor in pairs if tensor.is_floating_point()}]


def own_weights(layer: Any) -> Mapping[str, Any]:
    """Returns a Keras layer's weights by their own names."""
    return {weight.name: weight for weight in layer.weights}


def no_refusal(layer: Any, module: Any) -> Refusal | None:
    """Says that weights can make two layers equal."""
    return None


def no_settings(layer: Any, module: Any) -> Iterator[Setting]:
    """Yields no setting."""
    return iter(())


def received_as_is(placed: Placed, value: np.ndarray) -> np.ndarray:
    """Returns what the PyTorch layer receives as the Keras layer takes it: features in the order of the port."""
    if placed.order.inputs is not None and value.ndim == 2:
        return value[:, placed.order.inputs]
    return value


def returned_as_is(placed: Placed, value: np.ndarray) -> np.ndarray:
    """Returns what the PyTorch layer returns as the Keras layer does."""
    if placed.order.outputs is not None and value.ndim == 2:
        return value[:, placed.order.outputs]
    return value


def main_output(placed: Placed, output: Any) -> torch.Tensor:
    """Returns the output of a PyTorch layer that the Keras layer returns, too: the first of several."""
    while not isinstance(output, torch.Tensor):
        output = output[0]
    return output


def call_on_one(placed: Placed, args: Sequence[Any], turn: Callable[[Any], Any]) -> Any:
    """Calls a Keras layer on what the PyTorch layer received, its first argument, turned."""
    return placed.layer(turn(args[0]), training=True)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of layer that both frameworks have.

    Args:
        name: PyTorch's class name, for all ranks.
        is_keras: Whether a Keras layer is of this kind.
        is_torch: Whether a PyTorch module is.
        rules: From a layer, a module and the order of features to the rules of their weights; either side may lack a
            weight that a rule has.
        keras_parts: From a layer to its variables by their part in it.
        torch_parts: From a module and its dotted name to its tensors by their part, once for each layer in it.
        refusal: Says why no weights can make two layers equal, where that shows in no shape.
        settings: Yields the settings of two layers that differ.
        received: From what the module receives, an array, to what the layer takes.
        returned: The same of what they return.
        main_output: The output of the module that the layer returns, too.
        call: Calls the layer on what the module received; `None` where a layer cannot be called alone.
        alone: Whether two layers can be compared alone, where `call` is given.
    """

    name: str
    is_keras: Callable[[Any], bool]
    is_torch: Callable[[Any], bool]
    rules: Callable[[KerasUnit, TorchUnit, FeatureOrder], list[Rule]]
    keras_parts: Callable[[Any], Mapping[str, Any]] = own_weights
    torch_parts: Callable[[nn.Module, str], Sequence[Mapping[str, str]]] = whole_module
    refusal: Callable[[Any, Any], Refusal | None] = no_refusal
    settings: Callable[[Any, Any], Iterator[Setting]] = no_settings
    received: Callable[[Placed, np.ndarray], np.ndarray] = received_as_is
    returned: Callable[[Placed, np.ndarray], np.ndarray] = returned_as_is
    main_output: Callable[[Placed, Any], torch.Tensor] = main_output
    call: Callable[[Placed, Sequence[Any], Callable[[Any], Any]], Any] | None = call_on_one
    alone: Callable[[Any, Any], bool] = lambda layer, module: True


def of(*classes: type) -> Callable[[Any], bool]:
    """Returns the predicate of being one of some classes."""
    return lambda member: isinstance(member, classes)


def simple(keras_part: str, torch_part: str, turn: Turn) -> Rule:
    """Returns the rule of a weight that is one tensor on both sides."""
    return Rule(keras=keras_part, torch=(torch_part,), turn=turn, joint=layouts.single())


def simple_rules(ours: KerasUnit, theirs: TorchUnit, parts: Mapping[str, tuple[str, Turn]]) -> list[Rule]:
    """Returns a rule for each part that the layer has, and for each tensor of the module that none of them names."""
    rules = [simple(part, tensor, turn) for part, (tensor, turn) in parts.items() if part in ours.variables]
    named = {rule.torch[0] for rule in rules}
    return [*rules, *(simple("", part, layouts.as_is()) for part in theirs.tensors if part not in named)]


def channels_are_last(layer: Any) -> bool:
    """Whether a Keras layer takes its channels at the end."""
    axis = getattr(layer, "axis", -1)
    axis = axis[0] if isinstance(axis, list | tuple) else axis
    return getattr(layer, "data_format", "channels_last") == "channels_last" and axis != 1


def received_as_map(placed: Placed, value: np.ndarray) -> np.ndarray:
    """Returns what the PyTorch layer receives with its channels where the Keras layer has them."""
    if value.ndim > 2:
        return np.moveaxis(value, 1, -1) if channels_are_last(placed.layer) else value
    return received_as_is(placed, value)


def returned_as_map(placed: Placed, value: np.ndarray) -> np.ndarray:
    """The same of what they return."""
    if value.ndim > 2:
        return np.moveaxis(value, 1, -1) if channels_are_last(placed.layer) else value
    return returned_as_is(placed, value)


def set_attribute(name: str, value: Any) -> Edit:
    """Returns the change that sets an attribute of a module."""
    return lambda module: setattr(module, name, value)

"""The calls of a Keras model and of the models in it, as values and what made them.

Read from Keras' symbolic graph. A subclassed layer or model is called on symbolic tensors for it; where that fails,
as it does on PyTorch's own functions, its layers are taken in the order of their registration.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras

from birdplane_keras.parity.private_keras import layers_of

Shape = tuple[int | None, ...]


@dataclass(eq=False)
class Value:
    """A tensor in one call of the model. `makers` are the layers, by `id`, that took part in making it."""

    shape: Shape
    makers: frozenset[int] = frozenset()
    producer: "Call | None" = None
    consumers: "list[Call]" = field(default_factory=list)


@dataclass(eq=False)
class Call:
    """One call of an operation that has no calls in it, or none that can be seen."""

    operation: Any
    inputs: list[Value]
    outputs: list[Value]


@dataclass(kw_only=True)
class Graph:
    """All calls of a model, in an order in which each comes after what it needs.

    `made_by` has, by the `id` of a layer, those of all layers that took part in making its inputs.
    """

    calls: list[Call] = field(default_factory=list)
    made_by: dict[int, frozenset[int]] = field(default_factory=dict)


def read_calls(model: keras.Model) -> Graph | None:
    """Returns the calls of a model, `None` where it cannot be looked into."""
    function = function_of(model, first_shapes(model))
    if function is None:
        return None
    graph = Graph()
    follow(graph, function, [Value(shape=tuple(tensor.shape)) for tensor in function.inputs])
    return graph


def follow(graph: Graph, function: Any, given: Sequence[Value]) -> list[Value]:
    """Adds the calls of a function for the values that it is given, and returns the values that it makes."""
    known = {tensor._keras_history: value for tensor, value in zip(function.inputs, given, strict=False)}
    levels = sorted(function._nodes_by_depth.items(), reverse=True)
    for node in (node for _, level in levels for node in level):
        if all(tensor._keras_history in known for tensor in node.outputs):
            continue  # what the function was given
        inputs = [known.setdefault(t._keras_history, Value(shape=tuple(t.shape))) for t in node.input_tensors]
        inner = function_of(node.operation, [value.shape for value in inputs])
        if inner is not None:
            outputs = follow(graph, inner, inputs)
        else:
            outputs = call(graph, node, inputs)
            note_makers(graph, node.operation, inputs, outputs)
        known.update(zip((tensor._keras_history for tensor in node.outputs), outputs, strict=False))
    return [known.setdefault(t._keras_history, Value(shape=tuple(t.shape))) for t in function.outputs]


def call(graph: Graph, node: Any, inputs: list[Value]) -> list[Value]:
    """Adds a call, and returns what it makes."""
    outputs = [Value(shape=tuple(tensor.shape)) for tensor in node.outputs]
    made = Call(operation=node.operation, inputs=inputs, outputs=outputs)
    for value in inputs:
        value.consumers.append(made)
    for value in outputs:
        value.producer = made
    graph.calls.append(made)
    return outputs


def note_makers(graph: Graph, operation: Any, inputs: Sequence[Value], outputs: Sequence[Value]) -> None:
    """Notes by which layers the inputs of a layer, and those of the layers in it, were made."""
    before = frozenset[int]().union(*(value.makers for value in inputs))
    members = [operation, *([] if is_stock(operation) else layers_inside(operation))]
    seen = before
    for member in members:  # in an order that is guessed, where the layer cannot be looked into
        graph.made_by[id(member)] = graph.made_by.get(id(member), frozenset()) | (seen - {id(member)})
        seen |= {id(member)}
    for value in outputs:
        value.makers |= seen


def layers_inside(layer: Any) -> Iterator[Any]:
    """Yields the layers in a layer, in the order of registration."""
    for inner in getattr(layer, "_layers", ()):
        yield inner
        yield from layers_inside(inner)


def is_stock(operation: Any) -> bool:
    """Whether an operation is one of Keras' own, and no layer or model that someone composed."""
    return not isinstance(operation, keras.Layer) or type(operation).__module__.startswith("keras.src.layers")


def function_of(operation: Any, shapes: Sequence[Any]) -> Any:
    """Returns the symbolic graph inside an operation, `None` where it has none."""
    if isinstance(operation, keras.Sequential) and operation._functional is not None:
        return operation._functional
    if hasattr(operation, "_nodes_by_depth"):
        return operation
    if is_stock(operation) or not shapes or not operation._layers:
        return None
    layers = layers_of(operation)
    nodes = [(list(layer._inbound_nodes), list(layer._outbound_nodes)) for layer in layers]
    try:
        inputs = [symbolic(shape) for shape in shapes]
        return keras.Function(keras.tree.flatten(inputs), operation.call(*inputs))
    except Exception:  # whatever the author's own code raises when it meets a symbolic tensor
        return None
    finally:
        for layer, (inbound, outbound) in zip(layers, nodes, strict=True):
            layer._inbound_nodes, layer._outbound_nodes = inbound, outbound


def symbolic(shape: Any) -> Any:
    """Returns a symbolic tensor of a shape, or a list of them for a list of shapes."""
    if any(isinstance(part, list | tuple) for part in shape):
        return [symbolic(part) for part in shape]
    return keras.Input(batch_shape=(2, *shape[1:]))  # code may reshape to x.shape[0]


def first_shapes(model: keras.Model) -> list[Any]:
    """Returns the shapes that a subclassed model was built with, or lists of them; none where Keras kept none."""
    shapes = list((model._build_shapes_dict or {}).values())
    return [tuple(shape) for shape in shapes if isinstance(shape, list | tuple)]

"""In which order the features of a vector come, where Keras flattens (H, W, C) and PyTorch (C, H, W).

Read from Keras' symbolic graph. A subclassed layer or model is called on symbolic tensors for it; where that fails,
as it does on PyTorch's own functions, the sizes of its layers in the order of their registration tell.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

RESHAPES = {"Flatten", "Reshape", "Ravel"}
MIXES = {"Permute", "Transpose", "Flip", "Roll", "Sort", "Moveaxis", "Swapaxes", "RepeatVector", "TorchModuleWrapper"}
JOINS = {"Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Divide", "TrueDivide"}
NORMALISATIONS = {"BatchNormalization", "LayerNormalization", "GroupNormalization", "RMSNormalization", "PReLU"}


@dataclass(frozen=True, kw_only=True)
class FeatureOrder:
    """How a layer's features are ordered: the i-th of Keras is the `inputs[i]`-th of PyTorch, `None` the i-th itself.

    `channels` is where the layer's input, if it is a feature map, has its channels: "first", "last".
    """

    inputs: np.ndarray | None = None
    outputs: np.ndarray | None = None
    channels: str | None = None


@dataclass(kw_only=True)
class Graph:
    """All calls of a model and the models in it. A tensor is known by its history: (operation, call, output)."""

    producers: dict[Any, Any] = field(default_factory=dict)
    consumers: dict[Any, list[Any]] = field(default_factory=lambda: defaultdict(list))
    same: dict[Any, Any] = field(default_factory=dict)

    def resolve(self, tensor: Any) -> Any:
        """Returns the tensor itself for one that stands for it at the border of a nested model."""
        while tensor._keras_history in self.same:
            tensor = self.same[tensor._keras_history]
        return tensor

    def producer(self, tensor: Any) -> tuple[Any, list[Any]]:
        """Returns the operation that made a tensor, `None` where there is none, and its inputs."""
        node = self.producers.get(tensor._keras_history)
        return (None, []) if node is None else (node.operation, [self.resolve(t) for t in node.input_tensors])


def feature_orders(model: keras.Model) -> Mapping[int, FeatureOrder]:
    """Finds the order of features at every layer that is called in a model.

    Returns:
        `id` of the layer -> order; a missing layer has nothing reordered.
    """
    graph = Graph()
    nodes: list[Any] = []
    function = function_of(model, first_shapes(model))
    if function is None:
        return guessed_orders(model)
    add_calls(graph, function, nodes)
    for node in nodes:
        for tensor in node.input_tensors:
            graph.consumers[graph.resolve(tensor)._keras_history].append(node)
    orders: dict[int, FeatureOrder] = {}
    for node in nodes:
        if id(node.operation) not in orders and len(node.input_tensors) == 1 and len(node.outputs) == 1:
            inputs = graph.resolve(node.input_tensors[0])
            orders[id(node.operation)] = FeatureOrder(
                inputs=order_before(graph, inputs),
                outputs=order_after(graph, node.outputs[0]),
                channels=channels_before(graph, inputs),
            )
        for inner, order in guessed_orders(node.operation).items():
            orders.setdefault(inner, order)
    return orders


def guessed_orders(operation: Any) -> dict[int, FeatureOrder]:
    """Guesses within a layer that cannot be looked into: more features than channels are a map that was flattened."""
    orders, channels = {}, None
    for layer in [] if is_stock(operation) else layers_inside(operation):
        if is_spatial(layer) and getattr(layer, "kernel", None) is not None:
            multiplied = getattr(layer, "depth_multiplier", None)
            width = layer.kernel.shape[-2] * multiplied if multiplied else layer.filters
            channels = width if layer.data_format == "channels_last" else None
        elif isinstance(layer, keras.layers.Dense | keras.layers.BatchNormalization) and channels and layer.weights:
            features = layer.weights[0].shape[0]
            if features > channels and features % channels == 0:
                orders[id(layer)] = FeatureOrder(inputs=flat_order((features // channels, channels), "last", None))
            channels = None if isinstance(layer, keras.layers.Dense) else channels
    return orders


def layers_inside(layer: Any) -> Iterator[Any]:
    """Yields the layers in a layer, in the order of registration."""
    for inner in getattr(layer, "_layers", ()):
        yield inner
        yield from layers_inside(inner)


def is_stock(operation: Any) -> bool:
    """Whether an operation is one of Keras' own, and no layer or model that someone composed."""
    return not isinstance(operation, keras.Layer) or type(operation).__module__.startswith("keras.src.layers")


def add_calls(graph: Graph, function: Any, nodes: list[Any]) -> None:
    """Adds the calls of a function, and those within the models that it calls."""
    levels = sorted(function._nodes_by_depth.items(), reverse=True)
    for node in (node for _, level in levels for node in level):
        inner = function_of(node.operation, [tensor.shape for tensor in node.input_tensors])
        if inner is None:
            nodes.append(node)
            for tensor in node.outputs:
                graph.producers[tensor._keras_history] = node
            continue
        pairs = [*zip(node.outputs, inner.outputs, strict=False), *zip(inner.inputs, node.input_tensors, strict=False)]
        for outside, inside in pairs:
            graph.same.setdefault(outside._keras_history, inside)
        add_calls(graph, inner, nodes)


def function_of(operation: Any, shapes: list[tuple[int | None, ...]]) -> Any:
    """Returns the symbolic graph inside an operation, `None` where it has none."""
    if isinstance(operation, keras.Sequential) and operation._functional is not None:
        return operation._functional
    if hasattr(operation, "_nodes_by_depth"):
        return operation
    if is_stock(operation) or not shapes or not operation._layers:
        return None
    layers = list(operation._flatten_layers())
    nodes = [(list(layer._inbound_nodes), list(layer._outbound_nodes)) for layer in layers]
    try:
        inputs = [keras.Input(batch_shape=(2, *shape[1:])) for shape in shapes]  # code may reshape to x.shape[0]
        return keras.Function(inputs, operation.call(*inputs))
    except Exception:  # whatever the author's own code raises when it meets a symbolic tensor
        return None
    finally:
        for layer, (inbound, outbound) in zip(layers, nodes, strict=True):
            layer._inbound_nodes, layer._outbound_nodes = inbound, outbound


def first_shapes(model: keras.Model) -> list[tuple[int | None, ...]]:
    """Returns the shapes that a subclassed model was built with, none where Keras kept none."""
    shapes = list((model._build_shapes_dict or {}).values())
    return [tuple(shape) for shape in shapes if isinstance(shape, list | tuple)]


def keeps_features(operation: Any, inputs: list[Any], output: Any) -> bool:
    """Whether an operation leaves each feature of its one input, or of all, in its place."""
    name = type(operation).__name__
    if name in MIXES | RESHAPES or not inputs or any(len(tensor.shape) != len(output.shape) for tensor in inputs):
        return False
    if len(inputs) > 1:
        return name in JOINS
    return name in NORMALISATIONS or not getattr(operation, "weights", ())


def joins_along_last_axis(operation: Any, output: Any) -> bool:
    """Whether an operation joins feature vectors."""
    return type(operation).__name__ == "Concatenate" and operation.axis in (-1, len(output.shape) - 1)


def order_before(graph: Graph, tensor: Any) -> np.ndarray | None:
    """Returns the order that the features of a vector (N, F) have from what made it."""
    if len(tensor.shape) != 2 or tensor.shape[1] is None:
        return None
    operation, inputs = graph.producer(tensor)
    if type(operation).__name__ in RESHAPES and len(inputs[0].shape) > 2:
        channels = channels_before(graph, inputs[0])
        return None if channels is None else flat_order(inputs[0].shape[1:], channels, operation)
    if joins_along_last_axis(operation, tensor):
        orders = [order_before(graph, part) for part in inputs]
        if all(order is None for order in orders):
            return None
        sizes = [part.shape[1] for part in inputs]
        starts = np.cumsum([0, *sizes[:-1]])
        parts = zip(starts, orders, sizes, strict=True)
        return np.concatenate([start + (np.arange(size) if order is None else order) for start, order, size in parts])
    if keeps_features(operation, inputs, tensor) and all(part.shape[1:] == tensor.shape[1:] for part in inputs):
        return next((order for part in inputs if (order := order_before(graph, part)) is not None), None)
    return None


def order_after(graph: Graph, tensor: Any) -> np.ndarray | None:
    """Returns the order that the features of a vector (N, F) must have for what it is reshaped to."""
    if len(tensor.shape) != 2 or tensor.shape[1] is None:
        return None
    for node in graph.consumers[graph.resolve(tensor)._keras_history]:
        output, order = node.outputs[0], None
        if type(node.operation).__name__ == "Reshape" and len(output.shape) > 2:
            channels = channels_after(graph, output)
            order = None if channels is None else flat_order(output.shape[1:], channels, None)
        elif output.shape[1:] == tensor.shape[1:] and keeps_features(node.operation, node.input_tensors, output):
            order = order_after(graph, output)
        if order is not None:
            return order
    return None


def channels_before(graph: Graph, tensor: Any) -> str | None:
    """Says where a tensor has its channels if it is a feature map; a sequence has none."""
    if len(tensor.shape) < 3:
        return None
    operation, inputs = graph.producer(tensor)
    if operation is None or isinstance(operation, keras.layers.InputLayer):
        return channels_of_image(tensor)
    if is_spatial(operation):
        return operation.data_format.removeprefix("channels_")
    joined = type(operation).__name__ == "Concatenate"
    if joined or keeps_features(operation, inputs, tensor):
        return next((found for part in inputs if (found := channels_before(graph, part)) is not None), None)
    return None


def channels_after(graph: Graph, tensor: Any) -> str | None:
    """The same, from what is done with the tensor."""
    nodes = graph.consumers[graph.resolve(tensor)._keras_history]
    for node in nodes:
        if is_spatial(node.operation):
            return node.operation.data_format.removeprefix("channels_")
        if keeps_features(node.operation, node.input_tensors, node.outputs[0]):
            found = channels_after(graph, node.outputs[0])
            if found is not None:
                return found
    return None if nodes else channels_of_image(tensor)


def is_spatial(operation: Any) -> bool:
    """Whether an operation is a convolution or a pooling."""
    name = type(operation).__name__
    return hasattr(operation, "data_format") and ("Conv" in name or "Pool" in name)


def channels_of_image(tensor: Any) -> str | None:
    """Says where an image at the border of the model has its channels; (N, T, F) is a sequence."""
    if len(tensor.shape) < 4:
        return None
    first, last = tensor.shape[1], tensor.shape[-1]
    return "first" if first is not None and last is not None and first <= 4 < last else "last"


def flat_order(shape: tuple[int | None, ...], channels: str, operation: Any) -> np.ndarray | None:
    """Returns which of PyTorch's features (C, *spatial) each feature of a flattened map is."""
    if None in shape:
        return None
    sizes = [int(size) for size in shape if size is not None]
    if channels == "last":
        sizes = [sizes[-1], *sizes[:-1]]
    index = np.arange(int(np.prod(sizes))).reshape(sizes)
    if channels == "last":
        index = np.moveaxis(index, 0, -1)
    if getattr(operation, "data_format", None) == "channels_first":  # such a Flatten moves the first axis to the end
        index = np.moveaxis(index, 0, -1)
    order = index.reshape(-1)
    return None if np.array_equal(order, np.arange(order.size)) else order

"""In which order the features of a vector come, where Keras flattens (H, W, C) and PyTorch (C, H, W)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from birdplane_keras.parity.kinds.kind import FeatureOrder
from birdplane_keras.parity.matching.graph import Call, Shape, Value, is_stock, layers_inside, read_calls

RESHAPES = {"Flatten", "Reshape", "Ravel"}
MIXES = {"Permute", "Transpose", "Flip", "Roll", "Sort", "Moveaxis", "Swapaxes", "RepeatVector", "TorchModuleWrapper"}
JOINS = {"Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Divide", "TrueDivide"}
NORMALISATIONS = {"BatchNormalization", "LayerNormalization", "GroupNormalization", "RMSNormalization", "PReLU"}


@dataclass(frozen=True, kw_only=True)
class Read:
    """What the graph of a model tells of its layers, by their `id`: orders of features, and what made their inputs.

    A layer that is missing in `orders` has nothing reordered. `made_by` is `None` where the graph cannot be read.
    """

    orders: Mapping[int, FeatureOrder]
    made_by: Mapping[int, frozenset[int]] | None


def read_graph(model: keras.Model) -> Read:
    """Reads the graph of a model."""
    graph = read_calls(model)
    if graph is None:
        return Read(orders=guessed_orders(model), made_by=None)
    orders: dict[int, FeatureOrder] = {}
    for call in graph.calls:
        if id(call.operation) not in orders and len(call.inputs) == 1 and len(call.outputs) == 1:
            orders[id(call.operation)] = FeatureOrder(
                inputs=order_before(call.inputs[0]),
                outputs=order_after(call.outputs[0]),
                channels=channels_before(call.inputs[0]),
            )
        for inner, order in guessed_orders(call.operation).items():
            orders.setdefault(inner, order)
    return Read(orders=orders, made_by=graph.made_by)


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


def name_of(call: Call | None) -> str:
    """Returns the class of the operation of a call."""
    return type(call.operation).__name__ if call is not None else ""


def keeps_features(call: Call, output: Value) -> bool:
    """Whether an operation leaves each feature of its one input, or of all, in its place."""
    name, inputs = name_of(call), call.inputs
    if name in MIXES | RESHAPES or not inputs or any(len(value.shape) != len(output.shape) for value in inputs):
        return False
    if len(inputs) > 1:
        return name in JOINS
    return name in NORMALISATIONS or not getattr(call.operation, "weights", ())


def joins_along_last_axis(call: Call, output: Value) -> bool:
    """Whether an operation joins feature vectors."""
    return name_of(call) == "Concatenate" and call.operation.axis in (-1, len(output.shape) - 1)


def order_before(value: Value) -> np.ndarray | None:
    """Returns the order that the features of a vector (N, F) have from what made it."""
    call = value.producer
    if len(value.shape) != 2 or value.shape[1] is None or call is None:
        return None
    if name_of(call) in RESHAPES and len(call.inputs[0].shape) > 2:
        channels = channels_before(call.inputs[0])
        return None if channels is None else flat_order(call.inputs[0].shape[1:], channels, call.operation)
    if joins_along_last_axis(call, value):
        return joined_order(call.inputs)
    if keeps_features(call, value) and all(part.shape[1:] == value.shape[1:] for part in call.inputs):
        return next((order for part in call.inputs if (order := order_before(part)) is not None), None)
    return None


def joined_order(parts: Sequence[Value]) -> np.ndarray | None:
    """Returns the order of features of vectors that were joined."""
    orders = [order_before(part) for part in parts]
    if all(order is None for order in orders):
        return None
    sizes = [int(part.shape[1] or 0) for part in parts]
    starts = np.cumsum([0, *sizes[:-1]])
    joined = zip(starts, orders, sizes, strict=True)
    return np.concatenate([start + (np.arange(size) if order is None else order) for start, order, size in joined])


def order_after(value: Value) -> np.ndarray | None:
    """Returns the order that the features of a vector (N, F) must have for what it is reshaped to."""
    if len(value.shape) != 2 or value.shape[1] is None:
        return None
    for call in value.consumers:
        output, order = call.outputs[0], None
        if name_of(call) == "Reshape" and len(output.shape) > 2:
            channels = channels_after(output)
            order = None if channels is None else flat_order(output.shape[1:], channels, None)
        elif output.shape[1:] == value.shape[1:] and keeps_features(call, output):
            order = order_after(output)
        if order is not None:
            return order
    return None


def channels_before(value: Value) -> str | None:
    """Says where a tensor has its channels if it is a feature map; a sequence has none."""
    if len(value.shape) < 3:
        return None
    call = value.producer
    if call is None or isinstance(call.operation, keras.layers.InputLayer):
        return channels_of_image(value)
    if is_spatial(call.operation):
        return str(call.operation.data_format).removeprefix("channels_")
    if name_of(call) == "Concatenate" or keeps_features(call, value):
        return next((found for part in call.inputs if (found := channels_before(part)) is not None), None)
    return None


def channels_after(value: Value) -> str | None:
    """The same, from what is done with the tensor."""
    for call in value.consumers:
        if is_spatial(call.operation):
            return str(call.operation.data_format).removeprefix("channels_")
        if keeps_features(call, call.outputs[0]):
            found = channels_after(call.outputs[0])
            if found is not None:
                return found
    return None if value.consumers else channels_of_image(value)


def is_spatial(operation: Any) -> bool:
    """Whether an operation is a convolution or a pooling."""
    name = type(operation).__name__
    return hasattr(operation, "data_format") and ("Conv" in name or "Pool" in name)


def channels_of_image(value: Value) -> str | None:
    """Says where an image at the border of the model has its channels; (N, T, F) is a sequence."""
    if len(value.shape) < 4:
        return None
    first, last = value.shape[1], value.shape[-1]
    return "first" if first is not None and last is not None and first <= 4 < last else "last"


def flat_order(shape: Shape, channels: str, operation: Any) -> np.ndarray | None:
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

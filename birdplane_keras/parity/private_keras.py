"""What the judge imports of Keras, and calls of its objects, that Keras does not publish."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from keras.src.backend.common.masking import get_keras_mask
from keras.src.backend.common.variables import AutocastScope
from keras.src.backend.torch import random as torch_random

Dropout = Callable[..., Any]  # dropout(inputs, rate, noise_shape=None, seed=None)


def layers_of(layer: Any, *, include_self: bool = True) -> list[Any]:
    """Returns a model or layer and all layers within it, at any depth, each once."""
    return list(layer._flatten_layers(include_self=include_self))


def recorded_masks(layer: Any) -> list[Any]:
    """Returns the operations that made a layer's masks as functional models were built.

    Such a model keeps what its layers were called with, their masks too, and computes these again at each call.
    """
    masks = [get_keras_mask(tensor) for node in layer._inbound_nodes for tensor in node.output_tensors]
    made = [history.operation for mask in masks if (history := getattr(mask, "_keras_history", None)) is not None]
    return list(dict.fromkeys(made))


def seeds_of(layer: Any) -> list[Any]:
    """Returns the variables that a layer's own random draws start from."""
    return [generator.state for generator in getattr(layer, "_seed_generators", ())]


def variables_of(optimizer: Any) -> list[Any]:
    """Returns the variables that an optimizer was built for, in its order."""
    return list(optimizer._trainable_variables)


def build_for(model: Any, data: tuple[Any, ...]) -> None:
    """Builds what a model builds at its first batch, such as its metrics, as `fit` does before its first step."""
    model._symbolic_build(data_batch=data)


def variables_themselves() -> AutocastScope:
    """Within it, variables are what they are: within a layer's call they are else copies in its computing type."""
    return AutocastScope(None)


@contextmanager
def dropout_replaced(function: Dropout) -> Iterator[Dropout]:
    """Within it, every layer and `keras.random.dropout` drop by another function: all of them come through here.

    Yields:
        the function that they dropped by before.
    """
    before: Dropout = torch_random.dropout
    torch_random.dropout = function
    try:
        yield before
    finally:
        torch_random.dropout = before


def own_variables(layer: Any) -> list[Any]:
    """Returns the weights that a layer has made itself, without those of the layers in it."""
    return [*layer._trainable_variables, *layer._non_trainable_variables]

"""What a Keras layer is called with in a prediction, and what it makes of that."""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import torch

from birdplane_keras.parity.kinds.repairing import attributes_set
from birdplane_keras.parity.matching.fits import Fit
from birdplane_keras.parity.private_keras import layers_of, own_variables
from birdplane_keras.parity.private_torch import tree_leaves
from birdplane_keras.parity.programs.dispatched import tensors_in


def has_others(layer: Any) -> bool:
    """Whether layers in a layer have weights, too."""
    return any(own_variables(inner) for inner in layers_of(layer, include_self=False))


def tensors_of_call(args: tuple, kwargs: dict) -> list[torch.Tensor]:
    """Returns the tensors that a layer is called with; arrays as tensors."""
    leaves = [torch.as_tensor(leaf) if isinstance(leaf, np.ndarray) else leaf for leaf in tree_leaves((args, kwargs))]
    return tensors_in(leaves)


def outputs_of(layer: Any, again: Callable[[], Any]) -> Iterator[torch.Tensor]:
    """Yields what a layer makes, and what it makes before its activation."""
    made = next((leaf for leaf in tree_leaves(again()) if isinstance(leaf, torch.Tensor)), None)
    if made is not None:
        yield made
    if has_own_activation(layer):
        with attributes_set(layer, activation=keras.activations.linear):
            made = again()
        if isinstance(made, torch.Tensor):
            yield made


def has_own_activation(layer: Any) -> bool:
    """Whether a layer ends in an activation, which is no part of its counterpart."""
    activation = getattr(layer, "activation", None)
    recurrent = isinstance(layer, keras.layers.RNN)
    return activation is not None and activation is not keras.activations.linear and not recurrent


def fit_parts(fit: Fit) -> tuple[int, int]:
    """Returns the part of what a use makes that a layer makes: which of how many."""
    labels = [weight.label for weight in fit.weights if ":" in weight.label]
    if not labels:
        return 0, 1
    shape, _, index = labels[0].partition(":")
    return int(index), int(shape.partition("x")[2])

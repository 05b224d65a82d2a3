"""Weights, and moving statistics, from one framework's model into the other's. All of them, or none."""

from typing import Any

import numpy as np
import torch
from torch import nn

from birdplane_keras.errors import TransferError
from birdplane_keras.parity.core.problems import counted
from birdplane_keras.parity.matching.ledger import tensors_of
from birdplane_keras.parity.matching.match import LayerMapping, Matching, match_layers
from birdplane_keras.parity.sides.arrays import to_numpy

__all__ = ["TransferError", "keras_to_torch", "torch_to_keras"]


def torch_to_keras(torch_module: nn.Module, keras_model: Any, mapping: LayerMapping | None = None) -> None:
    """Copies a PyTorch module's weights and moving statistics into a Keras model.

    Args:
        torch_module: Left as it is.
        keras_model: A built `keras.Model` on the torch backend; keeps its dtypes and devices.
        mapping: As in `match_layers`.

    Raises:
        TransferError: Something does not fit. The message lists everything, and nothing was changed.
    """
    matching = fitting(keras_model, torch_module, mapping)
    tensors = tensors_of(torch_module)
    values: dict[int, np.ndarray] = {}
    for match in matching.tensors:
        value = match.to_keras(match.from_torch(*(to_numpy(tensors[name]) for name in match.torch)))
        before = values.setdefault(id(matching.variables[match.name]), value)
        if not np.array_equal(before, value, equal_nan=True):
            raise TransferError(
                f"expected one value for {match.keras}, which Keras layers share, received another from {match.name}: "
                "tie the PyTorch tensors too, or give Keras a layer for each"
            )
    for match in matching.tensors:
        variable = matching.variables[match.name]
        variable.assign(values[id(variable)])


def keras_to_torch(keras_model: Any, torch_module: nn.Module, mapping: LayerMapping | None = None) -> None:
    """Copies a Keras model's weights and moving statistics into a PyTorch module.

    The one bias of a Keras LSTM goes into `bias_ih`, and zeros into `bias_hh`. A buffer that counts batches stays.

    Args:
        keras_model: A built `keras.Model` on the torch backend; left as it is.
        torch_module: Keeps its dtypes and devices.
        mapping: As in `match_layers`.

    Raises:
        TransferError: Something does not fit. The message lists everything, and nothing was changed.
    """
    matching = fitting(keras_model, torch_module, mapping)
    tensors = tensors_of(torch_module)
    views = {match.name: match.from_keras(to_numpy(matching.variables[match.name].value)) for match in matching.tensors}
    values = {id(tensors[name]): to_numpy(tensors[name]) for match in matching.tensors for name in match.torch}
    for match in matching.tensors:
        now = [values[id(tensors[name])] for name in match.torch]
        views[match.name] = views[match.name].astype(now[0].dtype)
        for name, value in zip(match.torch, match.to_torch(views[match.name], now), strict=True):
            values[id(tensors[name])] = value
    for match in matching.tensors:
        written = match.from_torch(*(values[id(tensors[name])] for name in match.torch))
        if not np.array_equal(written, views[match.name], equal_nan=True):
            raise TransferError(
                f"expected one value for {match.name}, which PyTorch modules share, received others from {match.keras} "
                "and another variable: tie the Keras variables too, or untie the PyTorch tensors"
            )
    with torch.no_grad():
        for match in matching.tensors:
            for name in match.torch:
                tensors[name].copy_(torch.from_numpy(values[id(tensors[name])]))


def fitting(keras_model: Any, torch_module: nn.Module, mapping: LayerMapping | None) -> Matching:
    """Matches the layers and raises if anything is left over."""
    matching = match_layers(keras_model, torch_module, mapping)
    if matching.problems:
        listed = "; ".join(problem.text for problem in matching.problems)
        raise TransferError(
            "expected a counterpart of the same shape for every weight, received "
            f"{counted(matching.problems)}: {listed}"
        )
    return matching

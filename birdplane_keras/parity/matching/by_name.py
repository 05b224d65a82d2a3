"""Matches what is left with what has the same last name and shape, where there is one: parameters, whole numbers."""

from collections.abc import Iterable
from typing import Any

import keras
import torch
from torch import nn

from birdplane_keras.parity.matching.as_told import match_variable
from birdplane_keras.parity.matching.ledger import Ledger


def match_by_name(ledger: Ledger, keras_model: Any, torch_module: nn.Module) -> None:
    """Matches weights of layers of no known kind, where name and shape leave one choice."""
    match_alone(ledger, keras_model, torch_module, torch_module.named_parameters())


def match_whole_numbers(ledger: Ledger, keras_model: Any, torch_module: nn.Module) -> None:
    """Matches variables of whole numbers, such as the places of positions, with buffers; nothing is lost by others."""
    whole = ((name, buffer) for name, buffer in torch_module.named_buffers() if not buffer.is_floating_point())
    match_alone(ledger, keras_model, torch_module, whole)


def match_alone(
    ledger: Ledger, keras_model: Any, torch_module: nn.Module, tensors: Iterable[tuple[str, torch.Tensor]]
) -> None:
    """Matches variables with those of some tensors that alone have their last name and shape."""
    left = [(name, tensor) for name, tensor in tensors if id(tensor) not in ledger.settled]
    variables = [variable for variable in keras_model.weights if id(variable) not in ledger.settled]
    ours = [(variable.name, tuple(variable.shape)) for variable in variables]
    theirs = [(name.rpartition(".")[2], tuple(tensor.shape)) for name, tensor in left]
    for variable, key in zip(variables, ours, strict=True):
        if ours.count(key) == theirs.count(key) == 1:
            name, tensor = left[theirs.index(key)]
            if tensor.is_floating_point() == keras.backend.is_float_dtype(variable.dtype):
                match_variable(ledger, keras_model, torch_module, variable.path, name)

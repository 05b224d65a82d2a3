"""One batch as a flat list of tensors, and the key of what a trace of it depends on."""

from collections.abc import Hashable
from typing import Any

import keras
import numpy as np
import torch
from keras.src.backend.torch.core import get_device

from birdplane_keras.torch_plugin.errors import NotTraceableError

_LEAF = "*"


def flatten(data: Any, leaves: list[torch.Tensor]) -> Hashable:
    """Appends the tensors of a batch to `leaves`; returns its structure.

    Args:
        data: What `fit` passes to a step: nested tuples, lists and dictionaries of tensors, arrays and `None`.
        leaves: Receives the tensors on Keras' current device; arrays keep their dtype, as in Keras.

    Raises:
        NotTraceableError: Something else is in the batch.
    """
    kind = type(data)
    if kind is torch.Tensor:
        if data.device != get_device():
            data = keras.ops.convert_to_tensor(data)
        leaves.append(data)
        return _LEAF
    if data is None:
        return None
    if kind is tuple or kind is list:
        return (kind, *[flatten(item, leaves) for item in data])
    if isinstance(data, dict):
        return (kind, *[(key, flatten(item, leaves)) for key, item in data.items()])
    if isinstance(data, np.ndarray | np.generic) and data.dtype.kind in "biufc":
        leaves.append(keras.ops.convert_to_tensor(data))
        return _LEAF
    raise NotTraceableError(f"a batch holds a {kind.__module__}.{kind.__qualname__}, not a tensor or an array")


def rebuild(data: Any, leaves: list[torch.Tensor]) -> Any:
    """Returns a batch of the structure of `data` with other leaves, which are taken from the front of the list."""
    if data is None:
        return None
    if isinstance(data, tuple | list):
        return type(data)([rebuild(item, leaves) for item in data])
    if isinstance(data, dict):
        return type(data)((key, rebuild(item, leaves)) for key, item in data.items())
    return leaves.pop(0)


def signature(structure: Hashable, leaves: list[torch.Tensor]) -> Hashable:
    """Returns the key of a batch's traces.

    Shapes, dtypes, devices and memory layout of the tensors, where weights are present, and the settings of Keras and
    PyTorch that change which operations a step makes.
    """
    return (
        structure,
        tuple([(leaf.shape, leaf.dtype, leaf.device, leaf.stride()) for leaf in leaves]),
        str(get_device()),
        keras.config.floatx(),
        keras.config.epsilon(),
        torch.is_autocast_enabled("cpu"),
        torch.is_autocast_enabled("cuda"),
    )


def require_plain(leaves: list[torch.Tensor]) -> None:
    """Makes sure that nothing rides on the tensors of a batch that a trace would not see."""
    for leaf in leaves:
        if leaf.requires_grad:
            raise NotTraceableError("a tensor of the batch requires a gradient")
        if leaf.layout != torch.strided:
            raise NotTraceableError(f"a tensor of the batch has the layout {leaf.layout}")
        if getattr(leaf, "_keras_mask", None) is not None:
            raise NotTraceableError("a tensor of the batch carries a Keras mask")


def describe(leaves: list[torch.Tensor]) -> str:
    """Returns the shapes and types of a batch in words."""
    return ", ".join(f"{tuple(leaf.shape)} {str(leaf.dtype).removeprefix('torch.')}" for leaf in leaves)

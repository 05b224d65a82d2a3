"""One batch as a flat list of tensors, and the key of what a trace of it depends on."""

import functools
import operator
import threading
from collections.abc import Hashable, Sequence
from typing import Any

import keras
import numpy as np
import torch
from keras import tree

from birdplane_keras.torch_plugin.errors import NotTraceableError
from birdplane_keras.torch_plugin.private_keras import get_device, get_keras_mask, global_settings

_LEAF = "*"


@functools.cache
def name_of(device: torch.device) -> str:
    """Returns a device's name, as Keras calls it."""
    return str(device)


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
        if name_of(data.device) != get_device():
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


def packed(structure: Any, leaves: Sequence[Any]) -> Any:
    """Returns leaves in a structure of the same number of them."""
    if type(structure) is tuple and not any(tree.is_nested(each) for each in structure):
        return tuple(leaves)
    return tree.pack_sequence_as(structure, list(leaves)) if tree.is_nested(structure) else leaves[0]


def result_of(kind: str, results: Sequence[Any]) -> Any:
    """Returns what a function returns of the steps that it made: the last logs, or all predictions as one batch's."""
    if len(results) == 1 or kind != "predict":
        return results[-1]
    return tree.map_structure(joined, *results)


def joined(*parts: Any) -> Any:
    """Returns the outputs of several batches as one; what a model returns that is no tensor as `predict` joins it."""
    if all(isinstance(part, torch.Tensor) for part in parts):
        return torch.cat(parts)
    return np.concatenate([keras.ops.convert_to_numpy(part) for part in parts])


def with_leaves(data: Any, leaves: Sequence[torch.Tensor], now: Sequence[torch.Tensor]) -> Any:
    """Returns a batch with other tensors in the place of its leaves; the batch itself where they are the same."""
    return data if all(map(operator.is_, leaves, now)) else rebuild(data, list(now))


def signature(data: Any, leaves: list[torch.Tensor]) -> tuple:
    """Returns the key of a batch's traces, and appends its tensors to `leaves`.

    The look of the batch, and the settings of Keras and PyTorch that change which operations a step makes.

    Args:
        data: As `flatten` takes it.
        leaves: Receives the tensors.

    Raises:
        NotTraceableError: As `flatten` does.
    """
    known = _made.known.pop(id(data), None)
    if known is not None and data is known[0] and known[2] == get_device():
        look = known[1]
        leaves += data if type(data) is tuple else [data]
    else:
        look = look_of(flatten(data, leaves), leaves)
    return (*look, global_settings(), torch.get_default_dtype(), torch.is_inference_mode_enabled())


def look_of(structure: Hashable, leaves: list[torch.Tensor]) -> tuple:
    """Returns the shapes, dtypes, devices and strides of a batch's tensors, and which are one or share memory."""
    looks = tuple([(leaf.shape, leaf.dtype, leaf.device, leaf.stride()) for leaf in leaves])
    return structure, looks, sharing(leaves) if len(leaves) > 1 else None


class _Made(threading.local):
    """The batches that were made last in a thread, whose looks are known: nobody but their steps has seen them yet."""

    def __init__(self) -> None:
        self.known: dict[int, tuple[Any, tuple, str]] = {}  # id -> the batch, its look, and Keras' device


_made = _Made()


def make_known(batch: Any, look: tuple | None, most: int = 1) -> None:
    """Notes the look of a batch of new tensors, which goes to a step next; `None` where they lie deeper in it.

    Args:
        batch: A tensor, or a tuple of them; `None` to forget all.
        look: As `look_of` returns it.
        most: How many such batches may wait for their steps.
    """
    if batch is None or len(_made.known) >= most:
        _made.known.clear()
    if look:
        _made.known[id(batch)] = batch, look, get_device()


def family_of(kind: str, key: tuple, leaves: list[torch.Tensor]) -> tuple | None:
    """Returns what batches have in common that differ in their sizes only; `None` where memory is laid out otherwise.

    Args:
        kind: `train`, `test` or `predict`.
        key: The batch's signature.
        leaves: The tensors of a batch.
    """
    if not all(leaf.is_contiguous() and leaf.ndim for leaf in leaves):
        return None
    structure, _, *others = key
    return kind, structure, tuple([(leaf.ndim, leaf.dtype, leaf.device) for leaf in leaves]), *others


def sharing(leaves: list[torch.Tensor]) -> tuple[int, ...]:
    """Returns, for each tensor, the number of the first one that is the same or shares its memory."""
    places = [leaf.untyped_storage().data_ptr() if leaf.layout == torch.strided else id(leaf) for leaf in leaves]
    first: dict[int, int] = {}
    return tuple([first.setdefault(place, number) for number, place in enumerate(places)])


def require_plain(leaves: list[torch.Tensor]) -> None:
    """Makes sure that nothing rides on the tensors of a batch, or on PyTorch, that a trace would not see."""
    for leaf in leaves:
        if leaf.requires_grad:
            raise NotTraceableError("a tensor of the batch requires a gradient")
        if leaf.layout != torch.strided:
            raise NotTraceableError(f"a tensor of the batch has the layout {leaf.layout}")
        if get_keras_mask(leaf) is not None:
            raise NotTraceableError("a tensor of the batch carries a Keras mask")


def mode_that_is_on(kind: str) -> str | None:
    """Returns in words which mode of PyTorch is on that a replay would not see; `None` where none is.

    Args:
        kind: `train`, `test` or `predict`.
    """
    if torch.is_anomaly_enabled():
        return "PyTorch's anomaly mode is on"
    if kind == "train" and not torch.is_grad_enabled():
        return "`torch.no_grad` is on, so there are no gradients to train with"
    if torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"):
        return "`torch.autocast` is on, which Keras' own dtype policies stand for"
    if torch._C._len_torch_function_stack() or torch._C._len_torch_dispatch_stack():
        return "a mode that sees PyTorch's calls is on, such as a default device, a profiler of operations or a tracer"
    return None


def describe(leaves: list[torch.Tensor]) -> str:
    """Returns the shapes and types of a batch in words."""
    return ", ".join(f"{tuple(leaf.shape)} {str(leaf.dtype).removeprefix('torch.')}" for leaf in leaves)

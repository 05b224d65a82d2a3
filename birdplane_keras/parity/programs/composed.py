"""Fused operations as PyTorch itself composes them: what one side makes in one call, and the other in several."""

import contextlib
from collections.abc import Collection, Iterator
from typing import Any

import torch

from birdplane_keras.parity.private_torch import decomposition_table
from birdplane_keras.parity.programs.dispatched import tensors_in

_LIBRARYS_OWN = "aten::mkldnn_"  # recurrent layers, that are operations of a library where it is switched on


def is_fused(function: Any) -> bool:
    """Tells whether an operation of ATen can be made in several others: one that writes nothing."""
    schema = function._schema
    writes = schema.is_mutable or any(argument.name == "running_mean" for argument in schema.arguments)
    return not writes and (function in decomposition_table or schema.name.startswith(_LIBRARYS_OWN))


def is_composite(function: Any) -> bool:
    """Tells whether an operation is nothing but a name for several others."""
    return function.has_kernel_for_dispatch_key(torch._C.DispatchKey.CompositeImplicitAutograd)


def compose(function: Any, args: Any, kwargs: Any) -> Any:
    """Returns what an operation makes, made in several others; `NotImplemented` where there are none for it."""
    composition = decomposition_table.get(function, function.decompose)
    devices = {tensor.device for tensor in tensors_in((args, kwargs)) if tensor.is_cuda}
    with torch.random.fork_rng(devices):  # what it draws, it draws in the operation's place
        return composition(*args, **kwargs)


@contextlib.contextmanager
def composing(functions: Collection[Any]) -> Iterator[None]:
    """Within it, a library that makes one of some operations by itself is off."""
    if not any(function._schema.name.startswith(_LIBRARYS_OWN) for function in functions):
        yield
        return
    library: Any = torch.backends.mkldnn
    enabled, library.enabled = library.enabled, False
    try:
        yield
    finally:
        library.enabled = enabled

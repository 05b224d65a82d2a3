"""Sees the numbers that leave the tensors for Python or NumPy while a step is tried.

What follows may depend on it, and a replay would not know. The one exception is a seed that only seeds a draw: Keras
makes a new `torch.Generator` of it at every step, and the draw becomes an operation that takes the seed as a tensor.
"""

from typing import Any

import numpy as np
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes

from birdplane_keras.torch_plugin.errors import NotTraceableError
from birdplane_keras.torch_plugin.journal import leaves_of, tensors_in
from birdplane_keras.torch_plugin.randomness import IN_GRAPH

_tensor = torch._C.TensorBase
STAND_IN = 1 << 20  # seeds that stand for those of tensors without numbers are larger
_DATA = vars(_tensor)["data"].__get__  # reading `tensor.data`
# What tells of a tensor without telling its numbers.
_OF_TENSORS = (
    "dim", "size", "stride", "numel", "nelement", "element_size", "is_contiguous", "is_floating_point", "is_complex",
    "is_signed", "is_conj", "is_neg", "is_inference", "get_device", "storage_offset", "__len__", "__hash__",
    "ndimension", "has_names", "is_shared", "is_pinned", "is_same_size", "is_coalesced", "type", "dim_order",
    "__dlpack_device__",
)  # fmt: skip
_OF_TORCH = (
    "is_floating_point", "is_complex", "is_conj", "is_neg", "is_inference", "is_signed", "numel", "result_type",
    "is_same_size", "is_storage", "get_device",
)  # fmt: skip
TELLS_NO_NUMBERS = {getattr(torch.Tensor, name) for name in _OF_TENSORS if hasattr(torch.Tensor, name)} | {
    getattr(torch, name) for name in _OF_TORCH if hasattr(torch, name)
}
# Single numbers go through an operation that a graph sees, and refuses unless they are constants.
_NUMBERS = (str, bytes, np.ndarray, np.generic, torch.UntypedStorage, torch.TypedStorage)


class Departures(TorchFunctionMode):
    """Under `with`, stops or notes what takes numbers out of tensors.

    Args:
        traced: Whether a graph is being made: then draws from a seed become its operations.
    """

    def __init__(self, traced: bool = False) -> None:
        super().__init__()
        self._traced = traced
        self._seeds: dict[int, torch.Tensor] = {}  # a generator's seed -> the tensor it was made of
        self._waiting: set[int] = set()  # ids of tensors whose integer was not seen to seed a draw yet
        self.refusal = ""

    def check(self) -> None:
        """Raises where a number has left, also if the code around it caught it then."""
        if self._waiting and not self.refusal:
            self.refusal = departed("__int__")
        if self.refusal:
            raise NotTraceableError(self.refusal)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        generator = kwargs.get("generator")
        if generator is not None and (seed := self._seeds.get(generator.initial_seed())) is not None:
            self._waiting.discard(id(seed))
            if self._traced:
                if func not in IN_GRAPH:
                    raise NotTraceableError(f"it draws with `{func.__name__}` from a seed")
                kwargs.pop("generator")
                return IN_GRAPH[func](seed, *args, **kwargs)
        if self._traced and func is torch.nn.functional.one_hot:
            return one_hot(*args, **kwargs)
        if func is torch.Tensor.__int__ and not args[0].is_floating_point() and args[0].numel() == 1:
            return self._taken_out(args[0])
        if func == _DATA:  # an alias that no graph sees; `detach` is the same alias, seen
            return args[0].detach()
        if func in _LEAVES:
            self._refuse(func)
        result = func(*args, **kwargs)
        if type(result) is not torch.Tensor and result is not None and self._tells(func, args, kwargs, result):
            self._refuse(func)
        return result

    def _tells(self, func: Any, args: tuple, kwargs: dict, result: Any) -> bool:
        """Tells whether a result is numbers rather than tensors, and not only about shapes and types."""
        if func in TELLS_NO_NUMBERS or getattr(func, "__name__", "") == "__get__":  # an attribute tells of the tensor
            return False
        leaves = leaves_of(result)
        has_numbers = [leaf for leaf in leaves if isinstance(leaf, _NUMBERS)]
        return bool(has_numbers) and not tensors_in(leaves) and bool(tensors_in((args, kwargs)))

    def _taken_out(self, tensor: torch.Tensor) -> int:
        """Returns the integer in a tensor; where a graph is made, one that depends on its inputs must seed a draw."""
        try:
            number = torch.Tensor.__int__(tensor)
        except (RuntimeError, DataDependentOutputException):  # the graph refuses
            number = self._number_in(tensor)
            self._waiting.add(id(tensor))
        for seed in {number & 0xFFFFFFFF, number & 0xFFFFFFFFFFFFFFFF}:
            self._seeds[seed] = tensor
        return number

    def _number_in(self, tensor: torch.Tensor) -> int:
        """Returns the integer in a tensor that a graph is made of; one that stands for it where there is none."""
        if isinstance(tensor, FakeTensor):
            return STAND_IN + len(self._seeds)
        with _disable_current_modes(), torch._C.DisableTorchFunction():
            return int(tensor.detach())

    def _refuse(self, func: Any) -> None:
        self.refusal = self.refusal or departed(getattr(func, "__name__", str(func)))
        raise NotTraceableError(self.refusal)


def one_hot(tensor: torch.Tensor, num_classes: int = -1) -> torch.Tensor:
    """`torch.nn.functional.one_hot` without its look at the numbers; an index out of range is an error, too.

    Args:
        tensor: (...) int64.
        num_classes: How many; -1 asks for the largest number, which is the look that is meant.
    """
    if num_classes < 0:
        return torch.nn.functional.one_hot(tensor, num_classes)
    zeros = torch.zeros((*tensor.shape, num_classes), dtype=tensor.dtype, device=tensor.device)
    return zeros.scatter_(-1, tensor.unsqueeze(-1), 1)


def departed(name: str) -> str:
    """Returns the reason in words for a number that left through a method."""
    return f"it takes numbers out of a tensor (`{name}`), and what follows may depend on them"


_LEAVES = {
    getattr(torch.Tensor, name)
    for name in ("numpy", "tolist", "data_ptr", "__dlpack__", "__array__", "untyped_storage", "storage", "__repr__")
    if hasattr(torch.Tensor, name)
}

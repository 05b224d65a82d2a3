"""Tensors that are kept for later: on the CPU, large ones lie in a file."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch

from birdplane_keras.parity.core.shelf import LARGE, Kept
from birdplane_keras.parity.private_torch import has_aliases


class KeptTensor:
    """A tensor's value as it was when this was made."""

    def __init__(self, tensor: torch.Tensor) -> None:
        tensor = tensor.detach()
        self._type, self._shape = tensor.dtype, tensor.shape
        self._kept = Kept(bytes_of(tensor).numpy()) if goes_into_file(tensor) else None
        self._tensor = tensor.clone() if self._kept is None else None

    def read(self) -> torch.Tensor:
        """Returns the value; what is changed of it may change what is kept."""
        if self._kept is None:
            return self._tensor if self._tensor is not None else torch.empty(0)
        return torch.from_numpy(self._kept.read()).view(self._type).reshape(self._shape)

    def is_value_of(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor has the same bits."""
        same = tensor.dtype == self._type and tensor.shape == self._shape and goes_into_file(tensor)
        return same and self._kept is not None and torch.equal(bytes_of(tensor), bytes_of(self.read()))


class Asleep:
    """Large tensors whose numbers lie in a file until they are woken.

    Those on another device stay as they are, and so does memory that others see, too: they would see the old memory.
    """

    def __init__(self) -> None:
        self._kept: dict[int, tuple[torch.Tensor, Kept, tuple[Any, ...]]] = {}

    def put(self, tensors: Iterable[torch.Tensor]) -> None:
        """Puts tensors to sleep: until they are woken, they have no numbers."""
        for tensor in tensors:
            if tensor.device.type != "cpu" or tensor.layout != torch.strided or id(tensor) in self._kept:
                continue
            storage = tensor.untyped_storage()
            if storage.nbytes() >= LARGE and not has_aliases(tensor):
                layout = tensor.shape, tensor.stride(), tensor.storage_offset()
                everything = torch.empty(0, dtype=torch.uint8).set_(storage)
                self._kept[id(tensor)] = tensor, Kept(everything.numpy()), layout
                tensor.data = tensor.data.new_empty(0)

    def wake(self) -> None:
        """Gives all tensors their numbers back."""
        for tensor, kept, layout in self._kept.values():
            self._fill(tensor, kept, layout)
        self._kept = {}

    @contextlib.contextmanager
    def awake(self, tensors: Iterable[torch.Tensor]) -> Iterator[None]:
        """Within it, some tensors have their numbers; what is changed of them is lost."""
        woken = [self._kept[id(tensor)] for tensor in tensors if id(tensor) in self._kept]
        for each in woken:
            self._fill(*each)
        try:
            yield
        finally:
            for tensor, _, _ in woken:
                tensor.data = tensor.data.new_empty(0)

    @staticmethod
    def _fill(tensor: torch.Tensor, kept: Kept, layout: tuple[Any, ...]) -> None:
        shape, stride, offset = layout
        everything = torch.from_numpy(kept.read())
        tensor.data = everything.view(tensor.dtype).as_strided(shape, stride, offset)


def keep(tensors: Iterable[torch.Tensor], before: Sequence[KeptTensor] = ()) -> list[KeptTensor]:
    """Keeps tensors; those that are as they were before share what was kept then."""
    known = dict(enumerate(before))
    return [
        known[place] if place in known and known[place].is_value_of(tensor) else KeptTensor(tensor)
        for place, tensor in enumerate(tensors)
    ]


def goes_into_file(tensor: torch.Tensor) -> bool:
    """Whether a tensor is large, on the CPU, and lies in memory as it counts."""
    size = tensor.numel() * tensor.element_size()
    return size >= LARGE and tensor.device.type == "cpu" and tensor.layout == torch.strided and tensor.is_contiguous()


def bytes_of(tensor: torch.Tensor) -> torch.Tensor:
    """Returns a contiguous tensor's bytes, without a copy: (N,) of uint8."""
    return tensor.detach().reshape(-1).view(torch.uint8)

"""Other ways of making what PyTorch makes, taken only where every bit was seen to be the same.

Whether two ways round alike depends on shapes and strides, on threads, and on the libraries that PyTorch was built
with. So the first time that a layer of some shape is made, both ways make one of that shape with drawn numbers: those
at hand may be zeros, which round alike in any way. What differs in one bit, or lies in memory otherwise, stays with
PyTorch's own way.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from birdplane_keras.torch_plugin.agreement import same_bits

Tensors = Sequence[torch.Tensor]


class Comparisons:
    """Which layers have been made both ways, and whether every bit and every stride agreed."""

    def __init__(self) -> None:
        self._agree: dict[tuple, bool] = {}

    def agree(self, key: tuple, compare: Callable[[], bool]) -> bool:
        """Tells whether both ways agree.

        Args:
            key: What that depends on.
            compare: Makes both; it is called where the key is new.
        """
        found = self._agree.get(key)
        if found is None:
            found = self._agree[key] = compare()
        return found

    def refuse(self, key: tuple) -> None:
        """Notes that PyTorch's own way is to be taken."""
        self._agree[key] = False


def key_of(kind: str, tensors: Tensors) -> tuple:
    """Returns what the bits of a layer depend on besides its numbers.

    Args:
        kind: Of layer.
        tensors: Inputs, states and weights.
    """
    looks = [(each.shape, each.stride(), each.dtype) for each in tensors]
    return kind, torch.get_num_threads(), torch._C._get_mkldnn_enabled(), *looks


def drawn_like(tensors: Sequence[torch.Tensor | None]) -> list[torch.Tensor | None]:
    """Returns tensors of drawn numbers of the same shapes, strides and types; PyTorch's generators draw nothing."""
    random = np.random.default_rng(0)

    def draw(tensor: torch.Tensor) -> torch.Tensor:
        extent = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
        numbers = torch.empty(extent, dtype=tensor.dtype)  # PyTorch's memory: a BLAS may round by where it begins
        numbers.copy_(torch.from_numpy(random.standard_normal(extent)))
        return numbers.as_strided(tensor.shape, tensor.stride())

    return [None if tensor is None else draw(tensor) for tensor in tensors]


def alike(ours: Tensors, theirs: Tensors) -> bool:
    """Tells whether results agree in every bit, and lie in memory alike."""
    pairs = zip(ours, theirs, strict=True)
    return all(same_bits(one, other) and strides_of(one) == strides_of(other) for one, other in pairs)


def strides_of(tensor: torch.Tensor) -> list[int]:
    """Returns the strides of the axes along which there are steps."""
    return [stride for stride, size in zip(tensor.stride(), tensor.shape, strict=True) if size > 1]

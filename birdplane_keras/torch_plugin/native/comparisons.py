"""Other ways of making what PyTorch makes, taken only where every bit was seen to be the same.

Whether two ways round alike depends on shapes and strides, on threads, and on the libraries that PyTorch was built
with. So the first time that a layer of some shape is made, it is made both ways and compared. What differs in one bit,
or lies in memory otherwise, stays with PyTorch's own way.
"""

from collections.abc import Sequence

import torch

from birdplane_keras.torch_plugin.agreement import same_bits

Tensors = Sequence[torch.Tensor]


def key_of(kind: str, tensors: Tensors) -> tuple:
    """Returns what the bits of a layer depend on besides its numbers.

    Args:
        kind: Of layer.
        tensors: Inputs, states and weights.
    """
    looks = [(each.shape, each.stride(), each.dtype) for each in tensors]
    return kind, torch.get_num_threads(), torch._C._get_mkldnn_enabled(), *looks


def strides_of(tensor: torch.Tensor) -> list[int]:
    """Returns the strides of the axes along which there are steps."""
    return [stride for stride, size in zip(tensor.stride(), tensor.shape, strict=True) if size > 1]


class Comparisons:
    """Which layers have been made both ways, and whether every bit and every stride agreed."""

    def __init__(self) -> None:
        self._agree: dict[tuple, bool] = {}

    def of(self, key: tuple) -> bool | None:
        """Returns whether the bits agreed; `None` where they were not compared yet."""
        return self._agree.get(key)

    def compare(self, key: tuple, ours: Tensors, theirs: Tensors) -> bool:
        """Compares results, notes whether they agree and returns it."""
        pairs = zip(ours, theirs, strict=True)
        agree = all(same_bits(one, other) and strides_of(one) == strides_of(other) for one, other in pairs)
        self._agree[key] = agree
        return agree

    def refuse(self, key: tuple) -> None:
        """Notes that the bits do not agree."""
        self._agree[key] = False

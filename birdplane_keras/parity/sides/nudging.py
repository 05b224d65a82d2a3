"""Moves numbers by one unit in the last place: how the noise of a computation is measured."""

from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def nudge_number(value: float, up: bool) -> float:
    """Returns the next float32 above or below a number: Keras keeps settings in float32, PyTorch in float64."""
    return float(np.nextafter(np.float32(value), np.float32(np.inf if up else -np.inf)))


class Nudge:
    """Moves every entry of a tensor by one ULP, away from zero or towards it at random; zero stays zero.

    The directions are drawn once; each use starts somewhere else in them, which costs nothing.

    Args:
        seed: Of the directions.
        size: Entries of the largest tensor.
        device: Of the tensors.
    """

    SHIFTS = 8192

    def __init__(self, seed: int, size: int, device: torch.device | str = "cpu") -> None:
        self.random = torch.Generator().manual_seed(seed)
        drawn = torch.empty(size + self.SHIFTS, dtype=torch.int8).random_(0, 2, generator=self.random)
        self.directions = drawn.mul_(2).sub_(1).to(device)

    def up(self) -> bool:
        """Draws a direction."""
        return bool(torch.randint(2, (), generator=self.random))

    def __call__(self, tensor: torch.Tensor) -> torch.Tensor:
        """Returns the moved copy."""
        start = int(torch.randint(self.SHIFTS, (), generator=self.random))
        count = tensor.numel()
        if count + start > len(self.directions):
            repeats = -(-(count + start) // len(self.directions))
            self.directions = self.directions.repeat(repeats)
        step = self.directions[start : start + count].view(tensor.shape)
        # The next number away from zero has the next bit pattern, whatever the sign.
        bits = tensor.detach().view(BITS[tensor.element_size()]) + step
        return bits.view(tensor.dtype).masked_fill_(tensor == 0, 0)


class RoundOtherwise(TorchDispatchMode):
    """Within it, whatever an operation computes in float32 is moved by one ULP at random (Monte Carlo arithmetic).

    Another order of the same sums rounds as differently as that. What only moves numbers is left alone, and so is what
    writes in place.

    Args:
        nudge: Moves a tensor.
    """

    def __init__(self, nudge: Nudge) -> None:
        super().__init__()
        self.nudge = nudge

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        outputs = func(*args, **(kwargs or {}))
        if func.is_view or func._schema.is_mutable or func.overloadpacket.__name__ in MOVES:
            return outputs
        return tree_map(self._move, outputs)

    def _move(self, output: Any) -> Any:
        rounded = isinstance(output, torch.Tensor) and output.dtype == torch.float32 and output.numel() > 0
        return self.nudge(output) if rounded else output


MOVES = {
    "_to_copy", "cat", "clone", "constant_pad_nd", "copy", "detach", "embedding", "embedding_dense_backward", "empty",
    "empty_like", "flip", "full", "full_like", "gather", "index", "index_select", "lift_fresh",
    "max_pool2d_with_indices", "max_pool3d_with_indices", "new_empty", "new_full", "new_ones", "new_zeros", "ones",
    "ones_like", "relu", "repeat", "roll", "scalar_tensor", "select_backward", "slice_backward", "stack",
    "threshold_backward", "tril", "triu", "where", "zeros", "zeros_like",
}  # fmt: skip


def lay_out_otherwise(tensor: torch.Tensor) -> torch.Tensor:
    """Returns a tensor of the same values whose memory has another order, in which sums are made in another order.

    Of a matrix it is that of its transpose, of more axes that with the channels (axis 1) at the end, as Keras has them.
    """
    if tensor.ndim < 2:
        return tensor
    order = (1, 0) if tensor.ndim == 2 else (0, *range(2, tensor.ndim), 1)
    back = [order.index(axis) for axis in range(tensor.ndim)]
    return tensor.permute(order).contiguous().permute(back)

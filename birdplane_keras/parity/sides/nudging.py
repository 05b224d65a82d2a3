"""Moves numbers by one unit in the last place: how the noise of a computation is measured."""

from typing import Any

import numpy as np
import torch

from birdplane_keras.parity.private_torch import TorchDispatchMode, tree_map


def nudge_number(value: float, up: bool) -> float:
    """Returns the next float32 above or below a number: Keras keeps settings in float32, PyTorch in float64."""
    return float(np.nextafter(np.float32(value), np.float32(np.inf if up else -np.inf)))


class Nudge:
    """Moves every entry of a tensor by one ULP, away from zero or towards it at random; zero stays zero.

    The directions are drawn once, for a block of entries; each use starts somewhere else in them, which costs nothing.

    Args:
        seed: Of the directions.
        size: Entries of the largest tensor.
        device: Of the tensors.
    """

    SHIFTS = 8192
    BLOCK = 1 << 16

    def __init__(self, seed: int, size: int, device: torch.device | str = "cpu") -> None:
        self.random = torch.Generator().manual_seed(seed)
        drawn = torch.empty(min(size, self.BLOCK) + self.SHIFTS).random_(0, 2, generator=self.random)
        self.directions = drawn.mul_(2).sub_(1).to(device)

    def up(self) -> bool:
        """Draws a direction."""
        return bool(torch.randint(2, (), generator=self.random))

    def __call__(self, tensor: torch.Tensor) -> torch.Tensor:
        """Returns the moved copy."""
        moved = tensor.detach().clone()
        self.move(moved)
        return moved

    def move(self, tensor: torch.Tensor) -> None:
        """Moves a tensor in place."""
        entries = in_memory_order(tensor)
        if entries is None:
            tensor.copy_(self(tensor))
            return
        block = len(self.directions) - self.SHIFTS
        starts = torch.randint(self.SHIFTS, (-(-len(entries) // block),), generator=self.random).tolist()
        directions = self.directions.to(entries.dtype)
        # A number times eps is 1 to 2 of its ULPs, so 5/8 of that, added, is rounded to one; below a power of two, too.
        share = 0.625 * torch.finfo(entries.dtype).eps
        for index, start in enumerate(starts):
            part = entries[index * block : (index + 1) * block]
            part.addcmul_(part, directions[start : start + len(part)], value=share)


def in_memory_order(tensor: torch.Tensor) -> torch.Tensor | None:
    """Returns all entries as a vector that shares their memory, in its order; `None` where there are gaps in it."""
    if not tensor.is_contiguous():
        tensor = tensor.permute(sorted(range(tensor.ndim), key=tensor.stride, reverse=True))
    return tensor.view(-1) if tensor.is_contiguous() else None


class RoundOtherwise(TorchDispatchMode):
    """Within it, whatever an operation computes in float32 is moved by one ULP at random (Monte Carlo arithmetic).

    Another order of the same sums rounds as differently as that. What only moves or picks numbers is left alone: the
    gradient of a maximum, say, asks which number it is. So is what writes in place.

    Args:
        nudge: Moves a tensor.
        half: A half type to which every result is then rounded, as where a program computes in that type.
    """

    def __init__(self, nudge: Nudge, half: torch.dtype | None = None) -> None:
        super().__init__()
        self.nudge, self.half = nudge, half

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        outputs = func(*args, **(kwargs or {}))
        if func.is_view or func._schema.is_mutable or func.overloadpacket.__name__ in MOVES:
            return outputs
        return tree_map(self._move, outputs)

    def _move(self, output: Any) -> Any:
        rounded = isinstance(output, torch.Tensor) and output.dtype == torch.float32 and output.numel() > 0
        if not rounded:
            return output
        return self.nudge(output) if self.half is None else through(self.half, self.nudge(output))


def through(half: torch.dtype, tensor: torch.Tensor) -> torch.Tensor:
    """Returns a tensor rounded to a half type, in its own type."""
    return tensor.to(half).to(tensor.dtype)


MOVES = {
    "_to_copy", "abs", "amax", "amin", "aminmax", "cat", "clamp", "clamp_max", "clamp_min", "clone",
    "constant_pad_nd", "copy", "cummax", "cummin", "detach", "embedding", "embedding_dense_backward", "empty",
    "empty_like", "flip", "full", "full_like", "gather", "hardtanh", "index", "index_select", "kthvalue",
    "lift_fresh", "max", "max_pool2d_with_indices", "max_pool3d_with_indices", "maximum", "median", "min", "minimum",
    "mode", "nanmedian", "neg", "new_empty", "new_full", "new_ones", "new_zeros", "ones", "ones_like", "relu",
    "repeat", "roll", "scalar_tensor", "select_backward", "sign", "slice_backward", "sort", "stack",
    "threshold_backward", "topk", "tril", "triu", "where", "zeros", "zeros_like",
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


def move_near(module: torch.nn.Module, seed: int) -> None:
    """Multiplies every weight by a random number within a thousandth of 1: a state near by, with other kinks."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in module.parameters():
            if weight.is_floating_point():
                factors = 1 + 1e-3 * (2 * torch.rand(weight.shape, generator=random) - 1)
                weight.mul_(factors.to(weight))

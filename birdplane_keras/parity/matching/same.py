"""Whether two tensors hold the same numbers, whatever the order of their axes."""

from collections.abc import Iterator

import numpy as np
import torch

from birdplane_keras.parity.programs.dispatched import HALVES
from birdplane_keras.parity.programs.layouts import layouts
from birdplane_keras.parity.programs.program import MASK, Value

NEAR = 2e-3  # of the largest number: what rounding does on the way through a deep network
NEAR_HALVES = 5e-2  # the same in half precision
SORTED = 2**20  # numbers that are put in order to be compared; of more, only two orders are tried


def same_values(one: Value, other: Value) -> bool:
    """Whether two values are the same numbers, by their statistics; one may hold them several times over."""
    small, large = sorted((one.size, other.size))
    if small == 0 or large % small or one.whole != other.whole:
        return False
    sizes = np.array([1, 1, 1, 0, 0])
    ours, theirs = (value.statistics / np.where(sizes, value.size, 1) for value in (one, other))
    largest = max(one.largest, other.largest)
    near = NEAR_HALVES if one.half or other.half else NEAR
    return bool((np.abs(ours - theirs) <= near * np.array([largest, largest, largest**2, largest, largest])).all())


def same_numbers(
    made: torch.Tensor, wanted: torch.Tensor, part: tuple[int, int] = (0, 1), *, half: bool = False
) -> int | None:
    """Returns how a tensor has the numbers of another, or of a part of it; `None` where it has not.

    Args:
        made: What a layer of the port makes.
        wanted: What a part of the reference makes.
        part: Which of how many parts of `wanted`, along any of its axes and in any groups of it.
        half: Whether it was made in a half type, whatever type it has now.

    Returns:
        0 in the same order, 1 with the channels last in place of first, 2 in another order.
    """
    index, parts = part
    if parts > 1:
        found = [same_numbers(made, each, half=half) for each in cut(wanted, index, parts)]
        return min((each for each in found if each is not None), default=None)
    ours, theirs = made.detach().double(), wanted.detach().double()
    if ours.numel() != theirs.numel():
        ours, theirs = (ours, theirs) if ours.numel() > theirs.numel() else (theirs, ours)
        if not theirs.numel() or ours.numel() % theirs.numel():
            return None
        theirs = theirs.reshape(-1).repeat(ours.numel() // theirs.numel())  # the same for every example
    ours, theirs = without_masks(ours), without_masks(theirs)
    if not ours.numel() or ours.isnan().sum() != theirs.isnan().sum():
        return None
    ours, theirs = ours.nan_to_num(), theirs.nan_to_num()
    near = NEAR_HALVES if half or made.dtype in HALVES else NEAR
    allowed = near * max(float(theirs.abs().max()), 1e-30)
    flat = ours.reshape(-1)
    if float((flat - theirs.reshape(-1)).abs().max()) <= allowed:
        return 0
    if theirs.ndim > 2 and float((flat - theirs.movedim(1, -1).reshape(-1)).abs().max()) <= allowed:
        return 1
    if ours.numel() > SORTED or any(abs(a - b) > allowed for a, b in zip(bounds(ours), bounds(theirs), strict=True)):
        return None
    apart = (flat.sort().values - theirs.reshape(-1).sort().values).abs().max()
    return 2 if float(apart) <= allowed else None


def without_masks(tensor: torch.Tensor) -> torch.Tensor:
    """Returns a tensor with NaN in the place of what a mask puts there, which is no measure of the rest."""
    return torch.where(tensor.abs() < MASK, tensor, torch.nan)


def bounds(tensor: torch.Tensor) -> tuple[float, float, float]:
    """Returns the smallest and the largest number, and the mean."""
    low, high = torch.aminmax(tensor)
    return float(low), float(high), float(tensor.mean())


def cut(tensor: torch.Tensor, index: int, parts: int) -> Iterator[torch.Tensor]:
    """Yields one part of several of a tensor along its last axis, or its second, in one group or more."""
    for axis in {tensor.ndim - 1, 1}:
        length = tensor.shape[axis] if 0 <= axis < tensor.ndim else 0
        for groups in (size for size in range(1, length // parts + 1) if length and length % (parts * size) == 0):
            split = (*tensor.shape[:axis], groups, parts, length // (groups * parts), *tensor.shape[axis + 1 :])
            yield tensor.reshape(split).select(axis + 1, index)


def in_layout_of(wanted: torch.Tensor, made: torch.Tensor) -> torch.Tensor:
    """Returns a tensor with its axes in the order in which they are nearest to another's."""
    best, nearest = wanted.reshape(made.shape), float("inf")
    for layout in layouts(tuple(wanted.shape), tuple(made.shape)):
        turned = layout.turn(wanted, made.shape)
        apart = float((turned.double() - made.detach().double()).abs().mean())
        if apart < nearest:
            best, nearest = turned, apart
    return best.to(made)

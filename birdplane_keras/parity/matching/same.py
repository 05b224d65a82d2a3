"""Whether two tensors hold the same numbers, whatever the order of their axes."""

import numpy as np
import torch

from birdplane_keras.parity.programs.dispatched import HALVES
from birdplane_keras.parity.programs.layouts import layouts
from birdplane_keras.parity.programs.program import Value

NEAR = 2e-3  # of the largest number: what rounding does on the way through a deep network
NEAR_HALVES = 5e-2  # the same in half precision
SORTED = 2**20  # numbers that are put in order to be compared; of more, the statistics


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


def same_numbers(made: torch.Tensor, wanted: torch.Tensor, part: tuple[int, int] = (0, 1)) -> bool:
    """Whether a tensor has the numbers of another, or of a part of it, in any order of axes.

    Args:
        made: What a layer of the port makes.
        wanted: What a part of the reference makes.
        part: Which of how many parts of `wanted`, along any of its axes and in any groups of it.
    """
    index, parts = part
    if parts > 1:
        return any(same_numbers(made, each) for each in cut(wanted, index, parts))
    ours, theirs = made.detach().double().reshape(-1), wanted.detach().double().reshape(-1)
    if len(ours) != len(theirs):
        ours, theirs = (ours, theirs) if len(ours) > len(theirs) else (theirs, ours)
        if not len(theirs) or len(ours) % len(theirs):
            return False
        theirs = theirs.repeat(len(ours) // len(theirs))  # the same for every example
    if not len(ours):
        return False
    near = NEAR_HALVES if made.dtype in HALVES else NEAR
    allowed = near * max(float(theirs.abs().max()), 1e-30)
    if len(ours) > SORTED:
        return bool((ours.mean() - theirs.mean()).abs() <= allowed / 10) and bool(
            (ours.square().mean().sqrt() - theirs.square().mean().sqrt()).abs() <= allowed / 10
        )
    return bool((ours.sort().values - theirs.sort().values).abs().max() <= allowed)


def cut(tensor: torch.Tensor, index: int, parts: int):
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

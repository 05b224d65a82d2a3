"""The same numbers in another layout: found by trying what the shapes allow."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import torch

MOST_AXES = 5
SAMPLE = 64  # numbers that are compared first
NEAR = 1e-3  # relative to the largest number: what rounding may do on the way


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a tensor is turned into one of another shape: an exchange of axes.

    Args:
        axes: In the order in which they come to lie.
        of_its_own: Whether these are the axes that it has; else those that are asked for, which it is first seen in.
    """

    axes: tuple[int, ...]
    of_its_own: bool

    def turn(self, tensor: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
        """Returns a tensor in this layout, in the shape that is asked for."""
        if self.of_its_own:
            return tensor.permute(self.axes).reshape(tuple(shape))
        return tensor.reshape(inner(self.axes, shape)).permute(self.axes)


def inner(axes: Sequence[int], shape: Sequence[int]) -> tuple[int, ...]:
    """Returns the shape that comes to be `shape` once its axes are exchanged."""
    return tuple(int(shape[axis]) for axis in np.argsort(axes))


def layouts(have: tuple[int, ...], want: tuple[int, ...]) -> Iterator[Layout]:
    """Yields the ways from one shape to another that exchange axes of either; as it is comes first."""
    if np.prod(have, dtype=np.int64) != np.prod(want, dtype=np.int64):
        return
    seen = set()
    for own in (True, False):
        rank = len(have if own else want)
        for axes in permutations(range(rank)) if rank <= MOST_AXES else [tuple(range(rank))]:
            key = _moves(axes, have if own else inner(axes, want))
            if key not in seen:
                seen.add(key)
                yield Layout(axes=axes, of_its_own=own)


def _moves(axes: Sequence[int], shape: Sequence[int]) -> tuple:
    """What an exchange of axes does, without the axes of one number, which do nothing."""
    long = [axis for axis, size in enumerate(shape) if size > 1]
    merged: list[list[int]] = []
    for axis in (axis for axis in axes if axis in long):  # axes that stay beside each other are one
        if merged and long.index(axis) == long.index(merged[-1][-1]) + 1:
            merged[-1].append(axis)
        else:
            merged.append([axis])
    if len(merged) == 1:
        return ()
    sizes = [int(np.prod([shape[axis] for axis in group])) for group in merged]
    ranks = np.argsort([group[0] for group in merged])
    return (*sizes, *(int(rank) for rank in ranks))


def layout_between(have: torch.Tensor, want: torch.Tensor) -> Layout | None:
    """Returns how a tensor is turned into another that holds the same numbers; `None` where its axes do not allow it.

    Of several, the nearest: the numbers are the same up to rounding only.
    """
    wanted = want.detach().reshape(-1).to(torch.float64)
    allowed = NEAR * max(float(wanted.abs().max()) if wanted.numel() else 0.0, 1e-30)
    best, nearest = None, allowed
    for layout in layouts(tuple(have.shape), tuple(want.shape)):
        turned = layout.turn(have.detach(), want.shape).reshape(-1)
        if (turned[:SAMPLE].to(torch.float64) - wanted[:SAMPLE]).abs().max() > nearest:
            continue
        apart = float((turned.to(torch.float64) - wanted).abs().max())
        if apart < nearest or (best is None and apart <= nearest):
            best, nearest = layout, apart
            if apart == 0.0:
                break
    return best

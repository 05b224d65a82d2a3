"""Is a difference between two forms of a step rounding? How far rounding takes a step from itself is measured.

A network with bends, such as a rectifier's at zero, has numbers that lie within rounding of one. Which side they fall
on changes a gradient by far more than rounding. So the step is made again, in both forms, from weights that are moved
by some units in their last place. What is wrong is wrong there, too; how far the draws are apart is what rounding does.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

MOST_DRAWS = 6
MOVED_BY = 16  # units in the last place; some operations round by as much
TIMES = 4  # a difference may be as many times as large as the largest of the draws


@contextmanager
def nudged(tensors: Sequence[torch.Tensor], draw: int) -> Iterator[None]:
    """Within it, each number with a point in some tensors is moved by 16 units in its last place, up or down."""
    generator = torch.Generator().manual_seed(draw)
    moved = [each for each in tensors if each.is_floating_point() and each.numel() > 1]
    before = [each.detach().clone() for each in moved]
    try:
        with torch.no_grad():
            for each in moved:
                signs = torch.randint(0, 2, each.shape, generator=generator).to(each) * 2 - 1
                each.mul_(1 + signs * (MOVED_BY * torch.finfo(each.dtype).eps))
        yield
    finally:
        with torch.no_grad():
            for each, value in zip(moved, before, strict=True):
                each.copy_(value)


def rounding_explains(
    moved: Callable[[int], tuple[Any, Any]], agree: Callable[[Any, Any], bool], spans: Callable[[list], bool]
) -> bool:
    """Tells whether a difference between two forms of a step is one that rounding makes.

    Args:
        moved: From the number of a draw to what the two forms leave there: the one that is right, and the other.
        agree: Tells whether these two are as near to each other as forms are that differ by rounding alone.
        spans: Tells whether draws of the right form are as far apart as the difference at hand.

    Returns:
        Whether the forms agree at a draw, where nothing lies at a bend, or the draws are as far apart as they are.
    """
    draws = []
    for draw in range(MOST_DRAWS):
        right, other = moved(draw)
        draws.append(right)
        if agree(right, other) or spans(draws):
            return True
    return False


class Spread:
    """How far draws are from one run, tensor by tensor.

    Args:
        run: What the run returned.
        draws: What the others returned.
    """

    def __init__(self, run: Sequence, draws: Sequence[Sequence]) -> None:
        self._run = run
        found = [[away(one, draw[number]) for draw in draws] for number, one in enumerate(run)]
        # Rounding makes no number of what is none.
        self._largest = [max((each for each in of_one if math.isfinite(each)), default=0.0) for of_one in found]

    def of(self, number: int) -> float:
        """Returns what a tensor may be away."""
        return TIMES * self._largest[number]

    def holds(self, number: int, tensor: torch.Tensor | None) -> bool:
        """Tells whether a tensor is no further from the run than that."""
        return away(self._run[number], tensor) <= self.of(number)


def away(one: object, other: object) -> float:
    """Returns the largest difference between two tensors; infinite where they cannot be compared."""
    if not isinstance(one, torch.Tensor) or not isinstance(other, torch.Tensor):
        return 0.0 if one is other else float("inf")
    if one.shape != other.shape or not one.is_floating_point():
        return 0.0 if one.shape == other.shape and torch.equal(one, other) else float("inf")
    if not torch.equal(one.isfinite(), other.isfinite()):
        return float("inf")
    if not one.numel():
        return 0.0
    return float((one.double().nan_to_num() - other.double().nan_to_num()).abs().max())

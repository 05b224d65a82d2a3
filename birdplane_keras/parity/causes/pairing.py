"""Which value of the port may stand for which result of the reference, and how it may be laid out."""

from collections.abc import Sequence

import numpy as np

from birdplane_keras.parity.programs.layouts import Layout, layouts
from birdplane_keras.parity.programs.numbered import At, Seen
from birdplane_keras.parity.programs.program import Value

MOST_LAYOUTS = 4  # ways to lay a value of the port as the reference has it


def weights_after(seen: Sequence[Seen], some: Sequence[Seen]) -> dict[At, set[str]]:
    """Returns for some results, of all that were seen, the weights that the calls which take them take, too."""
    after: dict[At, set[str]] = {each.at: set() for each in some}
    for each in reversed(seen):
        for source in each.sources:
            if source in after:
                after[source] |= after.get(each.at, set()) if each.shows else each.weights
    return after


def likely_layouts(have: tuple[int, ...], want: tuple[int, ...]) -> list[Layout]:
    """Returns how numbers of one shape may be laid out in another, likeliest first."""
    found = [each for each in layouts(have, want) if is_exchange(each, have, want)]
    return sorted(found, key=unlikely)[:MOST_LAYOUTS]


def is_exchange(layout: Layout, have: Sequence[int], want: Sequence[int]) -> bool:
    """Whether a layout keeps the numbers in order, exchanges whole axes, or splits or joins some on the way."""
    if layout.axes == tuple(range(len(layout.axes))) or len(have) != len(want):
        return True
    return layout.of_its_own and tuple(have[axis] for axis in layout.axes) == tuple(want)


def alike(function: str, operation: str) -> bool:
    """Whether a function of PyTorch and an operation of ATen have one name."""
    names = [name.strip("_").removeprefix("native_").removeprefix("r") for name in (function, operation)]
    return names[0] == names[1]


def before(one: At, other: At) -> bool:
    """Whether a tensor is met before another stands for what its call returns: that itself is."""
    return one.call < other.call or one == other or (one.call == other.call and one.taken)


def same(one: Value, other: Value) -> bool:
    """Whether two values hold the same numbers."""
    return one.size == other.size and np.array_equal(one.statistics, other.statistics)


def unlikely(layout: Layout) -> int:
    """As channels move from one end to the other is likelier than any other exchange of axes."""
    rank = len(layout.axes)
    if rank > 2 and layout.axes == (0, rank - 1, *range(1, rank - 1)):
        return 0
    return 1 if layout.axes == tuple(range(rank)) else 2

"""Calls of a step in which whatever depends on the number of examples says so."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from birdplane_keras.parity.private_torch import tree_leaves, tree_map
from birdplane_keras.parity.programs.program import Source
from birdplane_keras.parity.programs.recording import Made


@dataclass(frozen=True, kw_only=True)
class Growing:
    """A whole number that depends on the number of examples: `fixed + each * examples`."""

    fixed: int
    each: int

    def of(self, rows: int) -> int:
        """Returns it for so many examples."""
        return self.fixed + self.each * rows


@dataclass(frozen=True, kw_only=True)
class Shrinking:
    """A number that is divided by the number of examples."""

    whole: float

    def of(self, rows: int) -> float:
        """Returns it for so many examples."""
        return self.whole / rows


Shape = tuple["int | Growing", ...]


@dataclass(frozen=True, kw_only=True)
class Again:
    """How an operation is called again, for any number of examples.

    Args:
        made: How it was called.
        args: With `Growing` and `Shrinking` numbers.
        kwargs: Likewise.
        shapes: Of what it takes, slot by slot.
        numbers: What stands in a slot, where that is one number from outside.
    """

    made: Made
    args: tuple
    kwargs: Mapping[str, Any]
    shapes: Sequence[Shape]
    numbers: Sequence["float | int | Growing | Shrinking | None"]


def with_rows(made: Sequence[Made], fewer: Sequence[Made] | None, rows: int, other: int) -> list[Again]:
    """Returns calls in which whatever depends on the number of examples says so.

    Args:
        made: The calls of a step on `rows` examples.
        fewer: Those of the same step on `other` examples; `None` where nobody knows.
        rows: Examples.
        other: Examples.
    """
    if fewer is None or len(fewer) != len(made):
        fewer = made

    def between(one: Any, two: Any) -> Any:
        if type(one) is not type(two) or one == two:
            return one
        if type(one) is int and (one - two) % (rows - other) == 0:
            each = (one - two) // (rows - other)
            return Growing(fixed=one - each * rows, each=each)
        if type(one) is float and abs(one * rows - two * other) <= 1e-6 * abs(one * rows):
            return Shrinking(whole=one * rows)
        return one

    def again(ours: Made, theirs: Made) -> Again:
        args, kwargs = ours.args, ours.kwargs
        leaves, others = tree_leaves((args, kwargs)), tree_leaves((theirs.args, theirs.kwargs))
        if len(leaves) == len(others):
            left = iter(others)
            args, kwargs = tree_map(lambda leaf: between(leaf, next(left)), (args, kwargs))
        shapes, numbers = [], []
        for one, two in zip(ours.sources, theirs.sources, strict=False):
            single = one.made is None and one.value.size == two.value.size == 1
            numbers.append(between(number_in(one), number_in(two)) if single else None)
            alike = len(one.value.shape) == len(two.value.shape)
            both = zip(one.value.shape, two.value.shape, strict=True) if alike else ()
            shapes.append(tuple(between(a, b) for a, b in both) if alike else one.value.shape)
        return Again(made=ours, args=args, kwargs=kwargs, shapes=shapes, numbers=numbers)

    return [again(ours, theirs) for ours, theirs in zip(made, fewer, strict=True)]


def number_in(source: Source) -> float | int:
    """Returns the one number that a source holds."""
    number = float(source.value.statistics[0])
    return int(number) if number.is_integer() else number


def of_rows(leaf: Any, rows: int) -> Any:
    """Returns a number for so many examples."""
    return leaf.of(rows) if isinstance(leaf, Growing | Shrinking) else leaf

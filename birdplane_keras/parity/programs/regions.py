"""Which operations of the port would have to be made in the reference, and in the place of which call's result."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from birdplane_keras.parity.programs.program import FORWARD, Program

LARGEST = 2000  # operations


@dataclass(frozen=True, kw_only=True)
class Region:
    """Operations of a program that make one value of values that are at hand elsewhere.

    Args:
        end: The number of the operation that makes it.
        operations: All of them, in order.
        inputs: Operation and slot -> the source there, of everything that they take from without.
    """

    end: int
    operations: Sequence[int]
    inputs: Collection[tuple[int, int]]


def region_to(
    program: Program, slots: Sequence[Sequence], end: int, at_hand: Callable[[object], bool]
) -> Region | None:
    """Returns the operations that make a value of values at hand; `None` where they are too many.

    Args:
        program: The port's.
        slots: The sources of each operation, slot by slot.
        end: The operation that makes the value.
        at_hand: Whether the reference has what a source holds. What was cut off from the gradients is not looked for
            there: the cut belongs to the region.
    """
    needed, waiting, inputs = set(), [end], set()
    while waiting:
        number = waiting.pop()
        if number in needed:
            continue
        needed.add(number)
        if len(needed) > LARGEST:
            return None
        for slot, source in enumerate(slots[number]):
            if source.made is None:
                inputs.add((number, slot))
            elif source.weight or not at_hand(source) or is_cut(program, source.made):
                waiting.append(source.made)
            else:
                inputs.add((number, slot))
    return Region(end=end, operations=sorted(needed), inputs=inputs)


def is_cut(program: Program, number: int | None) -> bool:
    """Tells whether a value was shown and cut off on its way from the operation that computed it."""
    while number is not None and program[number].reshapes and program[number].sources:
        if program[number].cuts:
            return True
        number = program[number].sources[0].made
    return False


def consumers(program: Program) -> Mapping[int, Sequence[int]]:
    """Returns operation -> the operations that take its value, through those that only show it."""
    found: dict[int, list[int]] = {}
    for operation in program:
        if operation.phase != FORWARD or operation.reshapes or operation.views:
            continue
        for source in operation.sources:
            made = source.made
            while made is not None:
                found.setdefault(made, []).append(operation.number)
                if not ((program[made].reshapes or program[made].views) and program[made].sources):
                    break
                made = program[made].sources[0].made
    return found


def made_of(number: int, users: Mapping[int, Sequence[int]]) -> set[int]:
    """Returns the operations that are made of the value of one, by what `consumers` returns."""
    made: set[int] = set()
    waiting = [number]
    while waiting:
        new = set(users.get(waiting.pop(), ())) - made
        made |= new
        waiting += new
    return made


def weights_behind(program: Program, number: int, users: Mapping[int, Sequence[int]]) -> set[str]:
    """Returns the weights that the next operations take beside a value, those that only show it left out."""
    return {source.weight for user in users.get(number, ()) for source in _all_sources(program, user) if source.weight}


def weights_before(program: Program, operations: Collection[int]) -> set[str]:
    """Returns the weights that some operations take, and the last that have any on the ways to the others."""
    waiting, seen, found = list(operations), set(operations), set()
    while waiting:
        sources = program[waiting.pop()].sources
        own = {source.weight for source in sources if source.weight}
        found |= own
        new = set() if own else {source.made for source in sources if source.made is not None} - seen
        seen |= new
        waiting += new
    return found


def _all_sources(program: Program, number: int) -> Iterator:
    for source in program[number].sources:
        made = source.made
        while made is not None and program[made].reshapes and program[made].sources:
            source = program[made].sources[0]
            made = source.made
        yield source

"""Which values two programs share, and where they part: NumPy on what was recorded."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from birdplane_keras.parity.core.tolerances import ROUNDING
from birdplane_keras.parity.programs.program import BACKWARD, FORWARD, Operation, Program, Value

FLOOR = 1e-6  # relative to the largest number; sums of float32 are no nearer, whatever the copies show
MOST_AXES = 6  # of a shape
MOST = 1e-3  # relative to the largest number: what rounds further tells no two values apart


@dataclass(frozen=True, kw_only=True)
class Parting:
    """Where two programs part: operations whose inputs both have and whose results only one has.

    Args:
        port: Those of the port, in its order.
        reference: Those of the reference.
    """

    port: Sequence[Operation]
    reference: Sequence[Operation]


class Known:
    """The values of a program, asked whether they hold a value up to rounding, in whatever order its numbers are.

    Args:
        program: Whose values they are.
        noise: For each operation, how far its statistics moved in copies that round otherwise: (operations, 5); none
            where nothing was measured.
    """

    def __init__(self, program: Program, noise: np.ndarray) -> None:
        self._hold(program.values(), noise, 1.0)
        for number, operation in enumerate(program):
            self._backward[number] = operation.phase == BACKWARD

    @classmethod
    def of(cls, values: Sequence[Value], factor: float = 1.0) -> "Known":
        """Returns what asks some values alone; `factor` times as far apart as usual they still count as the same."""
        known = cls.__new__(cls)
        known._hold(values, np.zeros((0, 5)), factor)
        return known

    def _hold(self, values: Sequence[Value], noise: np.ndarray, factor: float) -> None:
        self._backward = np.zeros(len(values), bool)
        moved = np.zeros((len(values), 5))
        moved[: len(noise)] = noise
        self._by_size: dict[int, list[int]] = {}
        for index, value in enumerate(values):
            self._by_size.setdefault(value.size, []).append(index)
        self._statistics = np.array([value.statistics for value in values]).reshape(-1, 5)
        usual = np.array([allowed(value) for value in values]).reshape(-1, 5)
        moved = np.minimum(moved, usual * (MOST / FLOOR))  # memory that nobody has written moves by anything
        self._allowed = factor * usual + ROUNDING.factor * moved

    def holds(self, value: Value, moved: np.ndarray | float = 0.0, *, forward: bool = False) -> bool:
        """Tells whether one of the values is this one, whose own statistics were seen to move so far.

        With `forward`, one of the forward pass: a derivative may be what the other side computes on its way.
        """
        return len(self.where(value, moved, forward=forward)) > 0

    def where(self, value: Value, moved: np.ndarray | float = 0.0, *, forward: bool = False) -> np.ndarray:
        """Returns the places of the values that `holds` takes for this one, in order."""
        near = np.array(self._by_size.get(value.size, ()), np.int64)
        if forward:
            near = near[~self._backward[near]]
        with np.errstate(invalid="ignore"):
            apart = np.abs(self._statistics[near] - value.statistics)
        return near[(apart <= self._allowed[near] + ROUNDING.factor * moved).all(axis=1)]


def allowed(value: Value) -> np.ndarray:
    """Returns by how much the statistics of a value may move, (5,), where nothing was measured."""
    size, largest = value.size, max(value.largest, 1e-30)
    return FLOOR * np.array([size * largest, size * largest, size * largest**2, largest, largest])


def measure(program: Program, copies: Iterable[Program]) -> np.ndarray:
    """Returns how far the statistics of each operation moved in copies that round otherwise, (operations, 5).

    A copy that made other operations says nothing of them.
    """
    furthest = np.zeros((len(program), 5))
    names = [operation.name for operation in program]
    for copy in copies:
        if [operation.name for operation in copy] == names:
            pairs = zip(program, copy, strict=True)
            moved = [np.abs(one.value.statistics - other.value.statistics) for one, other in pairs]
            furthest = np.fmax(furthest, np.array(moved).reshape(-1, 5))
    return furthest


def part(
    port: Program,
    reference: Program,
    noise: np.ndarray,
    ends: tuple[Sequence[Value], Sequence[Value]],
    apart: tuple[Collection[int], Collection[int]] = ((), ()),
    settled: Collection[str] = (),
) -> Parting | None:
    """Returns where two programs part on the way to what differs; `None` where nothing is seen.

    Args:
        port: The port's program.
        reference: The reference's.
        noise: As `measure` returns it, of the reference.
        ends: The values that differ, as each side computed them.
        apart: Operations of each side that make the same numbers in another order.
        settled: Phases in which the sides were seen to agree, whatever each of them makes on its way.
    """
    unmeasured = np.zeros((len(port), 5))
    ours, _ = foreign_behind(port, Known(reference, noise), unmeasured, ends[0], apart[0], settled)
    theirs, _ = foreign_behind(reference, Known(port, unmeasured), noise, ends[1], apart[1], settled)
    ours, theirs = without_masks(ours, theirs)
    return Parting(port=ours, reference=theirs) if ours or theirs else None


def without_masks(ours: list[Operation], theirs: list[Operation]) -> tuple[list[Operation], list[Operation]]:
    """Returns the first operations without truth values and whole numbers, where either side has others.

    A mask is put together in many ways, and acts on the numbers that are reported, if it differs.
    """
    numbers = [[each for each in side if not each.value.whole] for side in (ours, theirs)]
    return (numbers[0], numbers[1]) if all(numbers) else (ours, theirs)


def foreign_behind(
    program: Program,
    other: Known,
    noise: np.ndarray,
    ends: Sequence[Value],
    apart: Collection[int] = (),
    settled: Collection[str] = (),
) -> tuple[list[Operation], list[int]]:
    """Returns the first operations behind some ends whose results the other program lacks, and all from there on.

    Args:
        program: One side's.
        other: The values of the other side.
        noise: How far the statistics of its operations moved, as `Known` takes it.
        ends: The values that differ; one that the program does not hold leads nowhere.
        apart: Operations that the other side does not make, although it has their numbers, in another order.
        settled: Phases in which the sides were seen to agree.

    Returns:
        the first, and the numbers of all up to the ends. The ends are among these in any case: the other side may have
        made them on its way to something else.
    """
    foreign: dict[int, bool] = {}

    def is_foreign(number: int) -> bool:
        if number not in foreign:
            value, ahead = program[number].value, program[number].phase == FORWARD
            if program[number].phase in settled:
                foreign[number] = False
                return False
            foreign[number] = number in apart or (
                value.size > 0 and not other.holds(value, noise[number], forward=ahead)
            )
        return foreign[number]

    starts = starts_of(program, ends)
    waiting = [number for number in starts if is_foreign(number)]
    seen: set[int] = set()
    first = []
    while waiting:
        number = waiting.pop()
        if number in seen:
            continue
        seen.add(number)
        behind = [source.made for source in program[number].sources if source.made is not None]
        before = [made for made in behind if is_foreign(made) and not is_helper(program, made)]
        before = [made for made in before if not is_given(program, made)]
        waiting += before
        if not before:
            first.append(number)
    return [program[number] for number in sorted(first)], sorted({*seen, *starts})


def starts_of(program: Program, ends: Sequence[Value], begin: int = 0) -> list[int]:
    """Returns the operations, from one on, that were the first to make some values: others copy them, for metrics."""
    found = []
    for end in ends:
        equal = [
            operation.number
            for operation in program.operations[begin:]
            if operation.value.size == end.size
            and np.allclose(operation.value.statistics, end.statistics, rtol=0, atol=allowed(end), equal_nan=True)
        ]
        found += equal[:1]
    return found


def is_given(program: Program, number: int) -> bool:
    """Tells whether an operation only shows or copies what came from outside, as a batch does."""
    made: int | None = number
    while made is not None and program[made].reshapes:
        made = program[made].sources[0].made
    return made is None


def is_helper(program: Program, number: int) -> bool:
    """Tells whether an operation makes a number, or equal ones, of nothing but numbers in the code."""
    waiting, seen = [number], set()
    while waiting:
        operation = program[waiting.pop()]
        seen.add(operation.number)
        if any(source.made is None and not is_number(source.value) for source in operation.sources):
            return False
        waiting += [s.made for s in operation.sources if s.made is not None and s.made not in seen]
    return True


def is_number(value: Value) -> bool:
    """Tells whether a value from outside is a number, or a shape: a few whole numbers."""
    return value.size == 1 or (value.whole and value.size <= MOST_AXES)

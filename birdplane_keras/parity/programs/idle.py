"""Where the way from a weight to the loss ends in a program, though it goes on in another."""

from collections.abc import Collection, Iterator, Mapping, Sequence

from birdplane_keras.parity.programs.alignment import Known, Parting
from birdplane_keras.parity.programs.program import BACKWARD, FORWARD, Operation, Program
from birdplane_keras.parity.programs.regions import consumers, made_of

Users = Mapping[int, Sequence[int]]


def idle(
    port: Program, users: Users, reference: Program, weights: Collection[str], theirs: Collection[str]
) -> Parting | None:
    """Returns the port's operations after which nothing is made of some weights, and what the reference makes there.

    Args:
        port: The port's program.
        users: As `consumers` returns them, of the port.
        reference: The reference's program.
        weights: Names of the port's weights that no gradient reaches.
        theirs: Names of the same weights in the reference.

    Returns:
        both; where the port does not take the weights at all, what of the reference does; `None` where none does.
    """
    ends, going = [], set()
    for operation, taken in reached(port, users, weights):
        if taken:
            going.add(results_of(operation))
        elif not operation.reshapes:
            ends.append(operation)
    last = [each for each in sorted(ends, key=lambda each: each.number) if results_of(each) not in going]
    first = list(takers(reference, theirs))
    others = consumers(reference)
    behind = set().union(*(made_of(number, others) for number in first))
    known = Known.of([operation.value for operation in last])
    goes_on = [
        reference[number]
        for number in sorted(behind)
        if any(known.holds(source.value) for source in reference[number].sources)
    ]
    told = goes_on if last else [reference[number] for number in first if not reference[number].reshapes]
    return Parting(port=last, reference=told) if last or told else None


def reached(program: Program, users: Users, weights: Collection[str]) -> Iterator[tuple[Operation, list[int]]]:
    """Yields what is made of some weights on a way that gradients go, and which operations take that."""
    waiting = list(takers(program, weights))
    seen, last = set(waiting), next((each.number for each in program if each.phase == BACKWARD), len(program))
    while waiting:
        operation = program[waiting.pop()]
        ahead = [number for number in users.get(operation.number, ()) if number < last]
        taken = [number for number in ahead if not takes_cut(program, number, operation)]
        yield operation, taken
        waiting += set(taken) - seen
        seen |= set(taken)


def takers(program: Program, weights: Collection[str]) -> Iterator[int]:
    """Yields the operations of the forward pass and the loss that take some weights; an update's are none of these."""
    for operation in program:
        if operation.phase == BACKWARD:
            return
        if operation.phase == FORWARD and any(source.weight in weights for source in operation.sources):
            yield operation.number


def results_of(operation: Operation) -> tuple:
    """Returns what tells the call that an operation is of: one of its results may be taken, and others not."""
    return operation.name, operation.line, tuple((source.made, source.weight) for source in operation.sources)


def takes_cut(program: Program, number: int, operation: Operation) -> bool:
    """Whether an operation takes what another makes cut off from the gradients, and no otherwise."""
    ways = [
        cut for source in program[number].sources if (cut := way(program, source.made, operation.number)) is not None
    ]
    return bool(ways) and all(ways)


def way(program: Program, made: int | None, number: int) -> bool | None:
    """Returns whether a value that shows what an operation made is cut off from it; `None` where it is no such."""
    cut = False
    while made is not None and made != number:
        cut = cut or program[made].cuts
        shown = (program[made].reshapes or program[made].views) and program[made].sources
        made = program[made].sources[0].made if shown else None
    return cut if made == number else None

"""Where the way from a weight to the loss ends in a program, though it goes on in another."""

from collections.abc import Collection, Mapping, Sequence

from birdplane_keras.parity.programs.alignment import Known, Parting
from birdplane_keras.parity.programs.program import FORWARD, Operation, Program
from birdplane_keras.parity.programs.regions import is_cut


def idle(port: Program, users: Mapping[int, Sequence[int]], reference: Program, weights: Collection[str]) -> Parting:
    """Returns the port's operations after which nothing is made of some weights, and what the reference makes there.

    Args:
        port: The port's program.
        users: As `consumers` returns them, of the port.
        reference: The reference's program.
        weights: Names of the port's weights that no gradient reaches.
    """
    waiting = [o.number for o in port if o.phase == FORWARD and any(s.weight in weights for s in o.sources)]
    seen, ends, going = set(waiting), [], set()
    while waiting:
        operation = port[waiting.pop()]
        taken = [number for number in users.get(operation.number, ()) if not takes_cut(port, number, operation)]
        if taken:
            going.add(call_of(operation))
        elif not operation.reshapes:
            ends.append(operation)
        waiting += set(taken) - seen
        seen |= set(taken)
    last = [each for each in sorted(ends, key=lambda each: each.number) if call_of(each) not in going]
    known = Known.of([operation.value for operation in last])
    goes_on = [
        each
        for each in reference
        if each.phase == FORWARD and not each.reshapes and any(known.holds(source.value) for source in each.sources)
    ]
    return Parting(port=last, reference=goes_on)


def call_of(operation: Operation) -> tuple:
    """Returns what tells the call that an operation is of: one of its results may be taken, and others not."""
    return operation.name, operation.line, tuple(source.made for source in operation.sources)


def takes_cut(program: Program, number: int, operation: Operation) -> bool:
    """Whether an operation takes what another makes cut off from the gradients, and no otherwise."""
    ways = [source.made for source in program[number].sources if comes_of(program, source.made, operation.number)]
    return bool(ways) and all(is_cut(program, made) for made in ways)


def comes_of(program: Program, made: int | None, number: int) -> bool:
    """Whether a value is what an operation made, or shows it."""
    while made is not None and made != number:
        shown = (program[made].reshapes or program[made].views) and program[made].sources
        made = program[made].sources[0].made if shown else None
    return made == number

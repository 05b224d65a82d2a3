"""Operations in words, with the line of the user's own source that made them."""

from collections.abc import Sequence
from typing import Any

from birdplane_keras.parity.programs.alignment import Parting
from birdplane_keras.parity.programs.program import BACKWARD, Argument, Operation, Program, Source

LONGEST_LINE = 80
MOST_TOLD = 3  # operations of a side
Group = Sequence[Operation]


def tell(parting: Parting, port: Program, reference: Program) -> dict[str, list[str]]:
    """Returns the operations at which two programs part in words, `port` and `reference`."""
    ours, theirs = grouped(parting.port), grouped(parting.reference)
    return {"port": tell_side(ours, port, theirs), "reference": tell_side(theirs, reference, ours)}


def grouped(operations: Sequence[Operation]) -> list[list[Operation]]:
    """Returns operations that are alike together: an update is made tensor by tensor."""
    found: dict[tuple, list[Operation]] = {}
    for operation in operations:
        found.setdefault((operation.name, repr(operation.arguments), operation.line), []).append(operation)
    return list(found.values())


def tell_side(groups: Sequence[Group], program: Program, others: Sequence[Group]) -> list[str]:
    """Returns the operations of one side in words, those that are alike as one."""
    beside = {group[0].name: group[0] for group in others}
    lines = [tell_operation(group[0], program, len(group), beside.get(group[0].name)) for group in groups]
    left = len(lines) - MOST_TOLD
    return lines[:MOST_TOLD] + ([f"and {left} more operation{'s' if left > 1 else ''}"] if left > 0 else [])


def tell_operation(operation: Operation, program: Program, times: int, other: Operation | None) -> str:
    """Returns an operation in words: what it does to what, where, in which line.

    Args:
        operation: It.
        program: Which it is of.
        times: To how many tensors it is done.
        other: One of the same name on the other side: what of the arguments differs from it is reported.
    """
    given = [name_source(source, program) for source in operation.sources]
    given += [f"{argument.name}={tell_value(argument.value)}" for argument in telling(operation, other)]
    text = f"{operation.name}({', '.join(given)}) -> {list(operation.value.shape)}"
    more = f", and so for {times - 1} more tensor{'s' if times > 2 else ''}" if times > 1 else ""
    where = f", in {operation.layer}" if operation.layer else ""
    phase = ", in the backward pass" if operation.phase == BACKWARD else ""
    if operation.line is None:
        return f"{text}{more}{where}{phase}"
    source = operation.line.text[:LONGEST_LINE]
    return f"{text}{more}{where}{phase}, at {operation.line}" + (f": {source}" if source else "")


def telling(operation: Operation, other: Operation | None) -> list[Argument]:
    """Returns the arguments that say something: those that differ from another's, or are not the usual ones."""
    if other is None:
        return [argument for argument in operation.arguments if not argument.usual]
    theirs = {argument.name: argument.value for argument in other.arguments}
    differing = [each for each in operation.arguments if theirs.get(each.name) != each.value]
    return differing or [argument for argument in operation.arguments if not argument.usual]


def name_source(source: Source, program: Program) -> str:
    """Returns what an operation took, in words: which operation made it, or its shape; a number as it is."""
    made = source.made
    while made is not None and program[made].reshapes and program[made].sources:
        source = program[made].sources[0]
        made = source.made
    if source.value.size == 1 and not source.value.shape:
        return tell_value(float(source.value.statistics[0]))
    return f"{list(source.value.shape)}" if made is None else program[made].name


def tell_value(value: Any) -> str:
    """Returns an argument's value in words."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)

"""Where the programs of both sides part at a rung, in words, and what of the port explains it."""

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from birdplane_keras.parity.causes.case import Case
from birdplane_keras.parity.causes.hypothesis import Change, all_of
from birdplane_keras.parity.causes.pairing import alike
from birdplane_keras.parity.causes.port_step import PortStep
from birdplane_keras.parity.causes.proving import Search
from birdplane_keras.parity.causes.search import closeness
from birdplane_keras.parity.causes.stand import Stand
from birdplane_keras.parity.core.records import Probe
from birdplane_keras.parity.programs.alignment import Known, Parting, foreign_behind, measure, part
from birdplane_keras.parity.programs.composed import is_fused
from birdplane_keras.parity.programs.graph import Graph, graph_of
from birdplane_keras.parity.programs.idle import idle
from birdplane_keras.parity.programs.program import BACKWARD, FORWARD, Operation, Program, Value
from birdplane_keras.parity.programs.recorded import record, record_calls
from birdplane_keras.parity.programs.recording import Made
from birdplane_keras.parity.programs.regions import consumers, weights_before
from birdplane_keras.parity.programs.telling import tell
from birdplane_keras.parity.sides.bench import PairBench
from birdplane_keras.parity.sides.steps import read_rung
from birdplane_keras.parity.sides.torch_run import TorchRun

COPIES = 2  # of the reference that round otherwise
RUNGS = ("forward", "loss", "gradients", "first_update")  # which the first step shows
PRODUCTS = ("mm", "add", "addmm")  # a layer's, which either side may write as one or as two
ABOVE_AUTOGRAD = ("forward", "loss", "gradients")  # at which operations of the port can stand in the reference


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where both programs part.

    Args:
        told: The operations of each side in words: `port` and `reference`.
        graph: The same as a small graph.
        kind: What they are, and what they are given: equal for places that part alike.
        weights: Names of the port's weights that the operations there take, or the last layers before them have.
        stand: The port's operations that, put into the reference, let it do what the port does; `None` where none were
            found.
    """

    told: Mapping[str, Sequence[str]]
    graph: Graph
    kind: tuple
    weights: Collection[str]
    stand: Stand | None


def find_place(case: Case, port: PortStep) -> Place | None:
    """Returns where the port's first step parts from the reference's, as far as that was changed; `None`: not seen."""
    rows, rung = port.rows, case.rung
    recorded = record_calls(case.changed_run(), rows)
    reference = recorded.program()
    noise = measure(reference, copies(case.bench, lambda run: record(run, rows), case.change))
    names = differing(case)
    ends = [[Value.of(side.tensors[rung][name]) for name in names] for side in (case.port, case.reference)]
    unmeasured = np.zeros((len(port.program), 5))
    _, ours = foreign_behind(port.program, Known(reference, noise), unmeasured, ends[0])
    _, theirs = foreign_behind(reference, Known(port.program, unmeasured), noise, ends[1])
    stand: Stand | None = None
    if rung in ABOVE_AUTOGRAD:
        behind = [reference[n].behind for n in theirs]
        values = [reference[n].value for n in behind if n is not None] if rung == "gradients" else []
        search = Search(case, port, ours, values)
        stand = search.find()
    settled = () if rung in ABOVE_AUTOGRAD else (BACKWARD,)  # the gradients agree, or the rung would be theirs
    apart = () if stand is None else stand.apart
    found = part(port.program, reference, noise, (ends[0], ends[1]), (apart, ()), settled)
    if stand is not None and found is not None and rung != "gradients" and len(set(kind_of(found))) == 1:
        # Both do the same there, and what they are given differs by less than was measured: it differs further back.
        inner = {number for number in stand.replay.region.operations if not port.program[number].reshapes}
        found = part(port.program, reference, noise, (ends[0], ends[1]), (inner, ()), settled)
    if found is not None and found.port and found.reference and stand is not None and not stand.cuts:
        stand = smaller(case, port, search, stand, found, reference) or stand
    if stand is not None and (found is None or (rung == "gradients" and stand.cuts)):
        found = parting_of(stand, port.program, reference)
    missing = [name for name in case.reference.tensors[rung] if name not in case.port.tensors[rung]]
    if found is None and rung == "gradients" and missing:
        found = idle(port.program, port.users, reference, missing)
    if found is None:
        return None
    if stand is not None and stand.added and found.port:  # what takes the value there is made of another, that is all
        found = Parting(port=found.port, reference=twins(found.port[0], reference))
    if stand is not None and rung != "gradients":  # where it is told as what it cuts off
        found = Parting(port=with_cuts(found.port, stand, port.program, reference), reference=found.reference)
    sides = (port.program, reference)
    if not apart:
        made = (port.recording.made, recorded.made)
        found, sides = within_fused(case, rows, found, sides, made, ends, settled) or (found, sides)
    return place_of(found, *sides, stand)


def place_of(found: Parting, port: Program, reference: Program, stand: Stand | None = None) -> Place:
    """Returns where two programs part, in words and drawn, and what explains it."""
    return Place(
        told=tell(found, port, reference),
        graph=graph_of(found, port, reference),
        kind=kind_of(found),
        weights=weights_before(port, [each.number for each in found.port]),
        stand=stand,
    )


def twins(operation: Operation, program: Program) -> list[Operation]:
    """Returns the operation of another program that does the same to the same tensors, with other numbers; or none."""
    taken = [source.value for source in operation.sources]

    def alike(other: Operation) -> bool:
        same = len(other.sources) == len(taken) and other.name == operation.name and other.phase == FORWARD
        pairs = zip(other.sources, taken, strict=False)
        return same and all(Known.of([value]).holds(source.value) for source, value in pairs)

    return [other for other in program if alike(other)][:1]


def with_cuts(told: Sequence[Operation], stand: Stand, port: Program, reference: Program) -> list[Operation]:
    """Returns operations with those of a region that cut off the gradients of what the reference does not cut off."""
    cut = Known.of([each.value for each in reference if each.phase == FORWARD and each.cuts])
    cuts = [port[number] for number in stand.cuts if not cut.holds(port[number].value)]
    return [*told, *(each for each in cuts if each not in told)]


def kind_of(parting: Parting) -> tuple:
    """Returns what the operations are at which programs part, without the tensors that they are made of."""
    return tuple(tuple(sorted({(each.name, repr(each.arguments)) for each in side})) for side in both(parting))


def smaller(
    case: Case, port: PortStep, search: Search, stand: Stand, found: Parting, reference: Program
) -> Stand | None:
    """Returns what stands for the first line of a region that covers several; `None` where that explains nothing.

    It explains all that the region does, or it is the first of two mistakes, one right behind the other: the second is
    then explained by itself, by other operations.
    """
    ours, theirs = last_of_line(port.program, found.port[0]), last_of_line(reference, found.reference[0])
    lines = ours.line is not None and theirs.line is not None
    kinds = kind_of(Parting(port=[ours], reference=[theirs]))
    otherwise = ours.name == theirs.name and kinds[0] != kinds[1]  # one operation, given something else
    if ours.number >= stand.replay.region.end or not (lines or otherwise):
        return None
    first = search.stand_for(theirs.value, ours.number)
    if first is not None and leads_on(case, port, search, stand, first, theirs, reference):
        return first
    if ours.name == theirs.name:
        return None
    alone = len(found.port) == 1 and ours.line != port.program[stand.replay.region.end].line
    for source in found.port[0].sources:  # or put behind what both sides have
        first = search.stand_for(source.value, ours.number)
        if first is not None and (first.complete or first.gained or first.coarse or alone):
            return first if leads_on(case, port, search, stand, first, theirs, reference) else None
    return None


def leads_on(
    case: Case, port: PortStep, search: Search, stand: Stand, first: Stand, theirs: Operation, reference: Program
) -> bool:
    """Tells whether a smaller stand explains as much as another does, or all of it together with a second mistake."""
    if first.complete or first.gained:
        return True
    if first.seen.at == stand.seen.at:
        return False
    changes = [*case.changes, first.change]
    run = case.bench.reference()
    all_of(changes)(run)
    probe = Probe.of(read_rung(run, port.rows, case.rung))
    foreign = [number for number in search.foreign if number > first.replay.region.end]
    rest = Search(case.after(case.failed, changes, probe), port, foreign).find()
    if rest is None or rest.complete < stand.complete or rest.gained < stand.gained:
        return False
    known = {(each.name, repr(each.arguments)) for each in reference if each.phase == FORWARD}
    second = [port.program[n] for n in rest.replay.region.operations if port.program[n].name not in PRODUCTS]
    own = any((each.name, repr(each.arguments)) not in known for each in second if not each.reshapes)
    own = own or not alike(rest.seen.name, port.program[rest.replay.region.end].name)
    later = any(each.name == theirs.name for each in second)  # the port has put something before it
    # Where the second makes nothing of its own, it is what the first leads to, in operations that both sides make.
    return own and not later


def last_of_line(program: Program, operation: Operation) -> Operation:
    """Returns the last operation of the line of source that an operation is of, in one go, that others take."""
    line = [operation]
    for each in program.operations[operation.number + 1 :]:
        if each.phase != FORWARD or each.line is None or operation.line is None:
            break
        if (each.line.file, each.line.number) != (operation.line.file, operation.line.number):
            break
        line += [] if each.reshapes else [each]
    users = consumers(program)
    taken = [each for each in line if any(user > line[-1].number for user in users.get(each.number, ()))]
    return (taken or line)[-1]


def parting_of(stand: Stand, port: Program, reference: Program) -> Parting:
    """Returns what parts two programs whose values are the same: what cuts one off from the gradients, say."""
    region = [port[number] for number in stand.replay.region.operations]
    cuts = [port[number] for number in stand.cuts]
    known = Known.of([stand.seen.value])
    same = [each for each in reference if each.phase == FORWARD and known.holds(each.value) and not each.reshapes]
    ours: list[Operation] = cuts or region[-1:]
    return Parting(port=ours, reference=same[:1])


def within_fused(
    case: Case,
    rows: np.ndarray,
    told: Parting,
    programs: Sequence[Program],
    made: Sequence[Sequence[Made]],
    ends: Sequence[Sequence[Value]],
    settled: Collection[str],
) -> tuple[Parting, tuple[Program, Program]] | None:
    """Returns where programs part within fused operations of one side, and both with these composed; `None`: not there.

    There both make operations of one kind, or what was fused is products and more, as an attention is, or a recurrent
    layer: the parts of any other would tell less than it does itself.

    Args:
        case: What is to be explained.
        rows: (B,) numbers of examples.
        told: Where the programs part as they are.
        programs: The port's and the reference's.
        made: How each operation was called, of the port and of the reference.
        ends: As `part` takes them.
        settled: As `part` takes it.
    """
    before = [{each.name for each in side} for side in both(told)]
    fused = [
        {function for each in side if is_fused(function := calls[each.number].function)}
        for side, calls in zip(both(told), made, strict=True)
    ]
    if not all(before) or before[0] & before[1]:
        return None
    for some in filter(None, reversed(fused)):
        port, reference = record(case.bench.port(), rows, some), record(case.changed_run(), rows, some)
        noise = measure(reference, copies(case.bench, lambda run, some=some: record(run, rows, some), case.change))
        found = part(port, reference, noise, (ends[0], ends[1]), settled=settled)
        kinds = [] if found is None else [{each.name for each in side} for side in both(found)]
        more = products(port) + products(reference) > sum(map(products, programs))
        if found is not None and max(map(len, kinds)) == 1 and (more or kinds[0] == kinds[1]):
            return found, (port, reference)
    return None


def products(program: Program) -> int:
    """Counts the products of matrices in a step's forward pass."""
    return sum(each.name in ("mm", "addmm", "bmm", "baddbmm") for each in program if each.phase == FORWARD)


def both(found: Parting) -> tuple[Sequence[Operation], Sequence[Operation]]:
    """Returns the operations of the port and those of the reference."""
    return found.port, found.reference


def copies(bench: PairBench, recorded: Callable[[TorchRun], Program], *changes: Change) -> Iterator[Program]:
    """Yields what is recorded of a changed reference where all rounds otherwise, and in float64, if it can do that."""
    runs = [lambda draw=draw: bench.reference(nudge=draw, throughout=True) for draw in range(COPIES)]
    for make in (*runs, bench.double):
        with contextlib.suppress(Exception):  # a module with numbers of a type of its own
            run = make()
            all_of(changes)(run)
            yield recorded(run)


def differing(case: Case) -> list[str]:
    """Returns the names of the tensors of the rung in which the reference differs from the port beyond rounding."""
    rung, noise = case.rung, case.climb.noise

    def one(side: Probe, name: str) -> Probe:
        return Probe(tensors={rung: {name: side.tensors[rung][name]}}, roles={rung: {name: side.roles[rung][name]}})

    shared = [name for name in case.reference.tensors[rung] if name in case.port.tensors[rung]]
    return [n for n in shared if closeness(rung, one(case.port, n), one(case.reference, n), noise) > 1.0]

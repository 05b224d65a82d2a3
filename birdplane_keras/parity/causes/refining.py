"""A place made narrower: the first of two mistakes in one region, and what parts within a fused operation."""

from birdplane_keras.parity.causes.apart import Sides, both, kind_of
from birdplane_keras.parity.causes.hypothesis import all_of
from birdplane_keras.parity.causes.pairing import alike
from birdplane_keras.parity.causes.proving import Search
from birdplane_keras.parity.causes.stand import Stand
from birdplane_keras.parity.core.records import Probe
from birdplane_keras.parity.programs.alignment import Parting
from birdplane_keras.parity.programs.composed import is_fused
from birdplane_keras.parity.programs.program import FORWARD, Operation, Program
from birdplane_keras.parity.programs.regions import consumers
from birdplane_keras.parity.sides.steps import read_rung

PRODUCTS = ("mm", "add", "addmm")  # a layer's, which either side may write as one or as two


def smaller(sides: Sides, search: Search, stand: Stand, found: Parting) -> Stand | None:
    """Returns what stands for the first line of a region that covers several; `None` where that explains nothing.

    It explains all that the region does, or it is the first of two mistakes, one right behind the other: the second is
    then explained by itself, by other operations.
    """
    port, reference = sides.port, sides.reference
    if not (found.port and found.reference):
        return None
    ours, theirs = last_of_line(port.program, found.port[0]), last_of_line(reference, found.reference[0])
    lines = ours.line is not None and theirs.line is not None
    kinds = kind_of(Parting(port=[ours], reference=[theirs]))
    otherwise = ours.name == theirs.name and kinds[0] != kinds[1]  # one operation, given something else
    if ours.number >= stand.replay.region.end or not (lines or otherwise):
        return None
    first = search.stand_for(theirs.value, ours.number)
    if first is not None and leads_on(sides, search, stand, first, theirs):
        return first
    if ours.name == theirs.name:
        return None
    alone = len(found.port) == 1 and ours.line != port.program[stand.replay.region.end].line
    for source in found.port[0].sources:  # or put behind what both sides have
        first = search.stand_for(source.value, ours.number)
        if first is not None and (first.complete or first.gained or first.coarse or alone):
            return first if leads_on(sides, search, stand, first, theirs) else None
    return None


def leads_on(sides: Sides, search: Search, stand: Stand, first: Stand, theirs: Operation) -> bool:
    """Tells whether a smaller stand explains as much as another does, or all of it together with a second mistake."""
    if first.complete or first.gained:
        return True
    if first.seen.at == stand.seen.at:
        return False
    case, port, reference = sides.case, sides.port, sides.reference
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


def within_fused(sides: Sides, told: Parting) -> tuple[Parting, tuple[Program, Program]] | None:
    """Returns where programs part within fused operations of one side, and both with these composed; `None`: not there.

    There both make operations of one kind, or what was fused is products and more, as an attention is, or a recurrent
    layer: the parts of any other would tell less than it does itself.

    Args:
        sides: Both.
        told: Where they part as they are.
    """
    before = [{each.name for each in side} for side in both(told)]
    if not all(before) or before[0] & before[1]:
        return None
    programs, calls = (sides.port.program, sides.reference), (sides.port.recording.made, sides.recorded.made)
    for told_there, made in reversed(list(zip(both(told), calls, strict=True))):
        fused = {function for each in told_there if is_fused(function := made[each.number].function)}
        found, composed = sides.part_composed(fused) if fused else (None, programs)
        kinds = [] if found is None else [{each.name for each in side} for side in both(found)]
        more = sum(map(products, composed)) > sum(map(products, programs))
        same = found is not None and len(set(kind_of(found))) == 1  # what they are given differs, and not what they do
        if found is not None and not same and max(map(len, kinds)) == 1 and (more or kinds[0] == kinds[1]):
            return found, composed
    return None


def products(program: Program) -> int:
    """Counts the products of matrices in a step's forward pass."""
    return sum(each.name in ("mm", "addmm", "bmm", "baddbmm") for each in program if each.phase == FORWARD)

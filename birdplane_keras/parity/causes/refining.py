"""A place made narrower: the first of two mistakes in one region, and what parts within a fused operation."""

from birdplane_keras.parity.causes.apart import Sides, both, kind_of
from birdplane_keras.parity.causes.hypothesis import all_of
from birdplane_keras.parity.causes.pairing import alike
from birdplane_keras.parity.causes.proving import Search
from birdplane_keras.parity.causes.stand import Stand
from birdplane_keras.parity.core.records import Probe
from birdplane_keras.parity.programs.alignment import Known, Parting
from birdplane_keras.parity.programs.composed import is_fused
from birdplane_keras.parity.programs.program import FORWARD, Operation, Program
from birdplane_keras.parity.programs.regions import consumers
from birdplane_keras.parity.sides.steps import read_rung

PRODUCTS = ("mm", "add", "addmm")  # a layer's, which either side may write as one or as two


def smaller(sides: Sides, search: Search, stand: Stand, found: Parting) -> Stand | None:
    """Returns what stands for the first line, or layer, of a region that covers several; `None`: it explains nothing.

    It explains all that the region does, or it is the first of two mistakes, one right behind the other: the second is
    then explained by itself, by other operations.
    """
    port, reference = sides.port, sides.reference
    if not (found.port and found.reference):
        return None
    ours, theirs = last_of_unit(port.program, found.port[0]), last_of_unit(reference, found.reference[0])
    units = bool(ours.unit and theirs.unit)
    units = units and (isinstance(ours.unit, str) or not isinstance(theirs.unit, str))  # a line may do several layers'
    kinds = kind_of(Parting(port=[ours], reference=[theirs]))
    otherwise = ours.name == theirs.name and kinds[0] != kinds[1]  # one operation, given something else
    if ours.number >= stand.replay.region.end or not (units or otherwise):
        return None
    first = search.stand_for(theirs.value, ours.number)
    if first is not None and leads_on(sides, search, stand, first, theirs):
        return first
    if ours.name == theirs.name:
        return None
    alone = len(found.port) == 1 and ours.unit != port.program[stand.replay.region.end].unit
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
    second = [port.program[n] for n in rest.replay.region.operations if port.program[n].name not in PRODUCTS]
    made = [kind(each) for each in second if not each.reshapes]
    kinds = {kind(each) for each in reference if each.phase == FORWARD}
    own = any(each not in kinds for each in made) or not alike(
        rest.seen.name, port.program[rest.replay.region.end].name
    )
    meant = made_there(rest, search, reference)
    own = own or (bool(made) and meant is not None and sorted(made) != sorted(meant))
    later = any(each.name == theirs.name for each in second)  # the port has put something before it
    # Where the second makes nothing of its own, it is what the first leads to, in operations that both sides make.
    return own and not later


def made_there(stand: Stand, search: Search, reference: Program) -> list[tuple[str, str]] | None:
    """Returns what the reference does, before it is changed, where a region stands; `None` where that is not seen.

    It is seen of functions that are one operation each.
    """
    found = []
    forward = [each for each in reference if each.phase == FORWARD and not each.reshapes]
    for seen in search.seen:
        if seen.at.call in stand.replaced and not seen.at.taken:
            known = Known.of([seen.value])
            held = [each for each in forward if known.holds(each.value)]
            if any(each.name in PRODUCTS for each in held):
                continue
            same = [each for each in held if alike(seen.name, each.name)]
            if not same:
                return None
            found.append(kind(same[0]))
    return found


def kind(operation: Operation) -> tuple[str, str]:
    """Returns what an operation does, whatever it takes."""
    return operation.name, repr(operation.arguments)


def last_of_unit(program: Program, operation: Operation) -> Operation:
    """Returns the last operation of the unit that an operation is of, in one go, that others take."""
    unit = [operation]
    for each in program.operations[operation.number + 1 :]:
        if each.phase != FORWARD or not operation.unit or each.unit != operation.unit:
            break
        unit += [] if each.reshapes else [each]
    users = consumers(program)
    taken = [each for each in unit if any(user > unit[-1].number for user in users.get(each.number, ()))]
    return (taken or unit)[-1]


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

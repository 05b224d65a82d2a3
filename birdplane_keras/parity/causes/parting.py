"""Where the programs of both sides part at a rung, in words, and what of the port explains it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from birdplane_keras.errors import first_line
from birdplane_keras.parity.causes.apart import ABOVE_AUTOGRAD, Sides, kind_of
from birdplane_keras.parity.causes.case import Case
from birdplane_keras.parity.causes.port_step import PortStep
from birdplane_keras.parity.causes.refining import smaller, within_fused
from birdplane_keras.parity.causes.stand import Stand
from birdplane_keras.parity.programs.alignment import Known, Parting
from birdplane_keras.parity.programs.graph import Graph, graph_of
from birdplane_keras.parity.programs.idle import idle
from birdplane_keras.parity.programs.program import FORWARD, Operation, Program
from birdplane_keras.parity.programs.regions import weights_before
from birdplane_keras.parity.programs.telling import tell


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where both programs part.

    Args:
        told: The operations of each side in words: `port` and `reference`.
        graph: The same as a small graph.
        kind: What they are, and what they are given: equal for places that part alike.
        weights: Names of the port's weights that the operations there take, or the last layers before them have.
        units: The lines, or layers, of the port's operations.
        stand: The port's operations that, put into the reference, let it do what the port does; `None` where none were
            found.
    """

    told: Mapping[str, Sequence[str]]
    graph: Graph
    kind: tuple
    weights: Collection[str]
    units: Collection[tuple[str, int] | str]
    stand: Stand | None


def find_place(case: Case, port: PortStep, *, explain: bool = True) -> Place | None:
    """Returns where the port's first step parts from the reference's, as far as that was changed; `None`: not seen.

    Where that is explained already, no operations of the port are looked for that would.
    """
    sides = Sides(case, port)
    search = sides.search() if explain else None
    stand = None if search is None else search.find()
    found = first_apart(sides, stand)
    if search is not None and stand is not None and found is not None and not stand.cuts:
        stand = smaller(sides, search, stand, found) or stand
    found = as_explained(sides, stand, found)
    if found is None:
        return None
    programs = (port.program, sides.reference)
    if case.rung in ABOVE_AUTOGRAD and (stand is None or not stand.apart) and not case.budget.spent:
        try:
            found, programs = within_fused(sides, found) or (found, programs)
        except Exception as error:  # an operation that can be made in several others, but not here
            case.untried.append(f"the parts of a fused operation could not be seen: {first_line(error)}")
    return place_of(found, *programs, stand)


def first_apart(sides: Sides, stand: Stand | None) -> Parting | None:
    """Returns the first operations at which both sides part, with what a region that explains it shows of them."""
    found = sides.part(() if stand is None else stand.apart)
    if stand is not None and found is not None and sides.case.rung != "gradients" and len(set(kind_of(found))) == 1:
        # Both do the same there, and what they are given differs by less than was measured: it differs further back.
        program = sides.port.program
        return sides.part({number for number in stand.replay.region.operations if not program[number].reshapes})
    return found


def as_explained(sides: Sides, stand: Stand | None, found: Parting | None) -> Parting | None:
    """Returns what is said of a place: of what is added, cut off or forgotten that alone."""
    case, port, reference = sides.case, sides.port, sides.reference
    if stand is not None and (found is None or (case.rung == "gradients" and stand.cuts)):
        found = parting_of(stand, port.program, reference)
    missing = [name for name in case.reference.tensors[case.rung] if name not in case.port.tensors[case.rung]]
    if found is None and case.rung == "gradients" and missing:
        matches = case.bench.host.view.matches
        theirs = [part for name in missing if name in matches for part in matches[name].torch]
        return idle(port.program, port.users, reference, missing, theirs)
    if found is None or stand is None:
        return found
    if stand.added and found.port:  # what takes the value there is made of another, that is all
        found = Parting(port=found.port, reference=twins(found.port[0], reference))
    if case.rung != "gradients":  # where it is reported as what it cuts off
        found = Parting(port=with_cuts(found.port, stand, port.program, reference), reference=found.reference)
    return found


def place_of(found: Parting, port: Program, reference: Program, stand: Stand | None = None) -> Place:
    """Returns where two programs part, in words and drawn, and what explains it."""
    return Place(
        told=tell(found, port, reference),
        graph=graph_of(found, port, reference),
        kind=kind_of(found),
        weights=weights_before(port, [each.number for each in found.port]),
        units={each.unit for each in found.port},
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


def parting_of(stand: Stand, port: Program, reference: Program) -> Parting:
    """Returns what parts two programs whose values are the same: what cuts one off from the gradients, say."""
    region = [port[number] for number in stand.replay.region.operations]
    cuts = [port[number] for number in stand.cuts]
    known = Known.of([stand.seen.value])
    same = [each for each in reference if each.phase == FORWARD and known.holds(each.value) and not each.reshapes]
    ours: list[Operation] = cuts or region[-1:]
    return Parting(port=ours, reference=same[:1])

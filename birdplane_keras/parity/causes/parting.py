"""Where the programs of both sides part at a rung, in words, and what of the port explains it."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from birdplane_keras.parity.causes.case import Case
from birdplane_keras.parity.causes.hypothesis import Change, all_of
from birdplane_keras.parity.causes.port_step import PortStep
from birdplane_keras.parity.causes.proving import Search, Stand
from birdplane_keras.parity.causes.search import closeness
from birdplane_keras.parity.core.records import Probe
from birdplane_keras.parity.programs.alignment import Known, Parting, foreign_behind, measure, part
from birdplane_keras.parity.programs.program import FORWARD, Operation, Program, Value
from birdplane_keras.parity.programs.recording import record
from birdplane_keras.parity.programs.telling import tell
from birdplane_keras.parity.sides.bench import PairBench
from birdplane_keras.parity.sides.steps import read_rung
from birdplane_keras.parity.sides.torch_run import TorchRun

COPIES = 2  # of the reference that round otherwise
RUNGS = ("forward", "loss", "gradients", "first_update")  # which the first step shows
ABOVE_AUTOGRAD = ("forward", "loss", "gradients")  # at which operations of the port can stand in the reference


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where both programs part.

    Args:
        told: The operations of each side in words: `port` and `reference`.
        kind: What they are, and what they are given: equal for places that part alike.
        stand: The port's operations that, put into the reference, let it do what the port does; `None` where none were
            found.
    """

    told: Mapping[str, Sequence[str]]
    kind: tuple
    stand: Stand | None


def find_place(case: Case, port: PortStep) -> Place | None:
    """Returns where the port's first step parts from the reference's, as far as that was changed; `None`: not seen."""
    run, rows, rung = case.changed_run(), port.rows, case.rung
    reference = record(run, rows)
    noise = measure(reference, copies(case.bench, rows, case.change))
    names = differing(case)
    ends = [[Value.of(side.tensors[rung][name]) for name in names] for side in (case.port, case.reference)]
    unmeasured = np.zeros((len(port.program), 5))
    _, ours = foreign_behind(port.program, Known(reference, noise), unmeasured, ends[0])
    _, theirs = foreign_behind(reference, Known(port.program, unmeasured), noise, ends[1])
    stand: Stand | None = None
    apart: set[int] = set()
    if rung in ABOVE_AUTOGRAD:
        behind = [reference[n].behind for n in theirs]
        values = [reference[n].value for n in behind if n is not None] if rung == "gradients" else []
        search = Search(case, port, ours, values)
        stand = search.find()
        apart = search.in_another_order()
    found = part(port.program, reference, noise, (ends[0], ends[1]), (apart, ()))
    if found is not None and stand is not None and len(found.port) == len(found.reference) == 1:
        stand = first_of_two(case, port, search, stand, (found.port[0], found.reference[0])) or stand
    if stand is not None and (found is None or (rung == "gradients" and stand.cuts)):
        found = parting_of(stand, port.program, reference)
    if found is None:
        return None
    return Place(told=tell(found, port.program, reference), kind=kind_of(found), stand=stand)


def kind_of(parting: Parting) -> tuple:
    """Returns what the operations are at which programs part, without the tensors that they are made of."""
    sides = (parting.port, parting.reference)
    return tuple(tuple(sorted({(each.name, repr(each.arguments)) for each in side})) for side in sides)


def first_of_two(
    case: Case, port: PortStep, search: Search, stand: Stand, firsts: tuple[Operation, Operation]
) -> Stand | None:
    """Returns what stands for the first of two mistakes, one right behind the other, that a region covers.

    That is an operation which both sides make, with other arguments; the second is then explained by itself.
    """
    ours, theirs = firsts
    alike = ours.name == theirs.name and len(ours.sources) == len(theirs.sources)
    if not alike or list(ours.arguments) == list(theirs.arguments) or ours.number == stand.replay.region.end:
        return None
    first = search.stand_for(theirs.value, ours.number)
    if first is None:
        return None
    changes = [*case.changes, first.change]
    probe = Probe.of(read_rung(after_changes(case, changes), port.rows, case.rung))
    rest = Search(case.after(case.failed, changes, probe), port, [n for n in search.foreign if n > ours.number]).find()
    return first if rest is not None and rest.complete >= stand.complete and rest.gained >= stand.gained else None


def after_changes(case: Case, changes: Sequence[Change]) -> TorchRun:
    """Returns a run of the reference, at its start, with all changes."""
    run = case.bench.reference()
    all_of(changes)(run)
    return run


def parting_of(stand: Stand, port: Program, reference: Program) -> Parting:
    """Returns what parts two programs whose values are the same: what cuts one off from the gradients, say."""
    region = [port[number] for number in stand.replay.region.operations]
    cuts = [port[number] for number in stand.cuts]
    known = Known.of([stand.seen.value])
    same = [each for each in reference if each.phase == FORWARD and known.holds(each.value) and not each.reshapes]
    ours: list[Operation] = cuts or region[-1:]
    return Parting(port=ours, reference=same[:1])


def copies(bench: PairBench, rows: np.ndarray, *changes: Change) -> Iterator[Program]:
    """Yields the changed reference's step where all rounds otherwise, and in float64, if it can do that."""
    runs = [lambda draw=draw: bench.reference(nudge=draw, throughout=True) for draw in range(COPIES)]
    for make in (*runs, bench.double):
        with contextlib.suppress(Exception):  # a module with numbers of a type of its own
            run = make()
            all_of(changes)(run)
            yield record(run, rows)


def differing(case: Case) -> list[str]:
    """Returns the names of the tensors of the rung in which the reference differs from the port beyond rounding."""
    rung, noise = case.rung, case.climb.noise

    def one(side: Probe, name: str) -> Probe:
        return Probe(tensors={rung: {name: side.tensors[rung][name]}}, roles={rung: {name: side.roles[rung][name]}})

    shared = [name for name in case.reference.tensors[rung] if name in case.port.tensors[rung]]
    return [n for n in shared if closeness(rung, one(case.port, n), one(case.reference, n), noise) > 1.0]

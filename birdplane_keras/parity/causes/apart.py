"""Both sides' first step as programs: what they share up to rounding, and where they part."""

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence

import numpy as np

from birdplane_keras.parity.causes.case import Case
from birdplane_keras.parity.causes.hypothesis import Change, all_of
from birdplane_keras.parity.causes.port_step import PortStep
from birdplane_keras.parity.causes.proving import Search
from birdplane_keras.parity.causes.search import closeness
from birdplane_keras.parity.core.records import Probe, Tensors
from birdplane_keras.parity.core.shelf import Shelf
from birdplane_keras.parity.programs.alignment import Known, Parting, foreign_behind, measure, part
from birdplane_keras.parity.programs.dispatched import value_of
from birdplane_keras.parity.programs.program import BACKWARD, Operation, Program
from birdplane_keras.parity.programs.recorded import record, record_calls
from birdplane_keras.parity.sides.bench import PairBench
from birdplane_keras.parity.sides.torch_run import TorchRun

COPIES = 2  # of the reference that round otherwise
RUNGS = ("forward", "loss", "gradients", "first_update")  # which the first step shows
ABOVE_AUTOGRAD = ("forward", "loss", "gradients")  # at which operations of the port can stand in the reference


class Sides:
    """Both sides' first step, the reference's as far as it was changed, and what differs behind them.

    Args:
        case: What is to be explained.
        port: The port's first step.
    """

    def __init__(self, case: Case, port: PortStep) -> None:
        self.case, self.port = case, port
        names, rung, run = differing(case), case.rung, case.changed_run()
        self.recorded = record_calls(run, port.rows)
        self.reference = self.recorded.program()
        ours = case.port.tensors[rung]
        if case.gradients_agree:  # the update is made with the port's: what each makes before it is no difference
            theirs: Tensors = Shelf.of(names, run.read)
            self._noise = np.zeros((len(self.reference), 5))
        else:
            theirs = case.reference.tensors[rung]
            self._noise = measure(self.reference, copies(case.bench, lambda run: record(run, port.rows), case.changes))
        self.settled = (BACKWARD,) if case.gradients_agree else ()
        self.ends = ([value_of(ours[name]) for name in names], [value_of(theirs[name]) for name in names])

    def search(self) -> Search | None:
        """Returns what looks for operations of the port that explain it; `None` where none can stand there."""
        if self.case.rung not in ABOVE_AUTOGRAD:
            return None
        port, unmeasured = self.port.program, np.zeros((len(self.port.program), 5))
        _, ours = foreign_behind(port, Known(self.reference, self._noise), unmeasured, self.ends[0])
        if self.case.rung != "gradients":
            return Search(self.case, self.port, ours)
        _, theirs = foreign_behind(self.reference, Known(port, unmeasured), self._noise, self.ends[1])
        behind = [self.reference[n].behind for n in theirs]
        return Search(self.case, self.port, ours, [self.reference[n].value for n in behind if n is not None])

    def part(self, apart: Collection[int] = ()) -> Parting | None:
        """Returns where they part; `apart` are operations of the port that the reference does not make, as is known."""
        return part(self.port.program, self.reference, self._noise, self.ends, (apart, ()), self.settled)

    def part_composed(self, composed: Collection[object]) -> tuple[Parting | None, tuple[Program, Program]]:
        """Returns where they part with some operations made in several, and both programs so."""
        case, rows = self.case, self.port.rows
        port, reference = record(case.bench.port(), rows, composed), record(case.changed_run(), rows, composed)
        noise = measure(reference, copies(case.bench, lambda run: record(run, rows, composed), case.changes))
        return part(port, reference, noise, self.ends, settled=self.settled), (port, reference)


def copies(
    bench: PairBench, recorded: Callable[[TorchRun], Program], changes: Sequence[Change] = ()
) -> Iterator[Program]:
    """Yields what is recorded of a changed reference where all rounds otherwise, and in float64, if it can do that."""
    for draw in range(COPIES):
        with contextlib.suppress(Exception):  # a change that does not fit
            yield recorded(changed(bench.reference(nudge=draw, throughout=True), all_of(changes)))
    asleep = contextlib.nullcontext() if changes else bench.host.asleep()  # a change may ask the port
    with contextlib.suppress(Exception), asleep:  # a module with numbers of a type of its own
        yield recorded(changed(bench.double(), all_of(changes)))


def changed(run: TorchRun, change: Change) -> TorchRun:
    """Returns a run, changed."""
    change(run)
    return run


def differing(case: Case) -> list[str]:
    """Returns the names of the tensors of the rung in which the reference differs from the port beyond rounding."""
    rung, noise = case.rung, case.climb.noise

    def one(side: Probe, name: str) -> Probe:
        return Probe(tensors={rung: {name: side.tensors[rung][name]}}, roles={rung: {name: side.roles[rung][name]}})

    shared = [name for name in case.reference.tensors[rung] if name in case.port.tensors[rung]]
    return [n for n in shared if closeness(rung, one(case.port, n), one(case.reference, n), noise) > 1.0]


def kind_of(parting: Parting) -> tuple:
    """Returns what the operations are at which programs part, without the tensors that they are made of."""
    return tuple(tuple(sorted({(each.name, repr(each.arguments)) for each in side})) for side in both(parting))


def both(found: Parting) -> tuple[Sequence[Operation], Sequence[Operation]]:
    """Returns the operations of the port and those of the reference."""
    return found.port, found.reference

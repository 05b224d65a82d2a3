"""Where both sides update their weights differently: step after step, place by place, as two sequences of numbers."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from birdplane_keras.parity.causes.case import Case
from birdplane_keras.parity.core.noise import largest_difference
from birdplane_keras.parity.core.records import Tensors
from birdplane_keras.parity.core.shelf import Shelf
from birdplane_keras.parity.core.tolerances import ROUNDING
from birdplane_keras.parity.programs.alignment import Parting
from birdplane_keras.parity.programs.dispatched import value_of
from birdplane_keras.parity.programs.graph import Graph, graph_of
from birdplane_keras.parity.programs.program import Operation, Program
from birdplane_keras.parity.programs.recorded import record_calls
from birdplane_keras.parity.programs.recording import Recording
from birdplane_keras.parity.programs.telling import tell
from birdplane_keras.parity.programs.updates import Turn, Update, behind, end_of, first_of_call, places_apart
from birdplane_keras.parity.sides.arrays import to_numpy, to_view
from birdplane_keras.parity.sides.keras_run import KerasRun
from birdplane_keras.parity.sides.torch_run import TorchRun

Run = KerasRun | TorchRun
Put = Mapping[int, np.ndarray]
MOST_KINDS = 3  # of weights that are updated alike
MOST_NAMED = 3  # weights
SHARE = 0.5  # of the time that is left, for the updates behind the first: what is reported may be tried, too


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step of one side: what it computed, and the weights that it found and left.

    Args:
        recording: Of it.
        program: What was recorded.
        before: Name -> weight, in the reference's layout.
        after: Likewise, behind it.
    """

    recording: Recording
    program: Program
    before: Tensors
    after: Tensors

    def moved(self, name: str) -> np.ndarray:
        """Returns what it moved a weight by."""
        return self.after[name] - self.before[name]


@dataclass(frozen=True, kw_only=True)
class Ends:
    """Which operation of each side makes the new numbers of a weight."""

    name: str
    port: int
    reference: int


@dataclass(kw_only=True)
class Place:
    """A place at which updates part, in every step in which they do.

    Args:
        told: The operations of each side in words, of the first such step.
        graph: The same as a small graph.
        names: Of the weights.
        numbers: Step -> the number that the operation is given in the port and in the reference, where it is one.
    """

    told: Mapping[str, Sequence[str]]
    graph: Graph
    names: set[str] = field(default_factory=set)
    numbers: dict[int, tuple[float, float]] = field(default_factory=dict)


class Updating:
    """Both sides' first steps, held against each other; after each, the reference has what the port has.

    Args:
        case: Of the rung `first_update` or `optimizer_state`.
    """

    def __init__(self, case: Case) -> None:
        self._case, self._plan = case, case.plan
        self._puts: list[Put] = []
        self._places: dict[tuple, Place] = {}
        self._trained: dict[str, int] = {}  # weight -> axes

    def places(self) -> list[Place]:
        """Returns every place at which the updates part, as far as the time allows: the first step's in any case."""
        budget = self._case.budget.part(SHARE)
        for number in range(len(self._plan)):
            if self._places and budget.spent:
                self._case.untried.append(f"the updates behind step {number} were not compared place by place")
                break
            port, reference = (self._step(made(number), number) for made in (self._port, self._reference))
            names = sorted(set(port.after) & set(reference.after))
            self._trained |= {name: reference.after[name].ndim for name in names}
            if any(self._apart(name, port.before[name], reference.before[name]) for name in names):
                break  # what came before was not made equal
            names = [name for name in names if self._apart(name, port.moved(name), reference.moved(name))]
            self._puts.append(Shelf(self._part(number, names, port, reference)))
        return list(self._places.values())

    def describe(self, place: Place) -> str:
        """Returns in words of which weights a place is, and what the operations there are given, step by step."""
        found = [f"in {self._whose(place.names)}"] if place.names != self._trained.keys() else []
        if place.numbers:
            shown = [
                ", ".join(f"{number:.6g}" for number in numbers)
                for numbers in zip(*place.numbers.values(), strict=True)
            ]
            found.append(f"the number there, step by step: {shown[0]} in the port, {shown[1]} in the reference")
        return "; ".join(found)

    def _whose(self, names: Collection[str]) -> str:
        vectors = {name for name, axes in self._trained.items() if axes < 2}
        if set(names) == vectors:
            return "all biases and norms"
        if set(names) == self._trained.keys() - vectors:
            return "all weights but biases and norms"
        shown = ", ".join(sorted(names)[:MOST_NAMED])
        return shown + (f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else "")

    def _port(self, number: int) -> KerasRun:
        """Returns the port before a step."""
        run = self._case.bench.port()
        for rows in self._plan[:number]:
            run.step(rows)
        return run

    def _reference(self, number: int) -> TorchRun:
        """Returns the reference before a step, with what the port has behind each earlier one."""
        run = self._case.changed_run()
        for rows, put in zip(self._plan[:number], self._puts, strict=True):
            if put:
                record_calls(run, rows, put=put, measured=False)
            else:
                run.step(rows)
        return run

    def _step(self, run: Run, number: int) -> Step:
        """Makes the step that a run is before."""
        before = run.weights(trainable=True)
        recording = record_calls(run, self._plan[number])
        after = run.weights(trainable=True)
        return Step(recording=recording, program=recording.program(), before=before, after=after)

    def _apart(self, name: str, ours: np.ndarray, theirs: np.ndarray) -> bool:
        """Tells whether a weight, or what a step moves it by, differs beyond the noise of the first steps."""
        noise = max(self._case.climb.noise[rung].get(name, 0.0) for rung in ("first_update", self._case.rung))
        return not largest_difference(ours, theirs) <= ROUNDING.factor * noise

    def _part(self, number: int, names: Sequence[str], port: Step, reference: Step) -> Iterator[tuple[int, np.ndarray]]:
        """Notes where the updates of some weights part in a step; yields what the reference is to be given there."""
        kinds: dict[tuple, list[Ends]] = {}
        for name in names:
            ours, theirs = (end_of(side.program, value_of(side.after[name])) for side in (port, reference))
            if ours is not None and theirs is not None:
                kind = (made_by(port.program, ours), made_by(reference.program, theirs))
                kinds.setdefault(kind, []).append(Ends(name=name, port=ours, reference=theirs))
        for alike in list(kinds.values())[:MOST_KINDS]:
            smallest = min(alike, key=lambda each: reference.after[each.name].size)
            updates = self._updates(number, smallest, port, reference)
            partings = [] if updates is None else places_apart(*updates, self._turn(smallest.name))
            ends: list[tuple[str, int, int]] = []  # weight, operation of the port and of the reference
            for parting in partings:
                self._note(parting, smallest, alike, port.program, reference.program)
                for each in alike:
                    end = moved(port.program, parting.port[0], smallest.port, each.port)
                    at = moved(reference.program, parting.reference[0], smallest.reference, each.reference)
                    ends.append((each.name, end, at))
            if not ends:
                continue
            wanted = {end for _, end, _ in ends}
            again = record_calls(self._port(number), self._plan[number], kept_results=wanted, measured=False)
            for name, end, at in ends:
                yield at, to_view(self._turn(name)(again.results[end], reference.program[at].value.shape))

    def _note(self, parting: Parting, weight: Ends, alike: Sequence[Ends], port: Program, reference: Program) -> None:
        everywhere = Parting(
            port=spread(port, parting.port, weight.port, [each.port for each in alike]),
            reference=spread(reference, parting.reference, weight.reference, [each.reference for each in alike]),
        )
        sides = (parting.port, parting.reference)
        kind = tuple(tuple((each.name, each.line) for each in side) for side in sides)
        if kind not in self._places:
            told, graph = tell(everywhere, port, reference), graph_of(everywhere, port, reference)
            self._places[kind] = Place(told=told, graph=graph)
        place = self._places[kind]
        place.names |= {each.name for each in alike}
        both = numbers_apart(parting.port[0], parting.reference[0])
        if both is not None:
            place.numbers.setdefault(len(self._puts), both)

    def _updates(self, number: int, weight: Ends, port: Step, reference: Step) -> tuple[Update, Update] | None:
        """Returns the updates of a weight, ready to be made again; `None` where a step is another each time."""
        updates = []
        for side, make, end in ((port, self._port, weight.port), (reference, self._reference, weight.reference)):
            made = side.recording.made
            wanted = {first_of_call(made, operation) for operation in behind(side.program, end)}
            again = record_calls(make(number), self._plan[number], wanted, measured=False)
            if [each.function for each in again.made] != [each.function for each in made]:
                return None
            updates.append(Update(side.program, made, again.kept, end))
        return updates[0], updates[1]

    def _turn(self, name: str) -> Turn:
        """Returns what lays a tensor of the port, of a weight's shape or one number, as the reference has it."""
        match = self._case.bench.host.view.matches[name]
        shape = tuple(self._case.bench.host.view.variables[name].shape)

        def turn(tensor: torch.Tensor, wanted: Sequence[int]) -> torch.Tensor:
            if tuple(tensor.shape) != shape or len(match.torch) > 1:
                return tensor.reshape(tuple(wanted))
            (turned,) = match.to_torch(match.from_keras(to_numpy(tensor)), [np.zeros(tuple(wanted), np.float32)])
            return torch.as_tensor(np.ascontiguousarray(turned)).to(tensor)

        return turn


def made_by(program: Program, end: int) -> tuple:
    """Returns what an update does, without the tensors that it is made of: equal for weights that are updated alike."""
    return tuple((program[n].name, repr(program[n].arguments), program[n].line) for n in behind(program, end))


def moved(program: Program, operation: Operation, end: int, other: int) -> int:
    """Returns the operation in the update of another weight that is what one is in the update of a weight."""
    return behind(program, other)[behind(program, end).index(operation.number)]


def spread(program: Program, operations: Sequence[Operation], end: int, ends: Sequence[int]) -> list[Operation]:
    """Returns operations, and what they are in the updates of other weights that are updated alike, each once."""
    numbers = dict.fromkeys(moved(program, operation, end, other) for operation in operations for other in ends)
    return [program[number] for number in numbers]


def numbers_apart(ours: Operation, theirs: Operation) -> tuple[float, float] | None:
    """Returns the numbers that two calls of one operation are given; `None` where not exactly one of each differs."""
    if ours.name.strip("_") != theirs.name.strip("_"):
        return None
    mine, yours = numbers_in(ours), numbers_in(theirs)
    only = [
        [n for n in numbers if not np.isclose(n, others, rtol=1e-6, atol=0).any()]
        for numbers, others in ((mine, yours), (yours, mine))
    ]
    return (only[0][0], only[1][0]) if len(only[0]) == len(only[1]) == 1 else None


def numbers_in(operation: Operation) -> list[float]:
    """Returns the single numbers that an operation is given, as an argument or as a tensor of one."""
    given = [float(each.value) for each in operation.arguments if type(each.value) in (int, float) and not each.usual]
    return given + [float(s.value.statistics[0]) for s in operation.sources if s.value.size == 1 and not s.value.shape]

"""How two recorded steps update one weight: where they part, every such place by itself."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from birdplane_keras.parity.core.tolerances import ROUNDING
from birdplane_keras.parity.private_torch import tree_leaves, tree_map
from birdplane_keras.parity.programs.alignment import Known, Parting, starts_of
from birdplane_keras.parity.programs.dispatched import value_of, written_by
from birdplane_keras.parity.programs.program import BACKWARD, Operation, Program, Value
from birdplane_keras.parity.programs.recording import Made, Slot
from birdplane_keras.parity.programs.regions import consumers, made_of

LOOSE = 16.0  # times the usual distance: what is made of another's numbers rounds otherwise
LARGEST = 400  # operations of an update that are looked at
MOST_TRIED = 300  # pairs of an operation of either side, for one place
MOST_PLACES = 6

Turn = Callable[[torch.Tensor, Sequence[int]], torch.Tensor]  # lays a tensor of the port as the reference has it


def end_of(program: Program, after: Value) -> int | None:
    """Returns the operation that made the new numbers of a weight; `None` where none is seen to."""
    begin = begin_of(program)
    return next((number for number in starts_of(program, [after], begin)), None)


def begin_of(program: Program) -> int:
    """Returns the number of the first operation behind the backward pass."""
    return 1 + max((operation.number for operation in program if operation.phase == BACKWARD), default=-1)


def behind(program: Program, end: int) -> list[int]:
    """Returns the operations of the update that an operation is made of, itself included, in order."""
    begin, waiting = begin_of(program), [end]
    needed: set[int] = set()
    while waiting and len(needed) <= LARGEST:
        number = waiting.pop()
        if number >= begin and number not in needed:
            needed.add(number)
            waiting += [source.made for source in program[number].sources if source.made is not None]
    return sorted(needed)


def first_of_call(made: Sequence[Made], number: int) -> int:
    """Returns the first operation of the call that an operation is of: a call may be for many tensors."""
    while number and made[number - 1].sources is made[number].sources:
        number -= 1
    return number


class Update:
    """What a recorded step does to one weight once its gradients are there; it can be made again.

    Args:
        program: The step's.
        made: How its operations were called.
        kept: Operation and slot -> what stood there, for the first operation of each call.
        end: The operation that makes the weight's new numbers.
    """

    def __init__(
        self, program: Program, made: Sequence[Made], kept: Mapping[tuple[int, int], torch.Tensor], end: int
    ) -> None:
        self.program, self.end = program, end
        self._made, self._kept = made, kept
        self.operations = behind(program, end)
        self.users = consumers(program)

    def make(self, put: Mapping[int, torch.Tensor]) -> dict[int, torch.Tensor]:
        """Returns operation -> what it makes, where some are given in the place of what they would make."""
        results: dict[int, torch.Tensor] = {}
        for number in self.operations:
            results[number] = put[number] if number in put else self._call(number, results)
        return results

    def _call(self, number: int, results: Mapping[int, torch.Tensor]) -> torch.Tensor:
        made, first = self._made[number], first_of_call(self._made, number)
        many = made.function._schema.name.startswith(("aten::_foreach_", "aten::_fused_"))

        def fill(leaf: Any) -> Any:
            if not isinstance(leaf, Slot):
                return leaf
            source = made.sources[leaf.place].made
            taken = None if source is None else results.get(source)
            return (
                self._kept[first, leaf.place] if taken is None else taken
            ).clone()  # some calls write on what they take

        args, place = made.args, number - first
        if many:
            count = max((len(arg) for arg in args if isinstance(arg, list | tuple)), default=1)
            own = [[arg[place % count]] if isinstance(arg, list | tuple) and len(arg) == count else arg for arg in args]
            args, place = tuple(own), place // count
        args, kwargs = tree_map(fill, (args, dict(made.kwargs)))
        with torch.no_grad():
            result = made.function(*args, **kwargs)
        written = written_by(made.function, args, kwargs)
        leaves = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        shown = {id(leaf) for leaf in leaves}
        found = (written or leaves) if many else [*leaves, *(each for each in written if id(each) not in shown)]
        return found[place]


def places_apart(port: Update, reference: Update, turn: Turn) -> list[Parting]:
    """Returns the places at which two updates part, in order; none where what they are cannot be told apart.

    At each, the port's numbers are given to the reference, and the comparison goes on. Told are the operations of
    either side that part first, and those whose results take each other's place.

    Args:
        port: The port's.
        reference: The reference's, of the same weight, gradient and state.
        turn: Lays a tensor of the port as the reference has it.
    """
    tensors, given = port.make({}), outside(reference)
    ours = {number: value_of(tensor) for number, tensor in tensors.items()}
    held = Known.of(list(ours.values()), factor=LOOSE)
    made = reference.make({})
    wanted = turn(tensors[port.end], made[reference.end].shape)
    put: dict[int, torch.Tensor] = {}
    found: list[Parting] = []
    while not agree(made[reference.end], wanted):
        theirs = {number: value_of(tensor) for number, tensor in made.items()}
        known = Known.of([*theirs.values(), *given], factor=LOOSE)
        foreign = [n for n in port.operations if not known.holds(ours[n]) and not port.program[n].reshapes]
        own = [n for n in reference.operations if not held.holds(theirs[n]) and not reference.program[n].reshapes]
        alike = list(twins(port, reference, own))
        for end, at in [*alike, *pairs_by_size(ours, reference, foreign or [port.end], own or [reference.end])]:
            trial = {**put, at: turn(tensors[end], made[at].shape)}
            again = reference.make(trial)
            further = leads_further(port, ours, foreign, end, again, at)
            further = further or ((end, at) in alike and comes_back(reference, held, own, again, at))
            if further or agree(again[reference.end], wanted):
                break
        else:
            return []
        found.append(
            Parting(port=told(port.program, foreign, end), reference=told(reference.program, own, at)),
        )
        put, made = trial, again
        if len(found) == MOST_PLACES:
            break
    return found


def agree(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Tells whether two tensors are the same up to the rounding of an update: by their numbers, not by sums of them."""
    scale = float(other.abs().max()) if other.numel() else 0.0
    return bool((one - other).abs().max() <= ROUNDING.factor * torch.finfo(other.dtype).eps * scale)


def leads_further(
    port: Update,
    ours: Mapping[int, Value],
    foreign: Sequence[int],
    end: int,
    again: Mapping[int, torch.Tensor],
    at: int,
) -> bool:
    """Tells whether the reference, given one of the port's numbers, makes one that the port makes of it."""
    later = Known.of([value_of(tensor) for number, tensor in again.items() if number > at], factor=LOOSE)
    own = Known.of([ours[end]], factor=LOOSE)
    users = made_of(end, port.users).intersection(foreign) - {port.end}
    return any(later.holds(ours[number]) and not own.holds(ours[number]) for number in users)


def comes_back(reference: Update, held: Known, own: Sequence[int], again: Mapping[int, torch.Tensor], at: int) -> bool:
    """Tells whether the reference, given one of the port's numbers, makes of it what the port has, and it had not."""
    return any(held.holds(value_of(again[n])) for n in made_of(at, reference.users).intersection(own))


def twins(port: Update, reference: Update, own: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yields operations of one name that take the same tensors, and different numbers: a constant is another there."""
    first = [at for at in own if not any(source.made in own for source in reference.program[at].sources)]
    for at in first:
        theirs = tensors_of(reference.program[at])
        for end in port.operations:
            mine = tensors_of(port.program[end])
            if port.program[end].name.strip("_") == reference.program[at].name.strip("_") and theirs:
                pairs = zip(mine, theirs, strict=False)
                if len(mine) == len(theirs) and all(Known.of([one]).holds(other) for one, other in pairs):
                    yield end, at


def tensors_of(operation: Operation) -> list[Value]:
    """Returns what an operation takes, without single numbers."""
    return [source.value for source in operation.sources if source.value.size > 1]


def pairs_by_size(
    ours: Mapping[int, Value], reference: Update, foreign: Sequence[int], own: Sequence[int]
) -> Iterator[tuple[int, int]]:
    """Yields operations of the port beside those of the reference that make as many numbers, the first ones first."""
    pairs = [
        (place + other, end, at)
        for place, end in enumerate(foreign)
        for other, at in enumerate(own)
        if ours[end].size == reference.program[at].value.size
    ]
    tried = [(end, at) for _, end, at in sorted(pairs)[:MOST_TRIED]]
    yield from tried
    if foreign and own and (foreign[-1], own[-1]) not in tried:
        yield foreign[-1], own[-1]


def told(program: Program, foreign: Sequence[int], end: int) -> list[Operation]:
    """Returns what is said of a place: its end, and the operations behind it that part first."""
    unknown, waiting = {*foreign, end}, [end]
    first, seen = {end}, set()
    while waiting:
        number = waiting.pop()
        seen.add(number)
        before = {source.made for source in program[number].sources if source.made in unknown}
        waiting += before - seen
        first |= set() if before else {number}
    return [program[end], *(program[n] for n in sorted(first - {end}))]


def outside(update: Update) -> list[Value]:
    """Returns what an update takes from before it: weights, gradients, state, numbers."""
    own = set(update.operations)
    return [source.value for n in own for source in update.program[n].sources if source.made not in own]

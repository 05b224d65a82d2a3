"""Tries a piece of a step: what it reads, what it changes, whether it repeats itself. Leaves nothing behind."""

import copy
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch

from birdplane_keras.torch_plugin.agreement import require_same, same_bits
from birdplane_keras.torch_plugin.departures import Departures
from birdplane_keras.torch_plugin.errors import NotTraceableError, StateChangedError, TooLargeError
from birdplane_keras.torch_plugin.guards import Guards
from birdplane_keras.torch_plugin.journal import Journal, TorchRandomState
from birdplane_keras.torch_plugin.places import Change, Names, Place, Reading, Whole, put_back
from birdplane_keras.torch_plugin.private_keras import global_seed, has_global_seed, set_global_seed
from birdplane_keras.torch_plugin.reads import Reads

Outputs = list[torch.Tensor | None]
Function = Callable[..., Outputs]


class Trial:
    """Runs of one function from one state.

    Args:
        function: From the inputs to a flat list of tensors; `None` stays `None`. It may write tensors in place.
        inputs: Tensors.
        roots: Objects that are there before the function runs.
        given: Containers of the inputs.
        most_calls: ATen calls of a run beyond which it is not tried further.
        numbers_may_leave: Whether it may take numbers out of tensors: what stands in for it takes them again each time.
    """

    def __init__(
        self,
        function: Function,
        inputs: Sequence[torch.Tensor],
        roots: Sequence[Any] = (),
        given: Sequence[Any] = (),
        most_calls: float = float("inf"),
        *,
        numbers_may_leave: bool = False,
    ) -> None:
        self._numbers_may_leave = numbers_may_leave
        self.function, self.inputs = function, inputs
        self._roots, self._given = [function, *roots, global_seed()], given
        self._random_state = TorchRandomState()
        self._reads: list[Reads] = []
        self.kept: list[tuple[Place, Any]] = []
        self.first: list = []
        self.first_written: list = []
        self.seen = Journal()
        self.state: list[torch.Tensor] = []
        self.guards = Guards({})
        self.most_calls = most_calls

    def whole(self, *inputs: torch.Tensor) -> Outputs:
        """Runs the function; returns its outputs and the tensors that it leaves somewhere."""
        return [*self.function(*inputs), *[place.now(key) for place, key in self.kept]]

    def undo(self) -> None:
        """Puts Python's state back to what it was before the first run."""
        while self._reads:
            put_back(self._reads.pop().to_put_back())

    def attempt(self, function: Callable) -> tuple[list, list, Journal]:
        """Runs a function and takes back what it writes, in tensors and in known places.

        Returns:
            Copies of its outputs, copies of the tensors that it wrote, and the journal.
        """
        try:
            return self._attempt(function)
        finally:
            if self._reads:
                put_back(self._reads[-1].to_put_back())

    def run_without_numbers(self, function: Callable) -> None:
        """Runs a function that writes no tensor that has numbers; takes back what it changes in known places.

        Raises:
            NotTraceableError: It changes one that it does not change otherwise: it leaves a size there.
        """
        try:
            function()
            for place, key, *_ in self._changes():
                if (place, key) not in self.kept:
                    raise NotTraceableError(f"the step leaves a size in Python state: {place.name(key)}")
        finally:
            if self._reads:
                put_back(self._reads[-1].to_put_back())

    def _attempt(self, function: Callable, reads: Reads | None = None) -> tuple[list, list, Journal]:
        journal = Journal()
        try:
            if reads is None:
                with journal:
                    outputs = list(function(*self.inputs))
            else:
                departures = Departures()
                watch = nullcontext() if self._numbers_may_leave else departures
                try:
                    with journal, watch, reads:
                        outputs = list(function(*self.inputs))
                finally:  # also where the code around it caught what they raised, or Keras put it in other words
                    reads.check()
                    departures.check()
                self._find_kept(reads, journal)
            kept = [None if output is None else output.detach().clone() for output in outputs]
            kept += [place.now(key).detach().clone() for place, key in self.kept if reads is not None]
        finally:
            journal.roll_back()
            if journal.draws:
                self._random_state.restore()
        return kept, list(journal.after.values()), journal

    def observe(self) -> None:
        """Runs the function twice, and sees what it reads and changes.

        Raises:
            NotTraceableError: A replay could not do what it does.
            StateChangedError: It makes what it keeps at its first call only.
            TooLargeError: It makes more ATen calls than are to be tried.
        """
        had_global_seed = has_global_seed()
        first, first_written, seen = self._observed()
        if has_global_seed() and not had_global_seed:
            set_global_seed(None)
            raise StateChangedError("it makes Keras' global seed generator")
        if seen.calls > self.most_calls:
            raise TooLargeError(seen.calls)
        first = first[: len(first) - len(self.kept)]
        made = seen.survivors()
        second, second_written, seen_again = self._observed()
        if made & seen_again.outside.keys():
            raise StateChangedError("its first call makes tensors that it keeps")
        changes = [change for change in self._changes() if (change[0], change[1]) not in self.kept]
        if changes:
            place, key, *_ = changes[0]
            raise NotTraceableError(f"the step itself changes Python state: {place.name(key)}")
        again = second[: len(second) - len(self.kept)]
        require_same("the step gives different results", (first, first_written), (again, second_written))
        given = {id(tensor) for tensor in self.inputs}
        self.first, self.first_written, self.seen = second, second_written, seen
        self.state = [each for key, each in seen.outside.items() if key in seen_again.outside and key not in given]
        require_equal_constants(seen, seen_again, given)
        self._guard()
        put_back(self._reads[-1].to_put_back())

    def _observed(self) -> tuple[list, list, Journal]:
        reads = Reads(self._roots, self._given)
        self._reads.append(reads)
        return self._attempt(self.function, reads)

    def _find_kept(self, reads: Reads, journal: Journal) -> None:
        """Finds the places in which the run left tensors of its own, and whose former tensors it did not read."""
        self.kept = []
        for place, key, before, now in self._changes_of(reads):
            single = isinstance(place, Names) or not isinstance(place, Whole)
            was_read = isinstance(before, torch.Tensor) and id(before) in journal.outside
            if single and isinstance(now, torch.Tensor) and journal.has_made(now) and not was_read:
                self.kept.append((place, key))

    def _changes(self) -> list[Change]:
        return self._changes_of(self._reads[-1])

    def _changes_of(self, reads: Reads) -> list[Change]:
        earlier = self._reads[0].alive if len(self._reads) > 1 else {}
        return [change for place in reads.lasting(earlier).values() for change in place.changes()]

    def _guard(self) -> None:
        first, second = self._reads
        hidden = [
            words for key, (_, words) in second.unrooted.items() if key in first.unrooted and key not in second.rooted
        ]
        if hidden:
            raise NotTraceableError(f"it comes by {hidden[0]} in a way that cannot be watched")
        seed = global_seed()
        if seed is not None and second.looked_at(seed):
            second.places["global seed",] = Reading(global_seed, set_global_seed, "Keras' global seed generator")
            second.owners["global seed",] = 0
        places = {key: guarded(place, self.kept) for key, place in second.lasting(first.alive).items()}
        self.guards = Guards(places, self.state)
        for tensor in self.state:
            if not self.guards.holds(tensor):
                shape = f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
                raise NotTraceableError(f"it reads a tensor ({shape}) that no object that it reads holds")
        if any(self.guards.holds(tensor) for tensor in self.inputs):
            raise NotTraceableError("a tensor of the batch is one that the model holds, too")


def guarded(place: Place, kept: list[tuple[Place, Any]]) -> Place:
    """Returns a copy of a place without what each step leaves there again."""
    left = {key for each, key in kept if each is place}
    guard = copy.copy(place)
    guard.before = {key: value for key, value in place.before.items() if key not in left}
    return guard


def require_equal_constants(first: Journal, second: Journal, given: set[int]) -> None:
    """Makes sure that tensors which Python makes again at each run hold the same numbers each time."""
    fresh = [
        [tensor for key, tensor in one.outside.items() if key not in other.outside and key not in given]
        for one, other in ((first, second), (second, first))
    ]
    same = len(fresh[0]) == len(fresh[1]) and all(map(same_bits, *fresh))
    if not same:
        raise NotTraceableError("it makes tensors from Python or NumPy numbers that differ from step to step")

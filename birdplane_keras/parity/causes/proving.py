"""Puts operations of the port into the reference until it computes what the port does: the proof of a cause.

A search by proof, not by a list: the operations come from the port's own program.
"""

import contextlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from birdplane_keras.parity.causes.case import Case
from birdplane_keras.parity.causes.hypothesis import Change
from birdplane_keras.parity.causes.search import SLACK, closeness
from birdplane_keras.parity.core.records import Probe
from birdplane_keras.parity.private_torch import tree_leaves
from birdplane_keras.parity.programs.alignment import Known
from birdplane_keras.parity.programs.layouts import Layout, layouts
from birdplane_keras.parity.programs.numbered import At, Calls, Seen, calls_of, put
from birdplane_keras.parity.programs.program import FORWARD, Source, Value
from birdplane_keras.parity.programs.recording import record_calls
from birdplane_keras.parity.programs.regions import Region, consumers, is_cut, region_to, weights_behind
from birdplane_keras.parity.programs.replaying import Again, NotReplayedError, OtherOrderError, Replay, with_rows
from birdplane_keras.parity.sides.keras_run import batch_of
from birdplane_keras.parity.sides.steps import read_rung
from birdplane_keras.parity.sides.torch_run import TorchRun

MOST_TRIED = 60  # pairs of a value of the port and a result of the reference, for one region
MOST_LAYOUTS = 4  # ways to lay the end of a region as the reference has it
MOST_ORDERS = 8  # values of a region that turn out to lie in another order


class Port:
    """The port's first step: its program, and what its operations took, once that is asked for.

    Args:
        case: What is to be explained.
    """

    def __init__(self, case: Case) -> None:
        self._case, self.rows = case, case.plan[0]
        self.recording = record_calls(case.bench.port(), self.rows)
        self.program = self.recording.program()
        self.users = consumers(self.program)
        self.kept: dict[tuple[int, int], torch.Tensor] = {}

    @cached_property
    def calls(self) -> list[Again]:
        """How each operation was called, with what depends on the number of examples."""
        fewer = self.rows[: max(1, len(self.rows) // 4 * 2)]  # even: some kernels for others write where they must not
        other = None
        if len(fewer) < len(self.rows):
            with contextlib.suppress(Exception):  # a model that takes so many examples and no others
                other = record_calls(self._case.bench.port(), fewer).made
        return with_rows(self.recording.made, other, len(self.rows), len(fewer))

    def examples(self, rows: np.ndarray) -> list[torch.Tensor]:
        """Returns what the port is given for the examples of some numbers."""
        host = self._case.bench.host
        given = batch_of(host, *host.examples.take(rows))
        return [leaf for leaf in tree_leaves(given) if isinstance(leaf, torch.Tensor)]

    def keep(self, places: Collection[tuple[int, int]]) -> None:
        """Makes the step again, and keeps what stood at some places: of operations, in their slots.

        Raises:
            NotReplayedError: The step was not the same again.
        """
        if all(place in self.kept for place in places):
            return
        again = record_calls(self._case.bench.port(), self.rows, {number for number, _ in places})
        if [made.function for made in again.made] != [made.function for made in self.recording.made]:
            raise NotReplayedError("the port makes other operations each time")
        self.kept |= again.kept


@dataclass(frozen=True, kw_only=True)
class Stand:
    """A region of the port that stands in the place of a result of the reference.

    Args:
        seen: The result.
        replay: Makes the region in the reference.
        complete: Whether the rung then agrees.
        gained: How many of the port's values behind it the reference then has.
        search: Which found it.
    """

    seen: Seen
    replay: Replay
    complete: bool
    gained: int
    search: "Search"

    def equals(self, change: Change) -> bool:
        """Tells whether a change of the reference lets it make as many of the port's values behind the place."""
        return self.search.gained(change, self.seen, self.replay.region.end) >= self.gained

    def change(self, run: TorchRun) -> None:
        """Puts it into a run of the reference."""
        install(run, self.seen.at, self.replay)


def install(run: TorchRun, at: At, replay: Replay) -> None:
    """Puts a region in the place of a result of a run; the first run binds it, on the batch on which it is known."""
    put(run, at, replay, [place for places in replay.candidates.values() for place in places])


class Search:
    """Looks for the region of the port by which the reference computes what the port does.

    Args:
        case: What is to be explained.
        port: Its first step.
        foreign: The port's operations behind what differs that the reference does not make.
        values: What the reference's own operations hold that gradients part behind.
    """

    def __init__(
        self,
        case: Case,
        port: Port,
        foreign: Sequence[int],
        values: Sequence[Value] = (),
    ) -> None:
        self.case, self.port, self.rung = case, port, case.rung
        self.foreign = [n for n in foreign if port.program[n].phase == FORWARD]
        known = Known.of(values)
        self.behind = [o.behind for o in port.program if o.number in set(foreign) and o.behind is not None]
        self.behind += [o.number for o in port.program if o.phase == FORWARD and values and known.holds(o.value)]
        self.seen = self._look()
        self.apart: set[tuple[int, int]] = set()  # sources of the port that the reference has in another order
        self._known = [(each, Known.of([each.value])) for each in self.seen]
        self._port = Known.of([operation.value for operation in port.program])

    def _look(self) -> list[Seen]:
        run = self.case.changed_run()
        seen = calls_of(run).seen = []
        list(read_rung(run, self.port.rows, "loss"))
        return seen

    def find(self) -> Stand | None:
        """Returns the first that explains the rung, or after which some of what comes behind it agrees."""
        tried = 0
        for seen, end in self.pairs():
            if tried >= MOST_TRIED or self.case.budget.spent:
                break
            for stand in self._stands(seen, end):
                tried += 1
                if stand.complete or stand.gained:
                    return stand
        return None

    def stand_for(self, value: Value, end: int) -> Stand | None:
        """Returns an operation of the port in the place of the result that holds a value; `None` where it is not so."""
        known = Known.of([value])
        for seen in self.seen:
            if not seen.at.taken and known.holds(seen.value):
                return next(self._stands(seen, end), None)
        return None

    def in_another_order(self) -> set[int]:
        """Returns the port's operations whose numbers the reference has in another order only."""
        made = [self.port.recording.made[number].sources[slot].made for number, slot in self.apart]
        return {number for number in made if number is not None}

    def pairs(self) -> Iterator[tuple[Seen, int]]:
        """Yields results of the reference and operations of the port that may stand in their place, likeliest first."""
        if self.rung == "gradients":
            yield from self._cuts()
            return
        first = Known.of([s.value for n in self.foreign for s in self.port.program[n].sources])
        theirs = [
            each
            for each in self.seen  # what the port has, too, may be where it goes on otherwise
            if not each.at.taken and (not self._port.holds(each.value) or first.holds(each.value))
        ]
        ours = [n for n in self.foreign if not self.port.program[n].reshapes]
        names = self._weights_after(theirs)
        found = []
        for rank, seen in enumerate(theirs):
            for other, end in enumerate(ours):
                if seen.value.size == self.port.program[end].value.size and not seen.value.whole:
                    behind = weights_behind(self.port.program, end, self.port.users)
                    shared = {part for name in behind for part in self._parts(name)} & names[seen.at]
                    found.append((0 if shared else 2 if behind or names[seen.at] else 1, rank + other, rank, seen, end))
        yield from ((seen, end) for *_, seen, end in sorted(found, key=lambda each: each[:3]))

    def _parts(self, name: str) -> Sequence[str]:
        match = self.case.bench.host.view.matches.get(name)
        return () if match is None else match.torch

    def _weights_after(self, theirs: Sequence[Seen]) -> dict[At, set[str]]:
        """Returns for each result the weights that the calls which take it take, too."""
        after: dict[At, set[str]] = {each.at: set() for each in theirs}
        for each in reversed(self.seen):
            for source in each.sources:
                if source in after:
                    after[source] |= after.get(each.at, set()) if each.shows else each.weights
        return after

    def _cuts(self) -> Iterator[tuple[Seen, int]]:
        """Yields equal values of both sides that gradients may leave by different ways: those near where they part."""
        program, behind = self.port.program, set(self.behind)
        cut = [
            o.number
            for o in program
            if o.phase == FORWARD and not o.reshapes and any(is_cut(program, source.made) for source in o.sources)
        ]
        ours = dict.fromkeys([*behind, *cut])
        ours |= dict.fromkeys(user for n in list(ours) for user in self.port.users.get(n, ()))
        theirs = [each for each in self.seen if not each.at.taken and not each.value.whole]
        for number in ours:
            if program[number].phase != FORWARD or program[number].reshapes:
                continue
            known = Known.of([program[number].value])
            yield from ((seen, number) for seen in theirs if known.holds(seen.value))

    def _stands(self, seen: Seen, end: int) -> Iterator[Stand]:
        """Yields what comes of an operation of the port in the place of a result, laid out as the shapes allow."""
        for lay_out in self._layouts(seen, end):
            for _ in range(MOST_ORDERS):
                try:
                    yield self._try(seen, end, lay_out)
                except OtherOrderError as error:
                    self.apart.add((error.number, error.slot))
                    continue
                except Exception:  # whatever operations raise on numbers that they were not made for
                    return
                break

    def _layouts(self, seen: Seen, end: int) -> list[Layout]:
        found = layouts(self.port.program[end].value.shape, seen.value.shape)
        return [layout for layout, _ in zip(sorted(found, key=self._unlikely), range(MOST_LAYOUTS), strict=False)]

    def _unlikely(self, layout: Layout) -> int:
        """As channels move from one end to the other is likelier than any other exchange of axes."""
        rank = len(layout.axes)
        if rank > 2 and layout.axes == (0, rank - 1, *range(1, rank - 1)):
            return 0
        return 1 if layout.axes == tuple(range(rank)) else 2

    def _try(self, seen: Seen, end: int, lay_out: Layout) -> Stand:
        region, candidates = self._region(seen, end)
        self.port.keep(region.inputs)
        replay = Replay(
            region=region,
            calls=self.port.calls,
            kept=self.port.kept,
            rows=len(self.port.rows),
            candidates=candidates,
            matches=self.case.bench.host.view.matches,
            lay_out=lay_out,
            examples=self.port.examples,
        )
        run = self.case.changed_run()
        install(run, seen.at, replay)
        calls = calls_of(run)
        calls.seen = []
        probe = Probe.of(read_rung(run, self.port.rows, self.rung))
        complete = closeness(self.rung, self.case.port, probe, self.case.climb.noise) <= SLACK
        gained = 0 if complete else self._gained(calls, seen, end)
        return Stand(seen=seen, replay=replay, complete=complete, gained=gained, search=self)

    def gained(self, change: Change, seen: Seen, end: int) -> int:
        """Returns how many of the port's values behind a place the reference makes once it is changed; 0: it cannot."""
        run = self.case.changed_run()
        try:
            change(run)
            calls = calls_of(run)
            calls.seen = []
            list(read_rung(run, self.port.rows, self.rung))
        except Exception:  # whatever a change that does not fit makes the reference raise
            return 0
        return self._gained(calls, seen, end)

    def _region(self, seen: Seen, end: int) -> tuple[Region, dict[tuple[int, int], list[At]]]:
        def places(source: Source) -> list[At]:
            return [each.at for each, known in self._known if before(each.at, seen.at) and known.holds(source.value)]

        apart = {id(self.port.recording.made[number].sources[slot]) for number, slot in self.apart}

        def at_hand(source: Any) -> bool:
            return id(source) not in apart and bool(places(source))

        region = region_to(self.port.program, [made.sources for made in self.port.recording.made], end, at_hand)
        if region is None:
            raise NotReplayedError("too many operations")
        return region, {(n, slot): places(self.port.recording.made[n].sources[slot]) for n, slot in region.inputs}

    def _gained(self, calls: Calls, seen: Seen, end: int) -> int:
        """Counts what the reference now has of the port's values behind the end, but for those that only show it."""
        later = [each.value for each in calls.seen or () if each.at.call > seen.at.call]
        known = Known.of(later, factor=16.0)
        own = self.port.program[end].value
        values = [self.port.program[n].value for n in self.foreign if n > end and not self.port.program[n].reshapes]
        return sum(known.holds(value) for value in values if not same(value, own))


def before(one: At, other: At) -> bool:
    """Whether a tensor is met before another stands for what its call returns: that itself is."""
    return one.call < other.call or one == other or (one.call == other.call and one.taken)


def same(one: Value, other: Value) -> bool:
    """Whether two values hold the same numbers."""
    return one.size == other.size and np.array_equal(one.statistics, other.statistics)

"""Puts operations of the port into the reference until it computes what the port does: the proof of a cause.

A search by proof, not by a list: the operations come from the port's own program.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from birdplane_keras.parity.causes.case import Case
from birdplane_keras.parity.causes.hypothesis import Change
from birdplane_keras.parity.causes.pairing import alike, before, likely_layouts, same, weights_after
from birdplane_keras.parity.causes.port_step import PortStep
from birdplane_keras.parity.causes.search import COARSE, ROUNDED_ALIKE, SLACK, closeness
from birdplane_keras.parity.causes.stand import Stand
from birdplane_keras.parity.core.records import Probe
from birdplane_keras.parity.programs.alignment import Known
from birdplane_keras.parity.programs.layouts import Layout
from birdplane_keras.parity.programs.numbered import At, Calls, Seen, calls_of
from birdplane_keras.parity.programs.program import FORWARD, Source, Value
from birdplane_keras.parity.programs.regions import Region, is_cut, made_of, region_to, weights_behind
from birdplane_keras.parity.programs.replaying import NotReplayedError, Replay, other_order
from birdplane_keras.parity.sides.steps import read_rung

MOST_TRIED = 60  # pairs of a value of the port and a result of the reference, for one region
ALIKE = 8  # places nearer are two of one name
LOOSE = 16.0  # times the usual distance: a changed reference rounds otherwise
MOST_WITHIN = 12  # pairs within a region that explains a part, or before it
MOST_ORDERS = 8  # values of a region that turn out to lie in another order


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
        port: PortStep,
        foreign: Sequence[int],
        values: Sequence[Value] = (),
    ) -> None:
        self.case, self.port, self.rung = case, port, case.rung
        self.foreign = [n for n in foreign if port.program[n].phase == FORWARD]
        known = Known.of(values)
        self.behind = [o.behind for o in port.program if o.number in set(foreign) and o.behind is not None]
        self.behind += [o.number for o in port.program if o.phase == FORWARD and values and known.holds(o.value)]
        self.seen = self._look()
        self._known = Known.of([each.value for each in self.seen])
        self._sought = self._lacking()
        self._before = closeness(case.rung, case.port, case.reference, case.climb.noise)
        self._port = Known.of([operation.value for operation in port.program if operation.phase == FORWARD])

    def _lacking(self) -> list[int]:
        """Returns the port's operations whose values the reference has not."""
        before, program = Known.of([each.value for each in self.seen], factor=LOOSE), self.port.program
        return [n for n in self.foreign if not program[n].reshapes and not before.holds(program[n].value)]

    def _look(self) -> list[Seen]:
        run = self.case.changed_run()
        seen = calls_of(run).seen = []
        list(read_rung(run, self.port.rows, "loss" if self.case.pair.trains else "forward"))
        return seen

    def find(self) -> Stand | None:
        """Returns the first that explains the rung, or after which some of what comes behind it agrees."""
        tried = 0
        pairs = list(self.pairs())
        for place, (seen, end) in enumerate(pairs):
            if tried >= MOST_TRIED or self.case.budget.spent:
                break
            for stand in self._stands(seen, end):
                tried += 1
                if stand.complete or stand.gained:
                    return self._within(stand, pairs[place + 1 :])
        return None

    def _within(self, stand: Stand, pairs: Sequence[tuple[Seen, int]]) -> Stand:
        """Returns what explains more than a region: a part of it, or the same in the place of an earlier result.

        Its result may be one of several of the same value. What was tried before explains nothing.
        """
        region = set(stand.replay.region.operations)
        last = stand.replay.region.end  # which reaches the result as it is may go elsewhere, too
        region -= {last} if stand.complete else set()
        inner = [(seen, end) for seen, end in pairs if end in region and seen.at.call < stand.seen.at.call]
        inner.sort(key=lambda pair: pair[1] != last)
        best = stand
        for seen, end in inner[:MOST_WITHIN]:
            if self.case.budget.spent:
                break
            for other in self._stands(seen, end):
                if other.complete:
                    return other
                best = max(best, other, key=lambda each: each.gained)
        return best

    def port_has(self, value: Value) -> bool:
        """Whether a value is one of the port's, too."""
        return self._port.holds(value)

    def stand_for(self, value: Value, end: int) -> Stand | None:
        """Returns an operation of the port in the place of the result that holds a value; `None` where it is not so."""
        known = Known.of([value])
        for seen in self.seen:
            if not seen.at.taken and known.holds(seen.value):
                return next(self._stands(seen, end), None)
        return None

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
        names = weights_after(self.seen, theirs)
        behind = {end: self._weights_behind(end) for end in ours}
        found = []
        for rank, seen in enumerate(theirs):
            for other, end in enumerate(ours):
                made = self.port.program[end]
                if seen.value.size == made.value.size and not seen.value.whole and not made.value.whole:
                    shared = behind[end] & names[seen.at]
                    likely = 0 if shared else 2 if behind[end] or names[seen.at] else 1
                    far = rank + other - (ALIKE if alike(seen.name, made.name) else 0)
                    found.append((likely, far, rank, seen, end))
        yield from ((seen, end) for *_, seen, end in sorted(found, key=lambda each: each[:3]))

    def _weights_behind(self, end: int) -> set[str]:
        """Returns the weights that the operations which take a value of the port take, too, as PyTorch calls them."""
        matches = self.case.bench.host.view.matches
        names = weights_behind(self.port.program, end, self.port.users)
        return {part for name in names if name in matches for part in matches[name].torch}

    def _cuts(self) -> Iterator[tuple[Seen, int]]:
        """Yields equal values that gradients may leave by other ways: cuts first, then those near where they part."""
        program, behind = self.port.program, set(self.behind)
        cut = [
            o.number
            for o in program
            if o.phase == FORWARD and not o.reshapes and any(is_cut(program, source.made) for source in o.sources)
        ]
        taken = {source.made for o in program for source in o.sources}  # autograd detaches what it saves for itself
        cuts = [o.number for o in program if o.phase == FORWARD and o.cuts and o.number in taken]
        ours = dict.fromkeys([*cuts, *behind, *cut])
        ours |= dict.fromkeys(user for n in list(ours) for user in self.port.users.get(n, ()))
        theirs = [each for each in self.seen if not each.at.taken and not each.value.whole]
        for number in ours:
            if program[number].phase != FORWARD or (program[number].reshapes and not program[number].cuts):
                continue
            known = Known.of([program[number].value])
            yield from ((seen, number) for seen in theirs if known.holds(seen.value))

    def _stands(self, seen: Seen, end: int) -> Iterator[Stand]:
        """Yields what comes of an operation of the port in the place of a result, laid out as the shapes allow."""
        for lay_out in likely_layouts(self.port.program[end].value.shape, seen.value.shape):
            apart: set[tuple[int, int]] = set()  # sources of the port that the reference has in another order
            for _ in range(MOST_ORDERS):
                try:
                    yield self._try(seen, end, lay_out, apart)
                except Exception as error:  # whatever operations raise on numbers that they were not made for
                    other = other_order(error)
                    if other is None:
                        return
                    apart.add((other.number, other.slot))
                    continue
                break

    def _try(self, seen: Seen, end: int, lay_out: Layout, apart: Collection[tuple[int, int]]) -> Stand:
        region, candidates = self._region(seen, end, apart)
        self.port.keep(region)
        replay = Replay(
            region=region,
            calls=self.port.calls,
            kept=self.port.kept,
            rounded=self.port.rounded,
            batch=self.port.rows,
            candidates=candidates,
            matches=self.case.bench.host.view.matches,
            lay_out=lay_out,
            examples=self.port.examples,
        )
        run = self.case.changed_run()
        replay.put(run, seen.at)
        calls = calls_of(run)
        calls.seen = []
        probe = Probe.of(read_rung(run, self.port.rows, self.rung))
        coarse = any(self.port.program[number].value.half for number in region.operations)
        allowed = max(SLACK, self._before / COARSE) if coarse and self.rung not in ROUNDED_ALIKE else SLACK
        complete = closeness(self.rung, self.case.port, probe, self.case.climb.noise) <= allowed
        made = [self.port.recording.made[number].sources[slot].made for number, slot in apart]
        return Stand(
            seen=seen,
            replay=replay,
            complete=complete,
            gained=0 if complete else self._gained(calls, seen, end),
            coarse=coarse,
            apart={number for number in made if number is not None},
            search=self,
        )

    def gained(self, change: Change, seen: Seen, end: int) -> int | None:
        """Returns how many of the port's values behind a place a changed reference makes; `None`: not even its end."""
        run = self.case.changed_run()
        try:
            change(run)
            calls = calls_of(run)
            calls.seen = []
            list(read_rung(run, self.port.rows, self.rung))
        except Exception:  # whatever a change that does not fit makes the reference raise
            return None
        made = Known.of([each.value for each in calls.seen], factor=LOOSE)
        return self._gained(calls, seen, end) if made.holds(self.port.program[end].value) else None

    def _region(
        self, seen: Seen, end: int, apart: Collection[tuple[int, int]]
    ) -> tuple[Region, dict[tuple[int, int], list[At]]]:
        def places(source: Source) -> list[At]:
            found = [self.seen[place].at for place in self._known.where(source.value)]
            return [at for at in found if before(at, seen.at)]

        others = {id(self.port.recording.made[number].sources[slot]) for number, slot in apart}

        def at_hand(source: Any) -> bool:
            return id(source) not in others and bool(places(source))

        region = region_to(self.port.program, [made.sources for made in self.port.recording.made], end, at_hand)
        if region is None:
            raise NotReplayedError("too many operations")
        return region, {(n, slot): places(self.port.recording.made[n].sources[slot]) for n, slot in region.inputs}

    def _gained(self, calls: Calls, seen: Seen, end: int) -> int:
        """Counts what the reference now has of the port's values behind the end, and had not before.

        Only what is made of the end counts: others may be equal by chance.
        """
        known = Known.of([each.value for each in calls.seen or () if each.at.call > seen.at.call], factor=LOOSE)
        program, own = self.port.program, self.port.program[end].value
        later = [n for n in self._sought if n > end and not same(program[n].value, own)]
        behind = [n for n in later if known.holds(program[n].value)]
        return len(made_of(end, self.port.users).intersection(behind)) if behind else 0

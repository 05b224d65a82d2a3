"""From the rung that failed to the last one that the first steps show: every place at which the sides part, explained.

After each place the reference is changed so that it does there what the port does, and the comparison goes on.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from birdplane_keras.errors import first_line
from birdplane_keras.parity.causes.apart import ABOVE_AUTOGRAD, RUNGS
from birdplane_keras.parity.causes.case import Case
from birdplane_keras.parity.causes.evaluating import place_in_evaluation
from birdplane_keras.parity.causes.hypothesis import Change, Hypothesis
from birdplane_keras.parity.causes.parting import Place, find_place
from birdplane_keras.parity.causes.port_step import PortStep
from birdplane_keras.parity.causes.port_update import port_update
from birdplane_keras.parity.causes.search import (
    COARSE,
    ROUNDED_ALIKE,
    SLACK,
    Explanation,
    closeness,
    count_with_draws,
    rungs_from,
    search,
)
from birdplane_keras.parity.causes.stand import Stand
from birdplane_keras.parity.causes.supposing import suppose
from birdplane_keras.parity.causes.updating import Updating
from birdplane_keras.parity.core.records import STEP_RUNGS, Probe
from birdplane_keras.parity.programs.graph import Graph

MOST_PLACES = 6
LEAST = {"loss": 2, "gradients": 2, "first_update": 2}  # rungs that a known mistake must explain, from one on
NAMING = 0.2  # of the time that is left, to name a place that is explained
MOST_NAMES = 200  # known mistakes that are tried as a name for a place


@dataclass(frozen=True, kw_only=True)
class Told:
    """What is said of a place: each side's operations in words, `port` and `reference`, and what else is seen."""

    sides: Mapping[str, Sequence[str]]
    graph: Graph
    more: str = ""


@dataclass(frozen=True, kw_only=True)
class Found:
    """A place at which the sides part.

    Args:
        case: What was to be explained there: its rung first shows the place.
        place: What is seen there; `None` where nothing is.
        names: The known mistakes that it is; none where it is no known one.
        change: Lets the reference do what the port does; `None` where nothing was found that does.
        updates: Of a change of the whole update, where the updates part: one place or several.
    """

    case: Case
    place: Place | None
    names: Sequence[Hypothesis] = ()
    change: Change | None = None
    updates: Sequence[Told] = ()

    @property
    def told(self) -> Sequence[Told]:
        """What is said of it; nothing where nothing is seen."""
        return self.updates or ([] if self.place is None else [Told(sides=self.place.told, graph=self.place.graph)])

    @property
    def coarse(self) -> Sequence[str]:
        """The rungs at which the frameworks round differently, as something rounds to a half type there."""
        if any(name.coarse for name in self.names):
            return STEP_RUNGS
        stand = self.place is not None and self.place.stand is not None and self.place.stand.coarse
        return [rung for rung in STEP_RUNGS if stand and rung not in ROUNDED_ALIKE]


@dataclass(kw_only=True)
class Walk:
    """The places at which two programs part, in the order of the program, and what they explain together.

    Args:
        found: The places.
        explained: The rungs, from the one that failed on, at which the reference with all changes is the port.
        left: The first rung that they do not explain; `None` where there is none.
        unasked: Whether that is `evaluation`, and nothing else parts there: what a network then computes is not asked
            of operations that were seen in training.
    """

    found: list[Found] = field(default_factory=list)
    explained: list[str] = field(default_factory=list)
    left: str | None = None
    unasked: bool = False

    @property
    def proved(self) -> bool:
        """Whether all of what differs is explained."""
        return bool(self.explained) and (self.left is None or self.unasked)

    def may_be_of_training(self, found: Found) -> bool:
        """Whether a place in evaluation may be one at which operations of the port stand that were seen in training."""
        units = None if found.place is None else {*found.place.units}
        standing = [each.place for each in self.found if each.place is not None and not each.names]
        return any(units is None or not units.isdisjoint(place.units) for place in standing)


def walk(case: Case) -> Walk:
    """Returns every place at which the sides' first steps part that is found."""
    walked, port, here = Walk(left=case.rung), record_port(case), case
    rungs = list(rungs_from(case.rung))
    while walked.left is not None and len(walked.found) < MOST_PLACES and not (here.changes and case.budget.spent):
        if walked.left != here.rung:
            here = here.after(replace(case.failed, name=walked.left, place=None), here.changes, here.reference)
        found = explain_place(here, port)
        if found.change is None:
            walked.unasked = walked.left == "evaluation" and walked.may_be_of_training(found)
            walked.found += [] if walked.unasked else [found]
            break
        walked.found.append(found)
        changes = [*here.changes, found.change]
        changed = here.probe(changes)
        if changed is None:
            break
        here = here.after(here.failed, changes, changed)
        walked.left = left_of(case, changes, changed, [rung for each in walked.found for rung in each.coarse])
    explained = rungs if walked.left is None else rungs[: rungs.index(walked.left)]
    walked.explained = [rung for rung in explained if case.port.looked_at(rung)]
    return walked


def record_port(case: Case) -> PortStep | None:
    """Returns the port's first step as a program; `None` where it cannot be watched."""
    if case.rung not in RUNGS:
        return None
    try:
        return PortStep(case)
    except Exception as error:  # code that runs as it is, and not while it is watched
        case.untried.append(f"where the programs part could not be seen: {first_line(error)}")
        return None


def see_place(case: Case, port: PortStep | None, *, explain: bool = True) -> Place | None:
    """Returns where the programs part, and what explains it; `None` where that is not seen, or cannot be watched."""
    try:
        if case.rung == "evaluation":
            return place_in_evaluation(case)
        return None if port is None or case.rung not in RUNGS else find_place(case, port, explain=explain)
    except Exception as error:
        case.untried.append(f"where the programs part could not be seen: {first_line(error)}")
        return None


def explain_place(case: Case, port: PortStep | None) -> Found:
    """Returns where the port parts from the reference, as that was changed so far, and what explains it."""
    stands = case.rung in ABOVE_AUTOGRAD  # elsewhere a name is all that there is, and what takes the time first
    best = None if stands else search_names(case, None)
    place = see_place(case, port)
    stand = None if place is None else place.stand
    if stands:
        best = search_names(case, stand)
    further = 0 if best is None or stand is None else reach(case, stand.change)
    if best is not None and best.explained < least(case, best, stand, further):
        best = None  # too few numbers agree to name it by
    if best is None:
        name = None if stand is None or stand.complete else name_of(case, stand)
        names = () if name is None else name.members
        if stand is not None:
            everywhere = name is not None and stand.gains(name.change) > stand.gained  # it is made at other places, too
            change = name.change if name is not None and everywhere else stand.change
            return Found(case=case, place=place, names=names, change=change)
        update = whole_update(case)
        return Found(case=case, place=place) if update is None else found_update(case, place, update)
    steps = [rung for rung in rungs_from(case.rung) if rung in RUNGS]
    if stand is not None and min(further, len(steps)) > best.explained:
        return Found(case=case, place=place, change=stand.change)
    # A known mistake may be made for batches of one size; the port's own operations are made for all.
    change = stand.change if stand is not None and further > best.explained else best.hypothesis.change
    return Found(case=case, place=place, names=best.hypothesis.members, change=change)


def least(case: Case, best: Explanation, stand: Stand | None, further: int) -> int:
    """Returns how many rungs a known mistake must explain: no more than the port's own operations do, if they stand.

    Where something else differs at the next rung, too, nothing that is done here explains that. A loss is one number:
    there, the reference has to come to it by numbers that the port has, too.
    """
    usual = LEAST.get(case.rung, 1)
    if not further or (case.rung == "loss" and stand is not None and not stand.gains(best.hypothesis.change)):
        return usual
    return min(usual, further)


def found_update(case: Case, place: Place | None, change: Change) -> Found:
    """Returns the update as what parts the sides: every place of it at which it does, as far as that is seen."""
    updates: list[Told] = []
    try:
        updating = Updating(case)
        updates += [Told(sides=each.told, graph=each.graph, more=updating.describe(each)) for each in updating.places()]
    except Exception as error:  # code that runs as it is, and not while it is watched
        case.untried.append(f"where the updates part could not be seen: {first_line(error)}")
    return Found(case=case, place=place, change=change, updates=updates)


def whole_update(case: Case) -> Change | None:
    """Returns that the reference updates its weights as the port does, if it then computes all that the port does."""
    if case.rung not in ("first_update", "optimizer_state") or case.budget.spent:
        return None
    change = port_update(case)
    return change if reach(case, change) > list(rungs_from(case.rung)).index("optimizer_state") else None


def name_of(case: Case, stand: Stand) -> Hypothesis | None:
    """Returns the known mistake by which the reference gets as far as by the port's own operations."""
    budget = case.budget.part(NAMING)
    for hypothesis in case.supposed(suppose)[:MOST_NAMES]:
        if budget.spent:
            return None
        guessed = hypothesis.fitted or hypothesis.coarse or len(hypothesis.members) > 1
        if not guessed and may_name(hypothesis, stand) and stand.equals(hypothesis.change):
            return hypothesis
    return None


def may_name(hypothesis: Hypothesis, stand: Stand) -> bool:
    """Whether a known mistake may be what the port's operations do that stand for a result of the reference."""
    if hypothesis.coarse and not stand.coarse:
        return False
    if hypothesis.calls is None:
        return True
    names, places = hypothesis.calls
    calls = list(dict.fromkeys(seen.at.call for seen in stand.search.seen if seen.name in names))
    return any(calls.index(call) in places for call in stand.replaced if call in calls)


def search_names(case: Case, stand: Stand | None) -> Explanation | None:
    """Returns the known mistake, or the known mistakes together, that explain most rungs from the case's on.

    Where operations explain the place, a name is only a name: it may take a part of the time, as what comes behind
    wants some, too.
    """
    supposed = case.supposed(suppose)
    if stand is not None:
        supposed = [hypothesis for hypothesis in supposed if may_name(hypothesis, stand)]
    budget = case.budget if stand is None else case.budget.part(NAMING)
    unfit: dict[str, str] = {}  # cause -> the first mistake of it that this reference cannot make

    def try_it(hypothesis: Hypothesis, *, the_rung_alone: bool = False, nudge: int | None = None) -> Probe | None:
        until = case.rung if the_rung_alone else None
        made = case.probe([*case.changes, hypothesis.change], until, nudge=nudge)
        if made is None:
            unfit.setdefault(hypothesis.cause, hypothesis.text)
        return made

    found = search(case.rung, supposed, case.port, case.reference, case.climb.noise, try_it, budget)
    untried = found.describe_untried(round(budget.seconds))
    if untried and (found.best is None or found.best.explained < len(rungs_from(case.rung))):
        case.untried.append(untried)
    if found.best is None and unfit:
        case.untried.append(f"this reference cannot make these mistakes: {', '.join(unfit)}")
    return found.best


def reach(case: Case, change: Change) -> int:
    """Returns at how many rungs, from the case's on, the reference with one more change is the port."""
    changes = [*case.changes, change]
    changed = case.probe(changes)
    if changed is None:
        return 0
    left, rungs = left_of(case, changes, changed), list(rungs_from(case.rung))
    return len(rungs) if left is None else rungs.index(left)


def left_of(case: Case, changes: Sequence[Change], changed: Probe, coarse: Collection[str] = ()) -> str | None:
    """Returns the first rung, from the case's on, at which the port is not what a changed reference computes.

    At rungs at which it rounds coarsely, to come much nearer is enough.
    """

    def draw(nudge: int) -> Probe | None:
        return case.probe(changes, nudge=nudge)

    rungs = rungs_from(case.rung)
    noise, above = case.climb.noise, dict.fromkeys(rungs, SLACK)
    if coarse:
        apart = {rung: closeness(rung, case.port, case.reference, noise) for rung in rungs if rung in coarse}
        above |= {r: max(SLACK, distance / COARSE) for r, distance in apart.items() if np.isfinite(distance)}
    slack = above[case.rung]
    explained = count_with_draws(case.rung, case.port, changed, noise, slack, draw, case.budget, above)
    return None if explained == len(rungs) else rungs[explained]

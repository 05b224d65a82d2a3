"""Tries advice on the port before it is given: a fix counts as tried only if the rung then passes, or gets further."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from birdplane_keras.parity.causes.case import Case
from birdplane_keras.parity.causes.hypothesis import Advice, Repair
from birdplane_keras.parity.causes.search import SLACK, closeness
from birdplane_keras.parity.core.check import State
from birdplane_keras.parity.core.finding import Finding, Fix
from birdplane_keras.parity.core.first_steps import compare_probes
from birdplane_keras.parity.core.records import STEP_RUNGS, Probe

NOTHING = Fix(text="look at this place on both sides")
MOST_TRIED = 24  # changes of the port that are made at once


@dataclass(frozen=True, kw_only=True)
class Advised:
    """A cause with advice that was not tried yet."""

    cause: str
    rung: str
    text: str
    evidence: str
    advice: Sequence[Advice]

    def finding(self, *, helps: bool | None) -> Finding:
        """Returns the finding: whether the changes that could be made helped, `None` where none was made."""
        fixes = [
            Fix(text=advice.text, tried=advice.repair is not None and helps is True)
            for advice in self.advice
            if advice.repair is None or helps is not False
        ]
        unique = list({fix.text: fix for fix in fixes}.values())
        return Finding(
            cause=self.cause, rung=self.rung, text=self.text, evidence=self.evidence, fixes=tuple(unique) or (NOTHING,)
        )


def try_advice(case: Case, advised: Iterable[Advised], helps: Callable[[], bool]) -> list[Finding]:
    """Makes all changes that can be made in the port at once, and sees whether they help.

    All at once, since mistakes that only explain a difference together only pass together. What the port does without
    is left out then: with the rest alone it passes every rung of the first steps.

    Args:
        case: Has the port.
        advised: What to change.
        helps: Whether the port, as it then is, passes the rung that broke, or breaks later.
    """
    told = list(advised)
    repairs = repairs_of(told)
    if not repairs or case.bench.host.plugin is not None or len(repairs) > MOST_TRIED:
        return [one.finding(helps=None) for one in told]
    helped = repaired(case, told, helps)
    for one in list(told) if helped else ():
        rest = [other for other in told if other is not one]
        if rest and repairs_of(rest) and repaired(case, rest, lambda: passes_all(case)):
            told = rest
    return [one.finding(helps=helped) for one in told]


def repairs_of(told: Iterable[Advised]) -> list[Repair]:
    """Returns the changes of the port that can be made."""
    return [advice.repair for one in told for advice in one.advice if advice.repair is not None]


def repaired(case: Case, told: Iterable[Advised], helps: Callable[[], bool]) -> bool | None:
    """Whether the port with these changes is helped; `None` where it then cannot be trained."""
    try:
        with case.bench.host.repaired(repairs_of(told)):
            return helps()
    except Exception:  # whatever a port with a part exchanged raises
        return None


def passes_all(case: Case) -> bool:
    """Whether the port, as it is now, passes every rung of the first steps."""
    port = Probe.of(case.bench.read_port(case.plan))
    return all(agrees(case, port, rung) for rung in STEP_RUNGS if port.looked_at(rung))


def gets_further(case: Case) -> bool:
    """Whether the port, as it is now, passes the rung that broke, or breaks at a later layer of the forward pass."""
    apart = first_apart(case)
    return apart is None or (apart == case.rung == "forward" and breaks_later(case))


def first_apart(case: Case) -> str | None:
    """Returns the first rung, up to the one that broke, that the port, as it is now, does not pass; `None`: none."""
    port = Probe.of(case.bench.read_port(case.plan))
    rungs = filter(port.looked_at, STEP_RUNGS[: STEP_RUNGS.index(case.rung) + 1])
    return next((rung for rung in rungs if not agrees(case, port, rung)), None)


def agrees(case: Case, port: Probe, rung: str) -> bool:
    """Whether a repaired port computes at a rung what the reference does, as far as that was changed.

    A changed reference rounds otherwise than the one on which the noise was measured: copies of it show how far. At
    rungs that are explained, a port that is as near as it was before the repair is near enough.
    """
    noise = case.climb.noise
    if not case.changes:
        return compare_probes(rung, port, case.reference, noise).state is not State.FAILED
    slack = SLACK
    if STEP_RUNGS.index(rung) < STEP_RUNGS.index(case.rung):
        before = closeness(rung, case.port, case.reference, noise)
        slack = max(SLACK, before) if np.isfinite(before) else SLACK
    if closeness(rung, port, case.reference, noise, blank=True) <= slack:
        return True
    return closeness(rung, port, case.reference, case.noise_of_changed, blank=True) <= slack


def breaks_later(case: Case) -> bool:
    """Whether what differed first among the layers now agrees, and so does all that comes before it.

    A change after which it cannot be compared any more does not count.
    """
    before = next((row for row in case.climb.layers.rows if not row["passed"]), None)
    if before is None:
        return False
    for row in case.bench.layers(case.plan[0]).rows:
        if not row["passed"]:
            return False
        if (row["at"], row["kind"]) == (before["at"], before["kind"]):
            return True
    return False

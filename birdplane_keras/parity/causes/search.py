"""Applies known mistakes to the reference, one at a time, and sees which makes it compute what the port does."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from birdplane_keras.parity.causes.budget import Budget
from birdplane_keras.parity.causes.hypothesis import Hypothesis, together
from birdplane_keras.parity.core.noise import Noise, largest, largest_difference, widen_noise
from birdplane_keras.parity.core.records import STEP_RUNGS, Probe, Role
from birdplane_keras.parity.core.tolerances import AT_A_KINK, ROUNDING

SLACK = 2.0  # the changed reference rounds otherwise than the one on which the noise was measured
COARSE = 16.0  # times nearer to the port must come what rounds to a half type on the way
ROUNDED_ALIKE = ("forward", "loss")  # here the port's own operations round to a half type in the reference as there
NEARER = 4.0  # at least so many times nearer to the port must a hypothesis bring the reference
TOLD = 3  # kinds of what was not tried that are reported by name

NEW_DRAWS = 3  # nudged copies that measure the noise of tensors that only the changed reference has
HOPELESS = 8.0  # times as far apart as some draws allow: more of them would not show that it is rounding
DRAWS = 8  # nudged copies of the changed reference, where a rung above the one that failed is not explained at once


class Try(Protocol):
    """Makes the first steps of a reference that was changed as a hypothesis says; `None` where that does not fit it."""

    def __call__(
        self, hypothesis: Hypothesis, *, the_rung_alone: bool = False, nudge: int | None = None
    ) -> Probe | None:
        """Returns the steps; those of the failed rung alone; or those of a copy that rounds otherwise."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """A hypothesis that explains a rung, how many rungs from there on it explains, and how near it came."""

    hypothesis: Hypothesis
    explained: int
    near: float


@dataclass(kw_only=True)
class Search:
    """What a search came to: the best explanation, and what it did not try."""

    best: Explanation | None = None
    untried: list[Hypothesis] = field(default_factory=list)

    def describe_untried(self, seconds: float) -> str:
        """Returns in words what was not tried; nothing where all was."""
        if not self.untried:
            return ""
        causes = list(dict.fromkeys(hypothesis.cause for hypothesis in self.untried))
        named = ", ".join(causes[:TOLD]) + (f" and {len(causes) - TOLD} more kinds" if len(causes) > TOLD else "")
        return f"{len(self.untried)} hypotheses were not tried within {seconds:g} s: {named}"


def search(
    rung: str,
    hypotheses: Sequence[Hypothesis],
    port: Probe,
    reference: Probe,
    noise: Noise,
    try_it: Try,
    budget: Budget,
) -> Search:
    """Looks for the hypothesis that explains most rungs, from the one that failed on, to within the noise.

    A hypothesis must bring the reference nearer to the port: one that changes nothing explains nothing. The search
    ends as soon as one explains all rungs, or the budget is spent.

    Args:
        rung: The one that failed, of `STEP_RUNGS`.
        hypotheses: The likeliest first.
        port: What the port computed.
        reference: What the reference computed.
        noise: rung -> tensor -> noise.
        try_it: Runs the reference with a hypothesis.
        budget: Of time.
    """
    found = Search()
    for index, hypothesis in enumerate(hypotheses):
        if budget.spent:
            found.untried = list(hypotheses[index:])
            break
        explained = explain(rung, hypothesis, port, reference, noise, try_it, budget)
        if explained is not None and (found.best is None or explained.explained > found.best.explained):
            found.best = explained
            if explained.explained == len(rungs_from(rung)):
                break
    if found.best is not None:
        found.best = pruned(found.best, lambda h: explain(rung, h, port, reference, noise, try_it, budget), budget)
    return found


def explain(
    rung: str, hypothesis: Hypothesis, port: Probe, reference: Probe, noise: Noise, try_it: Try, budget: Budget
) -> Explanation | None:
    """Returns what a hypothesis explains, `None` where it does not explain the rung itself."""
    before = closeness(rung, port, reference, noise)
    slack = max(SLACK, before / COARSE) if hypothesis.coarse else min(SLACK, before / NEARER)
    if rung in STEP_RUNGS[:4]:
        changed = try_it(hypothesis, the_rung_alone=True)
        if changed is None or closeness(rung, port, changed, noise) > slack:
            return None
    changed = try_it(hypothesis)
    if changed is None:
        return None
    noise = with_unmeasured(noise, changed, rungs_from(rung), lambda nudge: try_it(hypothesis, nudge=nudge))
    if count_explained(rung, port, changed, noise, slack) <= hypothesis.fitted:
        return None
    explained = count_with_draws(
        rung, port, changed, noise, slack, lambda nudge: try_it(hypothesis, nudge=nudge), budget
    )
    near = closeness(rung, port, changed, noise)
    return Explanation(hypothesis=hypothesis, explained=explained, near=near)


def count_with_draws(
    rung: str,
    port: Probe,
    changed: Probe,
    noise: Noise,
    slack: float,
    draw: Callable[[int], Probe | None],
    budget: Budget,
    above: Mapping[str, float] | None = None,
) -> int:
    """Returns what `count_explained` does; where that is not all, nudged copies show how far rounding jumps.

    Args:
        rung: The one that failed.
        port: What the port computed.
        changed: What the changed reference computed.
        noise: rung -> tensor -> noise, of the reference as it was.
        slack: Of the failed rung.
        draw: Makes the changed reference's steps nudged.
        budget: Of time.
        above: Of the other rungs, where it is not the usual one.
    """
    noise = with_unmeasured(noise, changed, rungs_from(rung), draw)
    explained = count_explained(rung, port, changed, noise, slack, above)
    jumps: Noise | None = None
    for nudge in range(DRAWS):
        if explained == len(rungs_from(rung)) or budget.spent:
            break
        drawn = draw(nudge)
        if drawn is None:
            break
        jumps = distances(changed, drawn, jumps)
        widened = {**widened_by(noise, jumps), rung: noise[rung]}
        explained = max(explained, count_explained(rung, port, changed, widened, slack, above))
        left = rungs_from(rung)[explained:]
        if left and nudge + 1 >= NEW_DRAWS:
            least = slack if left[0] == rung else (above or {}).get(left[0], SLACK)
            if closeness(left[0], port, changed, widened, blank=True) > HOPELESS * least:
                break
    return explained


def widened_by(noise: Noise, jumps: Noise) -> Noise:
    """Returns the noise, wider where nudged copies of a changed reference jump further."""
    return widen_noise(noise, jumps, share=AT_A_KINK / ROUNDING.factor)


def with_unmeasured(noise: Noise, changed: Probe, rungs: Sequence[str], draw: Callable[[int], Probe | None]) -> Noise:
    """Returns the noise with that of tensors that only the changed reference has: another optimizer's state."""
    new = {rung: [name for name in changed.tensors[rung] if name not in noise[rung]] for rung in rungs}
    if not any(new.values()):
        return noise
    apart: Noise | None = None
    for nudge in range(NEW_DRAWS):
        drawn = draw(nudge)
        if drawn is not None:
            apart = distances(changed, drawn, apart)
    if apart is None:
        return noise
    return {**noise, **{rung: {**noise[rung], **{n: apart[rung][n] for n in names}} for rung, names in new.items()}}


def count_explained(
    rung: str, port: Probe, changed: Probe, noise: Noise, slack: float, above: Mapping[str, float] | None = None
) -> int:
    """Returns at how many rungs, from the one that failed on, the changed reference is the port.

    `slack` is of that rung, `above` of the others, where they have another than the usual.
    """
    for index, later in enumerate(rungs_from(rung)):
        blank = later != rung
        if closeness(later, port, changed, noise, blank=blank) > ((above or {}).get(later, SLACK) if blank else slack):
            return index
    return len(rungs_from(rung))


def distances(side: Probe, draw: Probe, before: Noise | None) -> Noise:
    """Returns how far a draw is from a side, and at least as far as earlier draws were."""
    return {
        rung: {
            name: max(largest_difference(draw.tensors[rung][name], value), before[rung][name] if before else 0.0)
            for name, value in tensors.items()
        }
        for rung, tensors in side.tensors.items()
    }


def pruned(best: Explanation, explain_it: Callable[[Hypothesis], Explanation | None], budget: Budget) -> Explanation:
    """Leaves out the parts without which the rest explains as much: they differ, and it does not matter here."""
    parts = list(best.hypothesis.parts)
    for part in list(parts):
        rest = [other for other in parts if other is not part]
        if not rest or budget.spent:
            break
        smaller = explain_it(together(rest))
        if smaller is not None and smaller.explained >= best.explained:
            best, parts = smaller, rest
    return best


def rungs_from(rung: str) -> Sequence[str]:
    """Returns the rungs of the first steps from one on."""
    return STEP_RUNGS[STEP_RUNGS.index(rung) :]


def closeness(rung: str, port: Probe, changed: Probe, noise: Noise, *, blank: bool = False) -> float:
    """Returns the largest difference between the port and the changed reference, in units of the rung's tolerance.

    Numbers that are not ones on both sides are the same; where there are no others, the sides agree if `blank` says so.
    """
    if not port.looked_at(rung):
        return 0.0
    ours, theirs = port.beside(changed, rung), changed.beside(port, rung)
    if not ours or set(ours) != set(theirs):
        return np.inf
    if not blank and not any(np.isfinite(value).any() for value in theirs.values()):
        return np.inf
    apart = 0.0
    for name, value in theirs.items():
        mine = ours[name]
        if rung == "evaluation" and changed.roles[rung][name] is Role.OUTPUT:
            mine = mine[: len(value)]  # a hypothesis predicts a few examples only
        apart = max(apart, distance(mine, value, noise[rung].get(name, 0.0)))
    return apart / ROUNDING.factor


def distance(ours: np.ndarray, theirs: np.ndarray, noise: float) -> float:
    """Returns the largest difference of a tensor in units of its noise."""
    if ours.shape != theirs.shape:
        return np.inf
    if np.isnan(theirs).any() and np.array_equal(np.isnan(ours), np.isnan(theirs)):  # what one breaks, both break
        ours, theirs = np.nan_to_num(ours, nan=0.0), np.nan_to_num(theirs, nan=0.0)
        noise = 0.0 if np.isnan(noise) else noise
    scale = largest(theirs) * float(np.finfo(np.float32).eps)
    allowed = max(noise, scale, float(np.finfo(np.float32).tiny))
    apart = largest_difference(ours, theirs)
    return apart / allowed if np.isfinite(apart) else np.inf

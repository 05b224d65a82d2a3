"""Applies known mistakes to the reference, one at a time, and sees which makes it compute what the port does."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from birdplane_keras.parity.core.finding import Finding
from birdplane_keras.parity.core.records import STEP_RUNGS, Probe, Tensors
from birdplane_keras.parity.core.tolerances import TOLERANCES

SLACK = 2.0  # the changed reference rounds otherwise than the one on which the noise was measured
NEARER = 4.0  # at least so many times nearer to the port must a hypothesis bring the reference


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """A known mistake, ready to be made by the reference.

    Args:
        cause: A short identifier.
        text: The mistake in a sentence.
        fix: What to change, in code.
        evidence: What suggested it, where something did.
        change: Applied to a run of the reference before its first step.
        fitted: A number in it was solved for from the loss, so the loss alone proves nothing: the gradients must agree.
        parts: The hypotheses that this one is made of, where it is several at once: each is a finding of its own.
        coarse: Rounds to a half type on the way, where the frameworks round differently: coming 16 times as near as
            the reference is enough.
    """

    cause: str
    text: str
    fix: str
    evidence: str = ""
    change: Callable[[Any], None]
    parts: "tuple[Hypothesis, ...]" = ()
    fitted: bool = False
    coarse: bool = False


def search(
    rung: str,
    hypotheses: Iterable[Hypothesis],
    port: Probe,
    reference: Probe,
    noise: Mapping[str, Mapping[str, float]],
    try_it: Callable[[Hypothesis, bool], Probe | None],
) -> list[Finding]:
    """Returns the hypotheses that explain a rung to within the noise, those that explain most first.

    A hypothesis must bring the reference nearer to the port: one that changes nothing explains nothing.

    Args:
        rung: The one that failed, of `STEP_RUNGS`.
        hypotheses: In the order of how simple they are.
        port: What the port computed.
        reference: What the reference computed.
        noise: rung -> tensor -> noise.
        try_it: Runs the reference with a hypothesis; its second argument says whether the first step is enough.
    """
    from_here = STEP_RUNGS[STEP_RUNGS.index(rung) :]
    quick = rung in STEP_RUNGS[:4]
    found: list[tuple[int, Hypothesis, float]] = []
    before = closeness(rung, port, reference, noise)
    for hypothesis in hypotheses:
        slack = max(SLACK, before / 16) if hypothesis.coarse else min(SLACK, before / NEARER)
        if quick:
            changed = try_it(hypothesis, True)
            if changed is None or closeness(rung, port, changed, noise) > slack:
                continue
        changed = try_it(hypothesis, False)
        if changed is None:
            continue
        explained = 0
        for later in from_here:
            if closeness(later, port, changed, noise) > (slack if later == rung else SLACK):
                break
            explained += 1
        if explained > hypothesis.fitted:
            found.append((explained, hypothesis, closeness(rung, port, changed, noise)))
    found.sort(key=lambda entry: -entry[0])
    best = [whole for explained, whole, _ in found if explained == found[0][0]]
    return [
        describe(rung, part, explained, from_here, near, whole)
        for explained, whole, near in found
        if whole in best and not any(is_part_of(other, whole) for other in best)
        for part in whole.parts or (whole,)
    ]


def is_part_of(other: Hypothesis, whole: Hypothesis) -> bool:
    """Whether one hypothesis says less than another, and nothing else."""
    said, more = ({id(part) for part in h.parts or (h,)} for h in (other, whole))
    return said < more


def describe(
    rung: str, hypothesis: Hypothesis, explained: int, from_here: tuple[str, ...], near: float, whole: Hypothesis
) -> Finding:
    """Returns the finding of a hypothesis that explains some rungs, by itself or as part of a whole."""
    change = f"this and {len(whole.parts) - 1} more of these changes" if whole.parts else "this change"
    told = f"the reference with {change} computes what the port does at {', '.join(from_here[:explained])} " + (
        f"(at most {near:.2g} times what rounding is allowed)"
    )
    if explained < len(from_here):
        told += f"; {from_here[explained]} is not explained by it, so something else differs, too"
    evidence = f"{hypothesis.evidence}; {told}" if hypothesis.evidence else told
    return Finding(cause=hypothesis.cause, rung=rung, text=hypothesis.text, evidence=evidence, fix=hypothesis.fix)


def closeness(rung: str, port: Probe, changed: Probe, noise: Mapping[str, Mapping[str, float]]) -> float:
    """Returns the largest difference between the port and the changed reference, in units of the rung's tolerance."""
    ours, theirs = port.tensors[rung], changed.tensors[rung]
    # Of an optimizer's states, `name: state`, each framework keeps what it likes.
    names = [name for name in ours if ": " not in name or name in theirs]
    if not names or set(names) != {name for name in theirs if ": " not in name or name in ours}:
        return np.inf
    return max(distance(name, ours, theirs, noise[rung]) for name in names) / TOLERANCES[rung].factor


def distance(name: str, ours: Tensors, theirs: Tensors, noise: Mapping[str, float]) -> float:
    """Returns the largest difference of a tensor in units of its noise."""
    if ours[name].shape != theirs[name].shape:
        return np.inf
    scale = float(np.abs(theirs[name]).max(initial=0.0)) * float(np.finfo(np.float32).eps)
    allowed = max(noise.get(name, 0.0), scale, float(np.finfo(np.float32).tiny))
    largest = float(np.abs(np.subtract(ours[name], theirs[name], dtype=np.float64)).max(initial=0.0))
    return largest / allowed if np.isfinite(largest) else np.inf

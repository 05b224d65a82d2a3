"""What explains a break after the first steps: rates that part, or a known mistake that leads where the port went."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from birdplane_keras.parity.causes.advice import Advised, try_advice
from birdplane_keras.parity.causes.budget import Budget
from birdplane_keras.parity.causes.case import Case
from birdplane_keras.parity.causes.hypothesis import Hypothesis
from birdplane_keras.parity.causes.reading import read_off
from birdplane_keras.parity.causes.schedules import describe_rates
from birdplane_keras.parity.causes.search import Search
from birdplane_keras.parity.core.compare import one_ulp
from birdplane_keras.parity.core.finding import Finding
from birdplane_keras.parity.core.noise import largest_difference
from birdplane_keras.parity.core.records import Rows, Tensors
from birdplane_keras.parity.core.tolerances import ENVELOPE
from birdplane_keras.parity.core.trajectory import COPIES

RATES = 32  # steps whose rates are reported
BEYOND = 4  # steps that are looked at after the one that broke


@dataclass(frozen=True, kw_only=True)
class Course:
    """What a run left on its way: the rate and the loss of every step, and the trained weights at the end."""

    rates: list[float]
    losses: np.ndarray
    weights: Tensors


@dataclass(frozen=True, kw_only=True)
class Parting:
    """The first step at which the rates of the two sides differ; `constant` says whether both never change."""

    step: int
    ours: float
    theirs: float
    constant: bool

    @property
    def text(self) -> str:
        """The same in words."""
        return f"the rate of step {self.step} is {self.ours:.6g} in Keras, {self.theirs:.6g} in PyTorch"


def explain_course(case: Case, hypotheses: Sequence[Hypothesis]) -> list[Finding]:
    """Returns the first known mistake that leads the reference where the port went; else where the two rates part."""
    place = case.failed.place
    broke = len(case.plan) if place is None or place.step is None else place.step
    steps = min(broke + BEYOND, case.climb.steps)
    bench, plan = case.bench, case.bench.plan(steps)
    port, reference = follow(bench.port(), plan, case.budget), follow(bench.reference(), plan, case.budget)
    parting = find_parting(port.rates, reference.rates)
    copies = [follow(bench.reference(nudge=300 + index), plan, case.budget) for index in range(COPIES)]
    search = Search()
    if min(len(course.losses) for course in (port, reference, *copies)) < steps:
        search.untried = list(hypotheses)
        hypotheses = []
    spread = max([case.climb.noise["loss"]["loss"], *(largest_difference(c.losses, reference.losses) for c in copies)])
    drift = {
        name: max([one_ulp(value), *(largest_difference(c.weights[name], value) for c in copies)])
        for name, value in reference.weights.items()
    }
    for index, mistake in enumerate(hypotheses):
        if case.budget.spent:
            search.untried = list(hypotheses[index:])
            break
        run = bench.reference()
        try:
            mistake.change(run)
            changed = follow(run, plan, case.budget)
        except Exception:  # a change that does not fit this reference
            continue
        if len(changed.losses) == steps and leads_to(changed, port, spread, drift):
            told = f"the reference with this change has the port's losses and weights over {steps} steps"
            evidence = told if parting is None else f"{parting.text}; {told}"
            advised = [
                Advised(cause=part.cause, rung=case.rung, text=part.text, evidence=evidence, advice=part.advice)
                for part in mistake.members
            ]
            return try_advice(case, advised, lambda: leads_to(follow(bench.port(), plan), reference, spread, drift))
    untried = search.describe_untried(round(case.budget.seconds))
    case.untried += [untried] if untried else []
    return rates_part(case.rung, parting)


def read_rates(case: Case) -> list[Finding]:
    """Returns the finding that the two rates part within the first steps, if they do and nothing else explains it."""
    port, reference = follow(case.bench.port(), case.plan), follow(case.bench.reference(), case.plan)
    return rates_part(case.rung, find_parting(port.rates, reference.rates))


def rates_part(rung: str, parting: Parting | None) -> list[Finding]:
    """Returns the finding for rates that part, and none for rates that do not."""
    if parting is None:
        return []
    if parting.constant:
        text = f"learning_rate is {parting.ours:.6g} in Keras, {parting.theirs:.6g} in PyTorch"
        return [read_off("learning_rate", rung, text, parting.text, f"learning_rate={parting.theirs:.6g}")]
    text = "the two rates follow different schedules"
    fix = "give both optimizers one schedule, as a function of the step"
    return [read_off("schedule", rung, text, parting.text, fix)]


def with_rates(case: Case, found: Sequence[Finding]) -> list[Finding]:
    """Returns findings; those of a schedule with both sides' rates, step by step."""
    if all(finding.cause != "schedule" for finding in found):
        return list(found)
    plan = case.bench.plan(min(case.climb.steps, RATES))
    ours, theirs = (follow(run, plan, case.budget).rates for run in (case.bench.port(), case.bench.reference()))
    known = min(len(ours), len(theirs))  # the time may be over
    if known == 0:
        return list(found)
    told = describe_rates(ours[:known], theirs[:known])
    return [replace(f, evidence=f"{f.evidence}; {told}") if f.cause == "schedule" else f for f in found]


def follow(run: Any, plan: Rows, budget: Budget | None = None) -> Course:
    """Makes the steps of a plan, or those that the time allows, and returns what the run left on its way."""
    rates, losses = [], []
    for rows in plan:
        if budget is not None and budget.spent:
            break
        rates.append(run.learning_rate())
        losses.append(float(run.step(rows)))
    return Course(rates=rates, losses=np.array(losses, np.float32), weights=run.weights(trainable=True))


def leads_to(changed: Course, port: Course, spread: float, drift: dict[str, float]) -> bool:
    """Whether a changed reference ends where the port does, to within a multiple of what rounding makes of a run."""
    return bool(largest_difference(changed.losses, port.losses) <= ENVELOPE.factor * spread) and all(
        largest_difference(changed.weights[name], value) <= ENVELOPE.factor * drift[name]
        for name, value in port.weights.items()
        if name in drift
    )


def find_parting(ours: Sequence[float], theirs: Sequence[float]) -> Parting | None:
    """Returns the first step at which the two rates are not the same number; `None` where both are known and are.

    One side computes its schedule in float32: a millionth of the largest rate is no difference.
    """
    for step, (mine, yours) in enumerate(zip(ours, theirs, strict=False)):
        if abs(mine - yours) > 1e-6 * max(theirs):
            constant = len({*ours}) == len({*theirs}) == 1
            return Parting(step=step, ours=mine, theirs=yours, constant=constant)
    return None

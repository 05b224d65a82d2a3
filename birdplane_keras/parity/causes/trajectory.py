"""What explains a break after the first steps: rates that part, or a known mistake that leads where the port went."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from birdplane_keras.parity.causes.updates import update_hypotheses
from birdplane_keras.parity.core.bench import Rows
from birdplane_keras.parity.core.compare import Check, one_ulp
from birdplane_keras.parity.core.finding import Finding
from birdplane_keras.parity.core.judge import PROBE_STEPS, Findings
from birdplane_keras.parity.core.noise import largest_difference
from birdplane_keras.parity.core.records import Tensors
from birdplane_keras.parity.core.tolerances import TOLERANCES
from birdplane_keras.parity.core.trajectory import COPIES

BEYOND = 4  # steps that are looked at after the one that broke


@dataclass(frozen=True, kw_only=True)
class Course:
    """What a run left on its way: the rate and the loss of every step, and the trained weights at the end."""

    rates: list[float]
    losses: np.ndarray
    weights: Tensors


def explain_training(bench: Any, failed: Check, findings: Findings) -> list[Finding]:
    """Returns the known mistakes that lead the reference where the port went; else where the two rates part.

    Args:
        bench: A `PairBench`.
        failed: The check of `trajectory`.
        findings: What the judge measured.
    """
    steps = min(int((failed.where or {}).get("step", PROBE_STEPS)) + BEYOND, len(findings.losses.get("keras", ())) or 1)
    plan = bench.plan(steps)
    port, reference = follow(bench, bench.port(), plan), follow(bench, bench.reference(), plan)
    copies = [follow(bench, bench.reference(nudge=300 + index), plan) for index in range(COPIES)]
    spread = max([findings.noise["loss"]["loss"], *(largest_difference(c.losses, reference.losses) for c in copies)])
    drift = {
        name: max([one_ulp(value), *(largest_difference(c.weights[name], value) for c in copies)])
        for name, value in reference.weights.items()
    }
    parting = describe_parting(port.rates, reference.rates)
    found = []
    for mistake in update_hypotheses(bench, None):
        run = bench.reference()
        try:
            mistake.change(run)
            changed = follow(bench, run, plan)
        except Exception:  # a change that does not fit this reference
            continue
        if leads_to(changed, port, spread, drift):
            told = f"the reference with this change has the port's losses and weights over {steps} steps"
            evidence = told if parting is None else f"{parting}; {told}"
            found.append(
                Finding(cause=mistake.cause, rung=failed.name, text=mistake.text, evidence=evidence, fix=mistake.fix)
            )
    return found or schedules_part(failed.name, parting)


def explain_rates(bench: Any, rung: str, plan: Rows) -> list[Finding]:
    """Returns the finding that the two rates part within the first steps, if they do."""
    port, reference = follow(bench, bench.port(), plan), follow(bench, bench.reference(), plan)
    return schedules_part(rung, describe_parting(port.rates, reference.rates))


def schedules_part(rung: str, parting: str | None) -> list[Finding]:
    """Returns the finding for rates that part, and none for rates that do not."""
    if parting is None:
        return []
    text = "the two rates follow different schedules"
    fix = "give both optimizers one schedule, as a function of the step"
    return [Finding(cause="schedule", rung=rung, text=text, evidence=parting, fix=fix)]


def follow(bench: Any, run: Any, plan: Rows) -> Course:
    """Makes the steps of a plan and returns what the run left on its way."""
    rates, losses = [], []
    for rows in plan:
        rates.append(run.learning_rate())
        losses.append(bench.to_loss(run.step(rows)))
    return Course(rates=rates, losses=np.array(losses, np.float32), weights=run.weights(trainable=True))


def leads_to(changed: Course, port: Course, spread: float, drift: dict[str, float]) -> bool:
    """Whether a changed reference ends where the port does, to within a multiple of what rounding makes of a run."""
    losses, weights = TOLERANCES["trajectory"].factor, TOLERANCES["final_weights"].factor
    return bool(largest_difference(changed.losses, port.losses) <= losses * spread) and all(
        largest_difference(changed.weights[name], value) <= weights * drift[name]
        for name, value in port.weights.items()
        if name in drift
    )


def describe_parting(ours: Sequence[float], theirs: Sequence[float]) -> str | None:
    """Returns the first step at which the two rates are not the same number, in words; `None` where there is none.

    One side computes its schedule in float32: a millionth of the largest rate is no difference.
    """
    for step, (mine, yours) in enumerate(zip(ours, theirs, strict=True)):
        if abs(mine - yours) > 1e-6 * max(theirs):
            return f"the rate of step {step} is {mine:.6g} in Keras, {yours:.6g} in PyTorch"
    return None

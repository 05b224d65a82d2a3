"""From a failed rung to its cause: which hypotheses are tried for which rung."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from birdplane_keras.parity.causes import feeding, numbers
from birdplane_keras.parity.causes.evaluation import evaluation_hypotheses
from birdplane_keras.parity.causes.forward import forward_hypotheses
from birdplane_keras.parity.causes.loss import loss_hypotheses
from birdplane_keras.parity.causes.search import Hypothesis, search
from birdplane_keras.parity.causes.settings import differing_settings
from birdplane_keras.parity.causes.trajectory import explain_rates, explain_training
from birdplane_keras.parity.causes.updates import (
    gradient_hypotheses,
    update_hypotheses,
)
from birdplane_keras.parity.core.compare import Check
from birdplane_keras.parity.core.finding import UNKNOWN, Finding, not_a_number
from birdplane_keras.parity.core.judge import PROBE_STEPS, Findings
from birdplane_keras.parity.core.records import STEP_RUNGS, Probe
from birdplane_keras.parity.matching.ledger import Problem


def diagnose(bench: Any, checks: Sequence[Check], findings: Findings) -> list[Finding]:
    """Returns what explains the first rung that failed; one finding that says so where nothing does."""
    failed = next((check for check in checks if not check.passed), None)
    if failed is None:
        return []
    found = merge(explain(bench, failed, findings))
    if not found:
        where = ", ".join(f"{key} {value}" for key, value in (failed.where or {}).items() if value is not None)
        found = [
            Finding(
                cause=UNKNOWN,
                rung=failed.name,
                text="no known mistake explains it" + (f"; the first thing that differs: {where}" if where else ""),
                evidence=failed.reason,
                fix="look at this place on both sides",
            )
        ]
    return found


def merge(found: Iterable[Finding]) -> list[Finding]:
    """Returns one finding for each cause: the first, with what else says the same in its evidence."""
    causes: dict[str, Finding] = {}
    for finding in found:
        first = causes.get(finding.cause)
        if first is None:
            causes[finding.cause] = finding
        elif finding.text not in first.evidence:
            causes[finding.cause] = replace(first, evidence=f"{first.evidence}; also: {finding.text}")
    return list(causes.values())


def explain(bench: Any, failed: Check, findings: Findings) -> Iterable[Finding]:
    """Returns the findings for one rung."""
    rung = failed.name
    if rung == "data":
        return feeding.in_data(failed, *bench.data())
    if rung == "batch_order":
        epoch = (failed.where or {}).get("epoch", 0)
        return feeding.in_batches(failed, list(bench.pair.keras_batches(epoch)), list(bench.pair.batches(epoch)))
    if rung == "structure":
        return numbers.in_structure(failed)
    if rung == "parameter_counts":
        return [*numbers.in_counts(failed)] or list(unmatched(failed, bench.matching.problems))
    if rung == "initial_weights" and findings.start is not None:
        statistics = {match.name for match in bench.matching.tensors if not match.trainable[1]}
        return numbers.in_weights(failed, *findings.start, statistics)
    if rung == "initialisation" and findings.as_built is not None:
        return numbers.in_distributions(failed, *findings.as_built)
    if rung in STEP_RUNGS:
        return explain_step(bench, failed, findings)
    return explain_training(bench, failed, findings) if rung == "trajectory" else []


def unmatched(failed: Check, problems: Sequence[Problem]) -> Iterator[Finding]:
    """Yields the finding that weights have no counterpart that fits, with the mapping that may give them one."""
    sides = [[problem.tensor for problem in problems if problem.side == side] for side in ("keras", "torch")]
    told = ", ".join(f"{ours!r}: {theirs!r}" for ours, theirs in zip(*sides, strict=False))
    if problems:
        yield Finding(
            cause="unmatched",
            rung=failed.name,
            text="the two models have other layers, or the judge cannot tell which belong together",
            evidence=failed.reason,
            fix=f"build the layers alike; or tell which belong together: Pair(mapping={{{told or 'layer: module'}}})",
        )


def explain_step(bench: Any, failed: Check, findings: Findings) -> list[Finding]:
    """Returns what explains a failed rung of the first steps."""
    port, reference = findings.port, findings.reference
    if port is None or reference is None:
        return []
    rung = failed.name
    for name, value in port.tensors[rung].items():
        if not np.isfinite(value).all():
            return [not_a_number(rung, name, value)]
    if rung == "evaluation":
        noisy = random_in_evaluation(bench)
        if noisy is not None:
            return [noisy]
    hypotheses: Iterator[Hypothesis] = {
        "forward": lambda: forward_hypotheses(bench),
        "loss": lambda: loss_hypotheses(
            bench, float(port.tensors["loss"]["loss"]), float(reference.tensors["loss"]["loss"])
        ),
        "gradients": lambda: gradient_hypotheses(bench, port.tensors["gradients"], reference.tensors["gradients"]),
        "first_update": lambda: update_hypotheses(bench, update_ratio(bench, findings)),
        "optimizer_state": lambda: update_hypotheses(bench, None),
        "evaluation": lambda: evaluation_hypotheses(bench),
    }[rung]()
    plan = bench.plan(PROBE_STEPS)

    def try_it(hypothesis: Hypothesis, first_step: bool) -> Probe | None:
        return bench.probe_changed(plan[:1] if first_step else plan, hypothesis.change)

    found = search(rung, hypotheses, port, reference, findings.noise, try_it)
    if not found and rung == "forward":
        found = search(rung, batch_statistics(bench), port, reference, findings.noise, try_it)
    if not found and rung in ("first_update", "optimizer_state"):
        found = explain_rates(bench, rung, plan)
    return found


def batch_statistics(bench: Any) -> Iterator[Hypothesis]:
    """Normalisation that uses its moving statistics in training."""
    yield Hypothesis(
        cause="batchnorm_mode",
        text="the port's BatchNormalization uses its moving statistics in training",
        fix="call the layer with training=True, or leave trainable=True: a frozen Keras layer is in inference mode",
        change=lambda run: setattr(run, "training", False),
    )
    yield from differing_settings(bench)


def update_ratio(bench: Any, findings: Findings) -> float | None:
    """Returns the port's first update over the reference's, if it is one number at every parameter."""
    if findings.port is None or findings.reference is None:
        return None
    ratios: list[float] = []
    run = bench.reference()
    for name, theirs in findings.reference.tensors["first_update"].items():
        start = run.read(name).astype(np.float64)
        ours, expected = findings.port.tensors["first_update"][name] - start, theirs - start
        if not np.abs(expected).max():
            continue
        ratio = float((ours * expected).sum() / (expected**2).sum())
        noise = findings.noise["first_update"][name]
        if np.abs(ours - ratio * expected).max() > 8 * noise:
            return None
        ratios.append(ratio)
    if not ratios or max(ratios) - min(ratios) > 0.02 * abs(np.median(ratios)):
        return None
    return float(np.median(ratios))


def random_in_evaluation(bench: Any) -> Finding | None:
    """Returns the finding that the port predicts something else each time, if it does."""
    bench.keras.reset()
    twice = [bench.keras.predict() for _ in range(2)]
    name = next((n for n in twice[0] if not np.array_equal(twice[0][n], twice[1][n])), None)
    if name is None:
        return None
    layers = [layer.name for layer, kind, rate in bench.keras._rates if kind == "rate" and rate]
    apart = np.abs(twice[0][name] - twice[1][name]).max()
    return Finding(
        cause="dropout_in_evaluation",
        rung="evaluation",
        text=f"the port's Dropout ({', '.join(layers) or 'or another random layer'}) is active in evaluation mode",
        evidence=f"predicting the same inputs twice gave {name} up to {apart:.3g} apart",
        fix="call the layer without training=True, so that predict() and evaluate() switch it off",
    )

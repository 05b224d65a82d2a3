"""Takes a pair up the ladder. NumPy only: what trains the models is behind the protocols of `bench`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from birdplane_keras.parity.core import rungs as ladder
from birdplane_keras.parity.core.bench import Bench, Rows
from birdplane_keras.parity.core.compare import Check, climb, compare_tensors, not_reached, one_ulp
from birdplane_keras.parity.core.disk import sha256_of
from birdplane_keras.parity.core.distributions import compare_distributions
from birdplane_keras.parity.core.noise import Noise, largest_difference, measure_noise, widen_noise
from birdplane_keras.parity.core.records import STEP_RUNGS, Probe, Reading, Tensors
from birdplane_keras.parity.core.tolerances import AT_A_KINK, PAIR_RUNGS, TOLERANCES
from birdplane_keras.parity.core.trajectory import (
    Lockstep,
    build_envelope,
    count_churn,
    find_exact_break,
    makes_the_same_step,
    train_in_lockstep,
)

PROBE_STEPS = 5  # enough for an optimizer's state, a schedule's first rates and moving statistics to show
DRAWS = 3  # copies of the reference that round otherwise, beside the one in float64
MOST_DRAWS = 24  # as many are made before a jump is believed: not each shows where a ReLU may go either way
STEPS_PER_KINK = 100  # one amplified difference of rounding in so many steps is put down to chance
OWN = 16.0  # times the reference's noise, at most, is the port's own believed to be: a faulty port may have any
CHECKPOINTS = 20  # of a training run, at which all weights are compared


@dataclass(kw_only=True)
class Findings:
    """What the judge measured on the way up, for the report and for the diagnosis.

    Args:
        port: The port's first steps; `None` where a rung below them failed.
        reference: The reference's.
        noise: rung -> tensor -> noise, in the tensor's unit.
        layers: One row per layer: its name, and how far the port's is from it in isolation.
        start: Both sides' weights at the start, while they are compared.
        as_built: Both sides' weights before the transfer, while they are compared.
        losses: Side -> (steps,) float32.
        churn: Validation examples that the sides predict differently at the end.
        hashes: SHA-256 sums of both sides' weights at the start and at the end.
        left_out: Rungs that were not asked for -> why.
        trajectory: How the training runs went, in numbers.
        notes: What the judge could not do, in words.
    """

    port: Probe | None = None
    reference: Probe | None = None
    noise: Noise = field(default_factory=dict)
    layers: list[dict[str, Any]] = field(default_factory=list)
    start: tuple[Tensors, Tensors] | None = None
    as_built: tuple[Tensors, Tensors] | None = None
    losses: dict[str, np.ndarray] = field(default_factory=dict)
    churn: int | None = None
    hashes: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    trajectory: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)


def judge(bench: Bench, *, steps: int, exact_data: bool = False) -> tuple[list[Check], Findings]:
    """Takes a pair up the whole ladder, to the first rung that fails.

    Args:
        bench: Both sides.
        steps: How many training steps the trajectory has.
        exact_data: Whether every bit of the inputs counts; else two roundings are allowed.
    """
    findings = Findings()
    epochs = max(1, -(-steps // max(1, len(next(bench.batches(1)[1])))))
    checks = climb(first_rungs(bench, findings, epochs=epochs, exact_data=exact_data))
    if checks[-1].passed:
        checks += climb(training_rungs(bench, findings, steps=steps))
    return complete(checks, findings.left_out), findings


def complete(checks: list[Check], left_out: Mapping[str, str], rungs: Sequence[str] = PAIR_RUNGS) -> list[Check]:
    """Returns the checks with those of the rungs that were not reached."""
    done = {check.name for check in checks} | set(left_out)
    return checks + [not_reached(name, checks[-1].name) for name in rungs if name not in done]


def first_rungs(bench: Bench, findings: Findings, *, epochs: int, exact_data: bool) -> Iterator[Check]:
    """Takes the rungs up to `evaluation`, each when it is asked for."""
    yield compare_data(*bench.data(), exact=exact_data)
    yield ladder.compare_batch_order(*bench.batches(epochs))
    yield bench.determinism()
    yield bench.structure()
    yield bench.parameter_counts()
    findings.as_built = bench.weights_as_built()
    findings.start = bench.start_weights()
    keep_hashes(findings, "initial", findings.start)
    yield ladder.compare_exactly("initial_weights", *findings.start)
    findings.start = None  # it is as large as the models, and no rung above asks for it
    if findings.as_built is None:
        findings.left_out["initialisation"] = "the pair says that the reference brings trained weights"
    else:
        yield compare_distributions(*findings.as_built)
    findings.as_built = None
    yield from step_rungs(bench, findings)


def step_rungs(bench: Bench, findings: Findings) -> Iterator[Check]:
    """Takes the rungs of the first few steps: `forward` to `evaluation`."""
    plan = bench.plan(PROBE_STEPS)
    findings.layers = bench.layers(plan[0])
    reference = Probe.of(bench.read_reference(plan))
    noise = measure_noise(reference, draws_of_noise(bench, plan, findings))
    port = Probe.of(bench.read_port(plan))
    findings.noise = noise = widen_noise(noise, measure_noise(port, bench.read_port(plan, reorder=0)), at_most=OWN)
    findings.port, findings.reference = port, reference
    draws, furthest = DRAWS, noise
    for rung in STEP_RUNGS:
        before = draws
        check = compare_step(rung, port, reference, findings.noise)
        while may_be_a_kink(check) and draws < MOST_DRAWS:
            furthest = measure_noise(reference, bench.read_reference(plan, nudge=draws), furthest)
            draws += 1
            findings.noise = widen_noise(noise, furthest, share=AT_A_KINK / TOLERANCES[rung].factor)
            check = compare_step(rung, port, reference, findings.noise)
        if check.passed and draws > before:
            findings.notes.append(f"{rung}: {draws - before} more draws were made, and showed rounding to jump as far")
        if rung == "forward":
            check = name_the_layer(check, findings.layers)
        yield check
    findings.port = findings.reference = None


def may_be_a_kink(check: Check) -> bool:
    """Whether more draws may show a failed rung to be rounding: gradients jump at a kink, outputs and losses do not."""
    return not check.passed and check.max_abs_difference is not None and check.name not in ("forward", "loss")


def compare_step(rung: str, port: Probe, reference: Probe, noise: Noise) -> Check:
    """Compares one rung of the first few steps."""
    ours, theirs = port.tensors[rung], reference.tensors[rung]
    if rung == "optimizer_state":  # each framework keeps what it likes: what both have is compared
        states = {name for name in {**ours, **theirs} if ": " in name and not (name in ours and name in theirs)}
        ours, theirs = ({n: v for n, v in side.items() if n not in states} for side in (ours, theirs))
    return ladder.compare_within(rung, ours, theirs, {name: noise[rung][name] for name in theirs})


def draws_of_noise(bench: Bench, plan: Rows, findings: Findings) -> Iterator[Reading]:
    """Yields what the reference's first steps compute in float64, if it can do that, and where all rounds otherwise."""
    try:
        yield from bench.read_reference(plan, double=True)
    except Exception:  # a module with numbers of a type of its own
        findings.notes.append("the reference cannot run in float64: its noise was measured by nudges alone")
    for nudge in range(DRAWS):
        yield from bench.read_reference(plan, nudge=nudge)


def name_the_layer(check: Check, layers: Sequence[Mapping[str, Any]]) -> Check:
    """Returns the failed check of `forward` with the first layer that is wrong."""
    wrong = next((layer for layer in layers if not layer["passed"]), None)
    if check.passed or wrong is None:
        return check
    reason = f"{check.reason}; the first that differs: {wrong['text']}"
    return replace(check, where={**(check.where or {}), "layer": wrong["name"]}, reason=reason)


def keep_hashes(findings: Findings, when: str, weights: tuple[Tensors, Tensors]) -> None:
    """Notes the sums of both sides' weights, in the order of the reference's names."""
    for side, tensors in zip(("keras", "torch"), weights, strict=True):
        findings.hashes[f"{side}_{when}_weights"] = sha256_of(tensors.values())


def compare_data(keras: Tensors, torch: Tensors, *, exact: bool) -> Check:
    """`data`: the inputs and the targets that the port is fed, against the reference's in the port's layout."""
    if exact:
        return ladder.compare_exactly("data", keras, torch)
    allowed = {}
    for name, tensor in torch.items():
        floating = np.issubdtype(tensor.dtype, np.floating)
        allowed[name] = 2 * one_ulp(tensor) if floating and tensor.size else 0.0
    reason = "two roundings, as a normalisation has; whole numbers must be equal"
    return compare_tensors("data", keras, torch, tolerances=allowed, reason=reason)


def training_rungs(bench: Bench, findings: Findings, *, steps: int) -> Iterator[Check]:
    """Takes `trajectory`, `final_weights` and `predictions`: both sides and nudged copies, in lockstep."""
    plan = bench.plan(steps)
    every = max(1, steps // CHECKPOINTS)
    checkpoints = sorted({*range(every - 1, steps, every), steps - 1})
    synchronised: list[int] = []
    loss_noise = findings.noise["loss"]["loss"]
    floor = {**findings.noise.get("optimizer_state", {}), **findings.noise.get("evaluation", {})}
    while True:
        together = train_in_lockstep(bench, plan, checkpoints, synchronised, floor)
        check = compare_runs(bench, plan, together, loss_noise, synchronised, floor)
        step = (check.where or {}).get("step")
        if check.passed or step is None or len(synchronised) > steps // STEPS_PER_KINK:
            break
        if not makes_the_same_step(bench, plan, step, synchronised, loss_noise, floor):
            break
        synchronised.append(step)
    findings.losses = {side: together.losses[side] for side in ("keras", "torch")}
    findings.trajectory = together.describe()
    if check.passed and synchronised:
        told = f"rounding had grown by steps {synchronised}; from one state, given to both, they make the same steps"
        findings.notes.append(told)
        check = replace(check, reason=f"{check.reason}; {told}")
    predictions = {name: run.predict() for name, run in together.runs.items()}
    envelope = build_envelope(together, predictions)
    final = together.runs["keras"].weights(), together.runs["torch"].weights()
    keep_hashes(findings, "final", final)
    findings.churn = count_churn(predictions["keras"], predictions["torch"])
    yield check
    yield ladder.compare_final_weights(*final, envelope)
    yield compare_final_predictions(predictions)


def compare_runs(
    bench: Bench,
    plan: Rows,
    together: Lockstep,
    loss_noise: float,
    synchronised: Sequence[int],
    floor: Mapping[str, float],
) -> Check:
    """`trajectory`: the loss of every step, and all weights at the checkpoints; the exact step where one broke."""
    checkpoints = together.checkpoints
    check = ladder.compare_trajectories(
        together.losses["keras"],
        together.losses["torch"],
        steps_per_epoch=1,
        drift=together.loss_drift(),
        first_loss_noise=loss_noise,
    )
    while True:
        broken = [step for index, step in enumerate(checkpoints) if together.first_beyond(index) is not None]
        if check.passed and not broken:
            return check
        seen = [*broken[:1], *([check.where["step"]] if not check.passed and check.where else [])]
        last = min(seen, default=len(plan) - 1)
        agreed = max((step for step in checkpoints if step < last and step not in broken), default=-1)
        found, again = find_exact_break(
            bench,
            plan,
            check,
            agreed=agreed,
            last=last,
            loss_noise=loss_noise,
            synchronised=synchronised,
            checkpoints=checkpoints,
            floor=floor,
        )
        if not found.passed or last not in checkpoints:
            return replace(
                found, where=None if found.where is None else {k: found.where[k] for k in ("tensor", "step")}
            )
        # Between two checkpoints the copies had drifted further than at either: that counts as well.
        drift = {name: max(point[name] for point in again.drift) for name in again.drift[0]}
        together.drift[checkpoints.index(last)] = drift


def compare_final_predictions(predictions: Mapping[str, Mapping[str, np.ndarray]]) -> Check:
    """`predictions`: every output on the validation inputs at the end, against what the nudged copies predict.

    Args:
        predictions: Run -> name of the output -> (N, ...).
    """
    theirs = predictions["torch"]
    copies = [outputs for name, outputs in predictions.items() if name.startswith("copy")]
    noise = {
        name: max(one_ulp(tensor), *(largest_difference(copy[name], tensor) for copy in copies))
        for name, tensor in theirs.items()
    }
    factor = TOLERANCES["predictions"].factor
    return compare_tensors(
        "predictions",
        predictions["keras"],
        theirs,
        tolerances={name: factor * value for name, value in noise.items()},
        noise=noise,
        reason=ladder.describe("predictions"),
    )

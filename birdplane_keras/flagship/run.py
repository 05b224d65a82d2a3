"""Trains both sides and has them judged: the work of `scripts/compare.py`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from birdplane_keras.flagship.bench import ProgramsBench
from birdplane_keras.flagship.sides import KerasSide, OnEpochEnd, OnStepEnd, TorchSide
from birdplane_keras.flagship.snapshots import Snapshots
from birdplane_keras.parity.causes.diagnose import diagnose
from birdplane_keras.parity.core import rungs as ladder
from birdplane_keras.parity.core.compare import Check, climb
from birdplane_keras.parity.core.finding import Finding
from birdplane_keras.parity.core.judge import Findings, complete, first_rungs
from birdplane_keras.parity.core.noise import NoiseEnvelope, nudge_all, nudge_one_ulp
from birdplane_keras.parity.core.records import Tensors, TrainingRun
from birdplane_keras.parity.core.samples import Read, WeightSamples
from birdplane_keras.parity.core.tolerances import RUNGS
from birdplane_keras.parity.core.trajectory import find_exact_break, makes_the_same_step
from birdplane_keras.progress import OnEpoch, epoch_bar
from birdplane_keras.recipe import Recipe

MOST_COPIES = 4  # of the reference, each a whole training; more than one only where rounding was amplified


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What was found.

    Args:
        checks: One per rung, in order.
        verdict: `bit-exact`, `rounding-only` or `diverged`.
        parameter_counts: Side -> elements of each trainable tensor.
        runs: Side -> its training run; empty where a rung before training failed.
        initial_weights: What both sides started from; empty as `runs` are.
        labels: Split -> (N,) int64.
        epochs: After which the weights were compared.
        distances: For each of those, tensor -> largest difference between the sides.
        samples: Which weights were compared after which steps; `None` where nothing was trained.
        step_distances: For each of those steps, the largest difference between the sides.
        envelope: The measured noise; `None` where no bit differs.
        churn: Validation images predicted differently; `None` where nothing was trained.
        diagnosis: What explains the first rung that failed.
        notes: What else was done to tell, in words.
    """

    checks: list[Check]
    verdict: str
    parameter_counts: dict[str, list[int]]
    runs: dict[str, TrainingRun] = field(default_factory=dict)
    initial_weights: Tensors = field(default_factory=dict)
    labels: dict[str, np.ndarray] = field(default_factory=dict)
    epochs: list[int] = field(default_factory=list)
    distances: list[Mapping[str, float]] = field(default_factory=list)
    samples: WeightSamples | None = None
    step_distances: list[float] = field(default_factory=list)
    envelope: NoiseEnvelope | None = None
    churn: int | None = None
    diagnosis: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def compare(
    recipe: Recipe,
    *,
    data_dir: Path,
    out: Path,
    engine: str = "exact",
    device: str = "cpu",
    synthetic: bool = False,
) -> Comparison:
    """Compares the two programs rung by rung.

    The rungs before training come first and take seconds; where one of them fails, nothing is trained.

    Args:
        recipe: What the Keras side trains; the reference takes its own preset of that name, with the same epochs and
            seed.
        data_dir: The cache folder with verified batches.
        out: An existing folder; the reference's weights after each epoch lie there while the comparison runs.
        engine: What the Keras side's steps run on: `stock`, `exact` or `fused`.
        device: For both sides, as PyTorch names it.
        synthetic: Use the generated stand-in for the images.
    """
    reference = TorchSide(recipe, data_dir=data_dir, device=device, synthetic=synthetic)
    port = KerasSide(
        recipe, reference=reference.build(), data_dir=data_dir, engine=engine, device=device, synthetic=synthetic
    )
    with keras.device(device):
        bench = ProgramsBench(port, reference, batch_size=recipe.batch_size, seed=recipe.seed)
        with bench.keras.judged():
            return compare_sides(bench, port, reference, epochs=recipe.epochs, out=out)


def compare_sides(bench: ProgramsBench, port: KerasSide, reference: TorchSide, *, epochs: int, out: Path) -> Comparison:
    """Compares two sides that are ready; see `compare`."""
    findings = Findings()
    checks = climb(checks_before_training(bench, port, reference, findings, epochs=epochs))
    counts = {"keras": port.parameter_counts(), "torch": reference.parameter_counts()}
    labels = {split: port.data()[f"y_{split}"] for split in ("train", "validation")}
    if not checks[-1].passed:
        diagnosis = diagnose(bench, checks, findings)
        checks = complete(checks, findings.left_out, RUNGS)
        return Comparison(
            checks=checks, verdict="diverged", parameter_counts=counts, labels=labels, diagnosis=diagnosis
        )

    samples = WeightSamples(reference.initial_weights(), epochs * len(reference.batches(0)))
    with Snapshots(out, epochs) as snapshots:
        with epoch_bar("PyTorch", epochs) as bar:
            theirs = reference.train(keeping(snapshots, bar), samples.keep)
        distances: list[Mapping[str, float]] = []
        step_distances: list[float] = []
        with epoch_bar("Keras", epochs) as bar:
            ours = port.train(measuring(snapshots, distances, bar), measuring_steps(samples, step_distances))
        findings.losses = {"keras": ours.step_losses, "torch": theirs.step_losses}
        trained = TrainedRuns(ours=ours, theirs=theirs, distances=distances, labels=labels["validation"])
        envelope = None
        if ladder.bits_differ(ours, theirs):
            envelope = measure_envelope(reference, theirs, snapshots, samples, epochs)
        checks_of_training = compare_training(bench, trained, envelope, findings)
        for draw in range(1, MOST_COPIES):
            if envelope is None or not is_amplified_rounding(bench, checks_of_training[0], findings):
                break
            findings.notes.append(f"copy {draw + 1} of the reference was trained: rounding had been amplified")
            envelope = envelope.widened(measure_envelope(reference, theirs, snapshots, samples, epochs, draw=draw))
            checks_of_training = compare_training(bench, trained, envelope, findings)
    checks += checks_of_training
    return Comparison(
        checks=checks,
        verdict=ladder.verdict(checks, rungs=RUNGS, left_out=findings.left_out),
        parameter_counts=counts,
        runs={"keras": ours, "torch": theirs},
        initial_weights=reference.initial_weights(),
        labels=labels,
        epochs=snapshots.epochs,
        distances=distances,
        samples=samples,
        step_distances=step_distances,
        envelope=envelope,
        churn=ladder.churn(ours.validation_logits, theirs.validation_logits),
        diagnosis=diagnose(bench, checks, findings),
        notes=findings.notes,
    )


@dataclass(frozen=True, kw_only=True)
class TrainedRuns:
    """Both sides' runs, with the distances between their weights after each kept epoch."""

    ours: TrainingRun
    theirs: TrainingRun
    distances: list[Mapping[str, float]]
    labels: np.ndarray

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch."""
        return len(self.theirs.step_losses) // len(self.theirs.seconds_per_epoch)


def compare_training(
    bench: ProgramsBench, trained: TrainedRuns, envelope: NoiseEnvelope | None, findings: Findings
) -> list[Check]:
    """Takes the rungs `trajectory` to `accuracy`."""
    ours, theirs, distances, steps = trained.ours, trained.theirs, trained.distances, trained.steps_per_epoch
    noise = findings.noise["loss"]["loss"]
    trajectory = ladder.compare_trajectories(
        ours.step_losses,
        theirs.step_losses,
        steps_per_epoch=steps,
        drift=None if envelope is None else envelope.step_losses,
        first_loss_noise=noise,
        envelope=envelope,
        distances=distances,
    )
    if not trajectory.passed and trajectory.where is not None and envelope is not None:
        agreed = last_epoch_within(distances, envelope, before=trajectory.where["epoch"])
        last = trajectory.where["step"]
        plan = bench.plan(last + 1)
        trajectory, _ = find_exact_break(
            bench, plan, trajectory, agreed=(agreed + 1) * steps - 1, last=last, loss_noise=noise
        )
        trajectory = replace(trajectory, where=locate(trajectory.where, steps))
    return [
        trajectory,
        ladder.compare_final_weights(ours.weights, theirs.weights, envelope),
        ladder.compare_predictions(ours.validation_logits, theirs.validation_logits, envelope),
        ladder.compare_accuracies(ours, theirs, trained.labels),
    ]


def is_amplified_rounding(bench: ProgramsBench, trajectory: Check, findings: Findings) -> bool:
    """Whether both sides make the same step, from one state, at which a trajectory left the envelope.

    Rounding that puts a number on the other side of a kink (in a max pooling, say) moves a copy in some draws and not
    in others: the envelope of one copy is then too narrow, and another copy tells more. Two programs that differ do
    not make the same step.
    """
    step = (trajectory.where or {}).get("step")
    if trajectory.passed or step is None:
        return False
    floor = {**findings.noise["optimizer_state"], **findings.noise["evaluation"]}
    return makes_the_same_step(bench, bench.plan(step + 1), step, (), findings.noise["loss"]["loss"], floor)


def checks_before_training(
    bench: ProgramsBench, port: KerasSide, reference: TorchSide, findings: Findings, *, epochs: int
) -> Iterator[Check]:
    """Takes the rungs that need no training, each when it is asked for: `recipe`, and those of every pair."""
    yield ladder.compare_recipes(port.recipe(), reference.recipe())
    yield from first_rungs(bench, findings, epochs=epochs, exact_data=True)


def locate(where: Mapping[str, Any] | None, steps_per_epoch: int) -> dict[str, Any] | None:
    """Returns the place of a break with the epoch and the batch of its step."""
    if where is None:
        return None
    return {**where, "epoch": where["step"] // steps_per_epoch, "batch": where["step"] % steps_per_epoch}


def last_epoch_within(distances: Sequence[Mapping[str, float]], envelope: NoiseEnvelope, *, before: int) -> int:
    """Returns the last epoch before another after which every weight was within the envelope; -1 for the start."""
    within = -1
    for epoch in envelope.epochs:
        if epoch >= before or ladder.first_weight_beyond(distances, envelope, epoch) is not None:
            break
        within = epoch
    return within


def keeping(snapshots: Snapshots, bar: OnEpoch) -> OnEpochEnd:
    """Returns what the reference calls after an epoch: its weights are kept."""

    def on_epoch_end(epoch: int, weights: Tensors, metrics: dict[str, float]) -> None:
        snapshots.save(epoch, weights)
        bar(epoch, metrics)

    return on_epoch_end


def measuring(snapshots: Snapshots, distances: list[Mapping[str, float]], bar: OnEpoch) -> OnEpochEnd:
    """Returns what another run calls after an epoch: its weights are held against the reference's."""

    def on_epoch_end(epoch: int, weights: Tensors, metrics: dict[str, float]) -> None:
        measured = snapshots.distances(epoch, weights)
        if measured is not None:
            distances.append(measured)
        bar(epoch, metrics)

    return on_epoch_end


def measuring_steps(samples: WeightSamples, distances: list[float]) -> OnStepEnd:
    """Returns what another run calls after a step: a few of its weights are held against the reference's."""

    def on_step_end(step: int, read: Read) -> None:
        if step in samples:
            distances.append(samples.distance(step, read))

    return on_step_end


def measure_envelope(
    reference: TorchSide, run: TrainingRun, snapshots: Snapshots, samples: WeightSamples, epochs: int, draw: int = 0
) -> NoiseEnvelope:
    """Trains a copy of the reference whose weights are moved by one ULP, and measures how far it drifts from its run.

    The first copy has one weight moved; any other has all of them moved, up or down at random.
    """
    weights = reference.initial_weights()
    start, nudge = nudge_all(weights, draw) if draw else nudge_one_ulp(weights)
    distances: list[Mapping[str, float]] = []
    step_distances: list[float] = []
    with epoch_bar(f"PyTorch, {'all weights' if draw else 'one weight'} moved by one ULP", epochs) as bar:
        copy = reference.train(
            measuring(snapshots, distances, bar), measuring_steps(samples, step_distances), start=start
        )
    return NoiseEnvelope(
        nudge=nudge,
        step_losses=np.abs(copy.step_losses.astype(np.float64) - run.step_losses),
        epochs=snapshots.epochs,
        weights=distances,
        image_differences=ladder.image_differences(copy.validation_logits, run.validation_logits),
        churn=ladder.churn(copy.validation_logits, run.validation_logits),
        samples=np.array(step_distances),
    )

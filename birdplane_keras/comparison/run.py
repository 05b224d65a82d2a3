"""Trains both sides and has them judged: the work of `scripts/compare.py`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from birdplane_keras.comparison.sides import KerasSide, OnEpochEnd, TorchSide
from birdplane_keras.comparison.snapshots import Snapshots
from birdplane_keras.parity import ladder
from birdplane_keras.parity.checks import Check, climb, not_reached
from birdplane_keras.parity.noise import NoiseEnvelope, nudge_one_ulp, rounding_tolerances
from birdplane_keras.parity.records import Tensors, TrainingRun
from birdplane_keras.parity.tolerances import RUNGS, TOLERANCES
from birdplane_keras.progress import OnEpoch, epoch_bar
from birdplane_keras.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What was found.

    Args:
        checks: One per rung, in order.
        verdict: `bit-exact`, `rounding-only` or `diverged`.
        parameter_counts: Side -> elements of each trainable tensor.
        runs: Side -> its training run; empty where a rung before training failed.
        labels: Split -> (N,) int64.
        epochs: After which the weights were compared.
        distances: For each of those, tensor -> largest difference between the sides.
        envelope: The measured noise; `None` where no bit differs.
        churn: Validation images predicted differently; `None` where nothing was trained.
    """

    checks: list[Check]
    verdict: str
    parameter_counts: dict[str, list[int]]
    runs: dict[str, TrainingRun] = field(default_factory=dict)
    labels: dict[str, np.ndarray] = field(default_factory=dict)
    epochs: list[int] = field(default_factory=list)
    distances: list[Mapping[str, float]] = field(default_factory=list)
    envelope: NoiseEnvelope | None = None
    churn: int | None = None


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
    start = reference.initial_weights()
    port = KerasSide(recipe, start=start, data_dir=data_dir, engine=engine, device=device, synthetic=synthetic)
    return compare_sides(port, reference, epochs=recipe.epochs, out=out)


def compare_sides(port: KerasSide, reference: TorchSide, *, epochs: int, out: Path) -> Comparison:
    """Compares two sides that are ready; see `compare`."""
    tolerances: dict[str, dict[str, float]] = {}
    checks = climb(checks_before_training(port, reference, tolerances))
    counts = {"keras": port.parameter_counts(), "torch": reference.parameter_counts()}
    labels = {split: port.data()[f"y_{split}"] for split in ("train", "validation")}
    if not checks[-1].passed:
        checks += [not_reached(name, checks[-1].name) for name in RUNGS[len(checks) :]]
        return Comparison(checks=checks, verdict="diverged", parameter_counts=counts, labels=labels)

    with Snapshots(out, epochs) as snapshots:
        with epoch_bar("PyTorch", epochs) as bar:
            theirs = reference.train(keeping(snapshots, bar))
        distances: list[Mapping[str, float]] = []
        with epoch_bar("Keras", epochs) as bar:
            ours = port.train(measuring(snapshots, distances, bar))
        envelope = measure_envelope(reference, theirs, snapshots, epochs) if ladder.bits_differ(ours, theirs) else None

    first_loss_noise = tolerances["loss"]["loss"] / TOLERANCES["loss"].factor
    checks += [
        ladder.compare_trajectories(
            ours.step_losses,
            theirs.step_losses,
            steps_per_epoch=len(theirs.step_losses) // epochs,
            envelope=envelope,
            first_loss_noise=first_loss_noise,
            distances=distances,
        ),
        ladder.compare_final_weights(ours.weights, theirs.weights, envelope),
        ladder.compare_predictions(ours.validation_logits, theirs.validation_logits, envelope),
        ladder.compare_accuracies(ours, theirs, labels["validation"]),
    ]
    return Comparison(
        checks=checks,
        verdict=ladder.verdict(checks),
        parameter_counts=counts,
        runs={"keras": ours, "torch": theirs},
        labels=labels,
        epochs=snapshots.epochs,
        distances=distances,
        envelope=envelope,
        churn=ladder.churn(ours.validation_logits, theirs.validation_logits),
    )


def checks_before_training(
    port: KerasSide, reference: TorchSide, tolerances: dict[str, dict[str, float]]
) -> Iterator[Check]:
    """Takes the rungs that need no training, each when it is asked for.

    Args:
        port: The Keras side.
        reference: The PyTorch side.
        tolerances: Filled, before `forward`, with the measured tolerances: rung -> tensor -> largest difference.
    """
    yield ladder.compare_recipes(port.recipe(), reference.recipe())
    yield ladder.compare_exactly("data", port.data(), reference.data())
    yield ladder.compare_batch_order(port.batches(), reference.batches())
    yield ladder.compare_parameter_counts(port.parameter_counts(), reference.parameter_counts())
    yield ladder.compare_exactly("initial_weights", port.initial_weights(), reference.initial_weights())

    ours, theirs = port.first_step(), reference.first_step()
    tolerances |= rounding_tolerances(theirs, reference.first_step(torch.float64))
    for rung, keras_tensors, torch_tensors in (
        ("forward", {"logits": ours.logits}, {"logits": theirs.logits}),
        ("loss", {"loss": ours.loss}, {"loss": theirs.loss}),
        ("gradients", ours.gradients, theirs.gradients),
        ("first_update", ours.updated_weights, theirs.updated_weights),
    ):
        yield ladder.compare_within(rung, keras_tensors, torch_tensors, tolerances[rung])


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


def measure_envelope(reference: TorchSide, run: TrainingRun, snapshots: Snapshots, epochs: int) -> NoiseEnvelope:
    """Trains the reference again with one weight moved by one ULP, and measures how far it drifts from its run."""
    start, nudge = nudge_one_ulp(reference.initial_weights())
    distances: list[Mapping[str, float]] = []
    with epoch_bar("PyTorch, one weight moved by one ULP", epochs) as bar:
        copy = reference.train(measuring(snapshots, distances, bar), start=start)
    return NoiseEnvelope(
        nudge=nudge,
        step_losses=np.abs(copy.step_losses.astype(np.float64) - run.step_losses),
        epochs=snapshots.epochs,
        weights=distances,
        image_differences=ladder.image_differences(copy.validation_logits, run.validation_logits),
        churn=ladder.churn(copy.validation_logits, run.validation_logits),
    )

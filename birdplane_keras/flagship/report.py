"""From a comparison to `report.json` and the pictures beside it."""

import dataclasses
import io
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from birdplane_keras.flagship.run import Comparison
from birdplane_keras.parity.core.disk import check_entries, write_atomically, write_json
from birdplane_keras.parity.core.noise import largest_of_all
from birdplane_keras.parity.core.records import Tensors
from birdplane_keras.parity.core.samples import largest_per_bin
from birdplane_keras.parity.core.tolerances import TOLERANCES
from birdplane_keras.recipe import Recipe
from birdplane_keras.reporting import figures
from birdplane_keras.reporting.page.details import DETAILS_FILE, Details, choose_units, save_details
from birdplane_keras.reporting.page.render import PAGE_FILE, save_page
from birdplane_keras.reporting.terminal import SIDES
from birdplane_keras.run_report import describe_run, describe_settings

WEIGHTS_FILE = "weights.npz"

Arrays = tuple[np.ndarray, np.ndarray]


def build_report(comparison: Comparison, recipe: Recipe, *, engine: str, source: str, device: str) -> dict[str, Any]:
    """Returns the content of `report.json`: the keys of the contract, and what explains the verdict."""
    sides = {
        side: describe_run(comparison.runs.get(side), comparison.parameter_counts[side], comparison.labels)
        for side in ("keras", "torch")
    }
    return {
        "kind": "preset",
        "verdict": comparison.verdict,
        **describe_settings(recipe, engine=engine, source=source, device=device),
        **sides,
        "churn": comparison.churn,
        "first_failure": describe_failure(comparison),
        "diagnosis": [dataclasses.asdict(finding) for finding in comparison.diagnosis],
        "notes": comparison.notes,
        "checks": check_entries(comparison.checks),
        "time_ratio": time_ratio(comparison),
        "weight_distances": describe_distances(comparison),
        "loss_distances": describe_loss_distances(comparison),
    }


def describe_failure(comparison: Comparison) -> dict[str, Any] | None:
    """Returns the first rung that failed, with what is known of the tensor, step and epoch that broke."""
    failed = next((check for check in comparison.checks if not check.passed), None)
    return None if failed is None else {"rung": failed.name, "reason": failed.reason, **(failed.where or {})}


def time_ratio(comparison: Comparison) -> float | None:
    """Returns the median of Keras' seconds per epoch over PyTorch's."""
    if not comparison.runs:
        return None
    seconds = {side: statistics.median(run.seconds_per_epoch) for side, run in comparison.runs.items()}
    return seconds["keras"] / seconds["torch"]


def describe_distances(comparison: Comparison) -> dict[str, Any]:
    """Returns, per epoch, the largest difference between the sides' weights, and that of the envelope.

    `sampled` has the same of a few weights, per step.
    """
    envelope, samples = comparison.envelope, comparison.samples
    noise = None if envelope is None else envelope.samples.tolist()
    return {
        "epochs": comparison.epochs,
        "steps": [(epoch + 1) * steps_per_epoch(comparison) for epoch in comparison.epochs],
        "sides": largest_of_all(comparison.distances),
        "envelope": None if envelope is None else largest_of_all(envelope.weights),
        "factor": TOLERANCES["final_weights"].factor,
        "nudge": None if envelope is None else envelope.nudge,
        "envelope_churn": None if envelope is None else envelope.churn,
        "sampled": None if samples is None else samples.describe(comparison.step_distances, noise),
    }


def steps_per_epoch(comparison: Comparison) -> int:
    """Returns the batches in an epoch of a comparison that trained."""
    run = comparison.runs["torch"]
    return len(run.step_losses) // len(run.seconds_per_epoch)


def describe_loss_distances(comparison: Comparison) -> dict[str, Any] | None:
    """Returns, for stretches of steps, the largest difference between the sides' losses, and that of the envelope."""
    if not comparison.runs:
        return None
    ours, theirs = (comparison.runs[side].step_losses.astype(np.float64) for side in ("keras", "torch"))
    steps, sides, width = largest_per_bin(np.abs(ours - theirs))
    envelope = None if comparison.envelope is None else largest_per_bin(comparison.envelope.step_losses)[1]
    return {"steps": steps, "steps_per_point": width, "sides": sides, "envelope": envelope}


def save_report(folder: Path, report: Mapping[str, Any], comparison: Comparison, validation_data: Arrays) -> list[Path]:
    """Writes pictures, trained weights, the page and `report.json`, each at once or not at all; returns the paths.

    What an earlier comparison left and this one does not have is removed.

    Args:
        folder: Exists.
        report: As `build_report` returns it.
        comparison: Its runs are empty where nothing was trained.
        validation_data: Images (2000, 32, 32, 3) uint8 and labels (2000,).
    """
    written = figures.save_figures(folder, report)
    details = collect_details(comparison, validation_data)
    if comparison.runs:
        save_weights(folder / WEIGHTS_FILE, {side: run.weights for side, run in comparison.runs.items()})
        save_details(folder / DETAILS_FILE, details)
        written += [folder / WEIGHTS_FILE, folder / DETAILS_FILE]
    else:
        (folder / WEIGHTS_FILE).unlink(missing_ok=True)
        (folder / DETAILS_FILE).unlink(missing_ok=True)
    save_page(folder / PAGE_FILE, report, details)
    write_json(folder / "report.json", report)
    return [*written, folder / PAGE_FILE, folder / "report.json"]


def collect_details(comparison: Comparison, validation_data: Arrays) -> Details:
    """Returns what the page shows of the runs beside the report; see `save_report`."""
    images, labels = validation_data
    if not comparison.runs:
        return Details(images=images, labels=labels)
    runs = {side: comparison.runs[side] for side in SIDES}
    first_layers = {side: next(iter(run.weights.values())) for side, run in runs.items()}
    return Details(
        logits={side: run.validation_logits for side, run in runs.items()},
        **choose_units(first_layers, next(iter(comparison.initial_weights.values()))),
        images=images,
        labels=labels,
    )


def save_weights(path: Path, weights: Mapping[str, Tensors]) -> None:
    """Writes both sides' trained tensors as `side/name`, in the reference's names and layout."""
    file = io.BytesIO()
    flat: dict[str, Any] = {f"{side}/{name}": value for side, named in weights.items() for name, value in named.items()}
    np.savez(file, **flat)
    write_atomically(path, file.getvalue())

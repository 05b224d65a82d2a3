"""From a comparison to `report.json` and the pictures beside it."""

import dataclasses
import io
import platform
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import torch

from birdplane_keras.comparison.run import Comparison
from birdplane_keras.evaluation import evaluate_logits
from birdplane_keras.parity.certificate import check_entries, sha256_of, write_atomically, write_json
from birdplane_keras.parity.noise import largest_of_all
from birdplane_keras.parity.records import Tensors, TrainingRun
from birdplane_keras.parity.tolerances import TOLERANCES
from birdplane_keras.recipe import Recipe
from birdplane_keras.reporting import figures

WEIGHTS_FILE = "weights.npz"


def describe_environment(device: str) -> dict[str, Any]:
    """Returns what the figures depend on: versions, device, threads."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "device": f"{device} ({torch.cuda.get_device_name(device)})" if device.startswith("cuda") else device,
        "threads": torch.get_num_threads(),
    }


def build_report(comparison: Comparison, recipe: Recipe, *, engine: str, source: str, device: str) -> dict[str, Any]:
    """Returns the content of `report.json`: the keys of the contract, and what explains the verdict."""
    sides = {
        side: describe_side(comparison.runs.get(side), comparison.parameter_counts[side], comparison.labels)
        for side in ("keras", "torch")
    }
    return {
        "kind": "preset",
        "verdict": comparison.verdict,
        "preset": recipe.name,
        "engine": engine,
        "data": source,
        "seed": recipe.seed,
        "epochs": recipe.epochs,
        "recipe": dataclasses.asdict(recipe),
        "environment": describe_environment(device),
        **sides,
        "churn": comparison.churn,
        "first_failure": describe_failure(comparison),
        "diagnosis": [dataclasses.asdict(finding) for finding in comparison.diagnosis],
        "notes": comparison.notes,
        "checks": check_entries(comparison.checks),
        "time_ratio": time_ratio(comparison),
        "weight_distances": describe_distances(comparison),
    }


def describe_side(run: TrainingRun | None, counts: list[int], labels: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Returns a side's part of the report; null for what only training could have told."""
    described: dict[str, Any] = {"parameter_count": sum(counts), "parameter_counts": counts}
    if run is None:
        unknown = (
            "train_accuracy validation_accuracy confusion_matrix classification_report step_losses epoch_losses "
            "history weights_sha256 seconds_per_epoch"
        )
        return described | dict.fromkeys(unknown.split())
    validation = evaluate_logits(run.validation_logits, labels["validation"])
    return described | {
        "train_accuracy": evaluate_logits(run.train_logits, labels["train"])["accuracy"],
        "validation_accuracy": validation["accuracy"],
        "confusion_matrix": validation["confusion_matrix"],
        "classification_report": validation["classification_report"],
        "step_losses": f"sha256:{sha256_of([run.step_losses])}",
        "epoch_losses": run.history["loss"],
        "history": run.history,
        "weights_sha256": sha256_of(run.weights.values()),
        "seconds_per_epoch": run.seconds_per_epoch,
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
    """Returns, per epoch, the largest difference between the sides' weights, and that of the envelope."""
    envelope = comparison.envelope
    return {
        "epochs": comparison.epochs,
        "sides": largest_of_all(comparison.distances),
        "envelope": None if envelope is None else largest_of_all(envelope.weights),
        "factor": TOLERANCES["final_weights"].factor,
        "nudge": None if envelope is None else envelope.nudge,
        "envelope_churn": None if envelope is None else envelope.churn,
    }


def save_report(folder: Path, report: Mapping[str, Any], runs: Mapping[str, TrainingRun]) -> list[Path]:
    """Writes the pictures, the trained weights and `report.json`, each at once or not at all; returns the paths.

    What an earlier comparison left and this one does not have is removed.
    """
    written = figures.save_figures(folder, report)
    if runs:
        save_weights(folder / WEIGHTS_FILE, {side: run.weights for side, run in runs.items()})
        written.append(folder / WEIGHTS_FILE)
    else:
        (folder / WEIGHTS_FILE).unlink(missing_ok=True)
    write_json(folder / "report.json", report)
    return [*written, folder / "report.json"]


def save_weights(path: Path, weights: Mapping[str, Tensors]) -> None:
    """Writes both sides' trained tensors as `side/name`, in the reference's names and layout."""
    file = io.BytesIO()
    flat: dict[str, Any] = {f"{side}/{name}": value for side, named in weights.items() for name, value in named.items()}
    np.savez(file, **flat)
    write_atomically(path, file.getvalue())

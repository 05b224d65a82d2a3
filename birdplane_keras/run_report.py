"""A training run in plain numbers: what `report.json` says of a side, and of what it ran on."""

import dataclasses
import platform
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import torch

from birdplane_keras.evaluation import evaluate_logits
from birdplane_keras.parity.core.disk import sha256_of
from birdplane_keras.parity.core.records import TrainingRun
from birdplane_keras.recipe import Recipe


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


def describe_settings(recipe: Recipe, *, engine: str, source: str) -> dict[str, Any]:
    """Returns what was run.

    Args:
        recipe: What was trained.
        engine: What the steps of Keras ran on.
        source: `cifar-10` or `synthetic`.
    """
    return {
        "preset": recipe.name,
        "engine": engine,
        "data": source,
        "seed": recipe.seed,
        "epochs": recipe.epochs,
        "recipe": dataclasses.asdict(recipe),
    }


def describe_run(run: TrainingRun | None, counts: list[int], labels: Mapping[str, np.ndarray]) -> dict[str, Any]:
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

"""What `birdplane train` leaves in a folder: the model, its card, the report and its page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from birdplane_keras.files import MODEL_FILE
from birdplane_keras.files.keras_archive import save_keras
from birdplane_keras.parity.core.disk import write_atomically, write_json
from birdplane_keras.recipe import Recipe
from birdplane_keras.reporting.model_card import CARD_FILE, render_model_card
from birdplane_keras.reporting.page.details import DETAILS_FILE, Details, choose_units, save_details
from birdplane_keras.reporting.page.render import PAGE_FILE, save_page
from birdplane_keras.run_report import describe_environment, describe_run, describe_settings
from birdplane_keras.training import TrainingRun, stock_model


def build_train_report(
    run: TrainingRun, recipe: Recipe, labels: Mapping[str, np.ndarray], *, engine: str, source: str, device: str
) -> dict[str, Any]:
    """Returns the content of `report.json`, with the keys that a comparison's has for its Keras side.

    Args:
        run: What was trained.
        recipe: As what.
        labels: Split -> (N,) int64.
        engine: What the steps ran on.
        source: `cifar-10` or `synthetic`.
        device: Where.
    """
    return {
        "kind": "train",
        **describe_settings(recipe, engine=engine, source=source),
        "environment": describe_environment(device),
        "keras": describe_run(run, [weight.size for weight in run.weights.values()], labels),
    }


def save_run(
    folder: Path,
    report: Mapping[str, Any],
    run: TrainingRun,
    model: keras.Sequential,
    recipe: Recipe,
    start: np.ndarray,
    validation_data: tuple[np.ndarray, np.ndarray],
) -> list[Path]:
    """Writes the files, each at once or not at all, and returns their paths.

    Args:
        folder: Exists.
        report: As `build_train_report` returns it.
        run: What was trained.
        model: The trained model.
        recipe: As what.
        start: Its first kernel before training.
        validation_data: Images (2000, 32, 32, 3) uint8 and labels (2000,).
    """
    images, labels = validation_data
    details = Details(
        logits={"keras": run.validation_logits},
        **choose_units({"keras": units_first(next(iter(run.weights.values())))}, units_first(start)),
        images=images,
        labels=labels,
    )
    save_keras(stock_model(model, recipe), folder / MODEL_FILE)
    write_atomically(folder / CARD_FILE, render_model_card(report).encode())
    save_details(folder / DETAILS_FILE, details)
    save_page(folder / PAGE_FILE, report, details)
    write_json(folder / "report.json", report)
    return [folder / name for name in (MODEL_FILE, CARD_FILE, DETAILS_FILE, PAGE_FILE, "report.json")]


def units_first(kernel: np.ndarray) -> np.ndarray:
    """Returns a Keras kernel, (in, out) or (h, w, in, out), as PyTorch has it: (out, in) or (out, in, h, w)."""
    return kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T

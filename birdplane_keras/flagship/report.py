"""From a comparison of the two programs to the files in its folder."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from birdplane_keras.parity.core.disk import write_atomically, write_json
from birdplane_keras.parity.core.records import Tensors, TrainingRun
from birdplane_keras.parity.core.result import SERIES_FILE, Result
from birdplane_keras.reporting import figures
from birdplane_keras.reporting.page.details import DETAILS_FILE, Details, choose_units, save_details
from birdplane_keras.reporting.page.render import PAGE_FILE, save_page
from birdplane_keras.reporting.terminal import SIDES

REPORT_FILE = "report.json"
WEIGHTS_FILE = "weights.npz"

Arrays = tuple[np.ndarray, np.ndarray]


def save_report(
    folder: Path, result: Result, records: Mapping[str, TrainingRun], start: Tensors, validation_data: Arrays
) -> list[Path]:
    """Writes pictures, trained weights, the page, the series and `report.json`; returns the paths.

    Each is written at once or not at all. What an earlier comparison left and this one does not have is removed.

    Args:
        folder: Exists.
        result: What was found.
        records: Side -> what its training left; empty where nothing was trained to the end.
        start: The reference's weights before training.
        validation_data: Images (2000, 32, 32, 3) uint8 and labels (2000,).
    """
    report, trajectory = result.content(), result.trajectory
    written = figures.save_figures(folder, report, trajectory)
    details = collect_details(records, start, validation_data)
    if records:
        save_weights(folder / WEIGHTS_FILE, {side: run.weights for side, run in records.items()})
        save_details(folder / DETAILS_FILE, details)
        written += [folder / WEIGHTS_FILE, folder / DETAILS_FILE]
    else:
        (folder / WEIGHTS_FILE).unlink(missing_ok=True)
        (folder / DETAILS_FILE).unlink(missing_ok=True)
    save_page(folder / PAGE_FILE, report, details, trajectory)
    write_json(folder / SERIES_FILE, result.series())
    write_json(folder / REPORT_FILE, report)
    return [*written, folder / PAGE_FILE, folder / SERIES_FILE, folder / REPORT_FILE]


def collect_details(records: Mapping[str, TrainingRun], start: Tensors, validation_data: Arrays) -> Details:
    """Returns what the page shows of the runs beside the report; see `save_report`."""
    images, labels = validation_data
    if not records:
        return Details(images=images, labels=labels)
    runs = {side: records[side] for side in SIDES}
    first_layers = {side: next(iter(run.weights.values())) for side, run in runs.items()}
    return Details(
        logits={side: run.validation_logits for side, run in runs.items()},
        **choose_units(first_layers, next(iter(start.values()))),
        images=images,
        labels=labels,
    )


def save_weights(path: Path, weights: Mapping[str, Tensors]) -> None:
    """Writes both sides' trained tensors as `side/name`, in the reference's names and layout."""
    file = io.BytesIO()
    flat: dict[str, Any] = {f"{side}/{name}": value for side, named in weights.items() for name, value in named.items()}
    np.savez(file, **flat)
    write_atomically(path, file.getvalue())

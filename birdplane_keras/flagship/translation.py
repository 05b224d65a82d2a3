"""Accuracy against the shift of the image: the article's section 6."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from birdplane_keras.flagship.trained import TrainedSides


def measure_translation(
    trained: TrainedSides, shifts: Sequence[int], on_row: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Scores the validation images moved by every pair of shifts; what comes in at an edge is the mirror image.

    Args:
        trained: Both sides.
        shifts: Pixels down, and pixels to the right.
        on_row: Called after each row of shifts of each side.

    Returns:
        `shifts`, and for each side the accuracies, a row for each shift down and a column for each to the right.
    """
    measured: dict[str, Any] = {"shifts": list(shifts)}
    for side, program in trained.sides.items():
        data = program.data()
        x, y = data["x_validation"], data["y_validation"]
        rows = []
        for down in shifts:
            row = []
            for right in shifts:
                logits = trained.trained[side](program.shifted(x, down, right))
                row.append(float((logits.argmax(axis=1) == y).mean()))
            rows.append(row)
            on_row()
        measured[side] = rows
    return measured


def by_distance(measured: dict[str, Any], side: str) -> dict[int, float]:
    """Returns the mean accuracy over all shifts of one distance, the larger of the pixels down and to the right."""
    shifts = np.abs(measured["shifts"])
    distances = np.maximum.outer(shifts, shifts)
    table = np.array(measured[side])
    return {int(d): float(table[distances == d].mean()) for d in np.unique(distances)}

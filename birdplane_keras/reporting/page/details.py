"""What the page shows and `report.json` does not hold: `details.npz`, and the images."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from birdplane_keras.errors import RequestError
from birdplane_keras.parity.core.disk import write_atomically
from birdplane_keras.reporting.page.pictures import largest_units

DETAILS_FILE = "details.npz"
PARTS = ("logits", "first_layer", "learned")


@dataclass(frozen=True, kw_only=True)
class Details:
    """Of one or two trained sides, by name.

    Args:
        logits: Side -> (2000, 2) float32 on the validation images.
        first_layer: Side -> (U, 3, h, w) float32, weights of at most 64 units of the first layer, the same ones on
            every side: those that training changed most on the first.
        learned: The same, of what training added to those weights.
        images: (2000, 32, 32, 3) uint8, the validation images.
        labels: (2000,) int64.
    """

    logits: Mapping[str, np.ndarray] = field(default_factory=dict)
    first_layer: Mapping[str, np.ndarray] = field(default_factory=dict)
    learned: Mapping[str, np.ndarray] = field(default_factory=dict)
    images: np.ndarray
    labels: np.ndarray


NO_DETAILS = Details(images=np.zeros((0, 32, 32, 3), np.uint8), labels=np.zeros(0, np.int64))


def choose_units(weights: Mapping[str, np.ndarray], start: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """Returns `first_layer` and `learned` of `Details`: the units that the page shows.

    Args:
        weights: Side -> trained weights of the first layer, (U, 3072) or (U, 3, h, w).
        start: The same before training.
    """
    chosen = largest_units(next(iter(weights.values())) - start)
    size = round((start[0].size / 3) ** 0.5)
    shape = (len(chosen), 3, size, size)
    return {
        "first_layer": {side: weight[chosen].reshape(shape) for side, weight in weights.items()},
        "learned": {side: (weight - start)[chosen].reshape(shape) for side, weight in weights.items()},
    }


def save_details(path: Path, details: Details) -> None:
    """Writes logits and weights, at once or not at all; the images can be had again."""
    file = io.BytesIO()
    arrays: dict[str, Any] = {
        f"{part}/{side}": value for part in PARTS for side, value in getattr(details, part).items()
    }
    np.savez_compressed(file, allow_pickle=False, **arrays)
    write_atomically(path, file.getvalue())


def load_details(path: Path, images: np.ndarray, labels: np.ndarray) -> Details:
    """Reads what `save_details` wrote; without the file there is nothing of a trained side.

    Raises:
        RequestError: The file is damaged.
    """
    found: dict[str, dict[str, np.ndarray]] = {part: {} for part in PARTS}
    if path.exists():
        try:
            with np.load(path, allow_pickle=False) as file:
                for name in file.files:
                    part, _, side = name.partition("/")
                    found[part][side] = file[name]
        except Exception as error:  # whatever a damaged archive makes its readers raise
            raise RequestError(f"expected a file that `birdplane` wrote, received {path}: {error}") from error
    return Details(**found, images=images, labels=labels)

"""Pictures for the page, each within the page itself."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

GAP = 1  # pixels between the tiles of a mosaic
MOST_TILES = 64


def data_uri(content: bytes, kind: str) -> str:
    """Returns content as an address that holds it."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def picture_uri(image: np.ndarray) -> str:
    """Returns an image (H, W, 3) uint8 as a PNG within its address."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="png", optimize=True)
    return data_uri(file.getvalue(), "image/png")


def largest_units(weights: np.ndarray) -> np.ndarray:
    """Returns the row numbers of (U, ...) weights with the largest norm, at most 64, largest first."""
    norms = np.linalg.norm(weights.reshape(len(weights), -1), axis=1)
    return np.argsort(-norms, kind="stable")[:MOST_TILES]


def mosaic(weights: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """Returns weights as one picture: a tile for each unit, in rows of equal length.

    Each unit is scaled by its own largest weight: middle grey is 0, full brightness that weight if it is positive.

    Args:
        weights: (U, 3, h, w) float32, channel first.

    Returns:
        (H, W, 3) uint8.
    """
    units = np.asarray(weights, np.float32)
    count, _, height, width = units.shape
    columns = int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    sheet = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), 127, np.uint8)
    for index, unit in enumerate(units):
        scaled = 127.5 + 127.5 * unit / max(float(np.abs(unit).max()), np.finfo(np.float32).tiny)
        top, left = index // columns * (height + GAP), index % columns * (width + GAP)
        sheet[top : top + height, left : left + width] = np.rint(scaled).astype(np.uint8).transpose(1, 2, 0)
    return sheet

"""A model's scores as pictures, through scikit-learn's displays: confusion matrix, ROC curve, calibration."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax
from sklearn.calibration import CalibrationDisplay
from sklearn.metrics import ConfusionMatrixDisplay, RocCurveDisplay

from birdplane_keras.labels import CLASS_NAMES
from birdplane_keras.reporting.figures import new_figure, save_figure

SIZE = (5.2, 4.6)  # inches
POSITIVE = CLASS_NAMES[1]


def draw_confusion(axis: Any, labels: np.ndarray, chances: np.ndarray) -> None:
    """Draws how many images of each class were called what."""
    ConfusionMatrixDisplay.from_predictions(
        labels, (chances > 0.5).astype(int), display_labels=CLASS_NAMES, ax=axis, cmap="Blues", colorbar=False
    )


def draw_roc(axis: Any, labels: np.ndarray, chances: np.ndarray) -> None:
    """Draws the share of birds found against the share of airplanes taken for one."""
    RocCurveDisplay.from_predictions(labels, chances, name=POSITIVE, ax=axis, plot_chance_level=True)


def draw_calibration(axis: Any, labels: np.ndarray, chances: np.ndarray) -> None:
    """Draws how often the images are birds against how sure of it the model is."""
    CalibrationDisplay.from_predictions(labels, chances, n_bins=10, name=POSITIVE, ax=axis)


SCORES: dict[str, tuple[str, Callable[[Any, np.ndarray, np.ndarray], None]]] = {
    "confusion_matrix": ("Confusion matrix", draw_confusion),
    "roc_curve": ("ROC curve", draw_roc),
    "calibration": ("Calibration", draw_calibration),
}


def render_scores(folder: Path, logits: np.ndarray, labels: np.ndarray, *, synthetic: bool) -> None:
    """Writes a picture of each display into a folder.

    Args:
        folder: Exists.
        logits: (N, 2) float32.
        labels: (N,) int64.
        synthetic: Whether the images are the generated stand-in.
    """
    chances = softmax(logits.astype(np.float64), axis=1)[:, 1]
    for name, (title, draw) in SCORES.items():
        figure = new_figure(title, SIZE, synthetic=synthetic)
        draw(figure.add_subplot(), labels, chances)
        save_figure(folder / f"{name}.png", figure)

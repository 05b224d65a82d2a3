"""Pictures of a comparison, drawn from the content of its report."""

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from birdplane_keras.labels import CLASS_NAMES
from birdplane_keras.parity.core.disk import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIDES = {"torch": "PyTorch", "keras": "Keras"}
COLOURS = {"torch": "#d95f02", "keras": "#1b6ca8", "envelope": "#9a9a9a"}
STYLES = {"torch": "-", "keras": "--"}  # where the sides agree, both remain visible
DOTS_PER_INCH = 120


def save_figures(folder: Path, report: Mapping[str, Any], trajectory: Mapping[str, Any] | None) -> list[Path]:
    """Draws every picture that there are numbers for, and removes those that there are none for.

    Args:
        folder: Exists.
        report: The content of `report.json`.
        trajectory: How the runs went, of `series.json`; `None` where nothing was trained.

    Returns:
        The paths written.
    """
    trained = report["keras"]["history"] is not None
    written = []
    for name, render in RENDERERS.items():
        path = folder / f"{name}.png"
        if not trained or trajectory is None:
            path.unlink(missing_ok=True)
            continue
        save_figure(path, render(report, trajectory))
        written.append(path)
    return written


def new_figure(title: str, size: tuple[float, float], *, synthetic: bool) -> "Figure":
    """Returns an empty figure with its title, which says so where the images are not CIFAR-10."""
    from matplotlib.figure import Figure  # no pyplot: no window system, no state

    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(("SYNTHETIC DATA, not CIFAR-10 · " if synthetic else "") + title, fontsize=11)
    return figure


def build_figure(report: Mapping[str, Any], columns: int, size: tuple[float, float]) -> tuple["Figure", np.ndarray]:
    """Returns a figure titled with what was compared, and its axes in a row."""
    title = f"{report['preset']} · engine {report['engine']} · seed {report['seed']} · {report['verdict']}"
    figure = new_figure(title, size, synthetic=report["data"] != "cifar-10")
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def save_figure(path: Path, figure: "Figure") -> None:
    """Writes a picture at once or not at all."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=DOTS_PER_INCH)
    write_atomically(path, picture.getvalue())


def render_curves(report: Mapping[str, Any], trajectory: Mapping[str, Any]) -> "Figure":
    """Draws loss and accuracy of both sides over the epochs, training and validation."""
    figure, axes = build_figure(report, 2, (11, 4.2))
    for axis, quantity in zip(axes, ("loss", "accuracy"), strict=True):
        for side, title in SIDES.items():
            history = report[side]["history"]
            epochs = np.arange(1, len(history[quantity]) + 1)
            style = {"color": COLOURS[side], "linestyle": STYLES[side], "marker": "." if len(epochs) < 3 else None}
            axis.plot(epochs, history[quantity], **style, linewidth=1.8, label=f"{title}, training")
            axis.plot(epochs, history[f"validation_{quantity}"], **style, linewidth=0.9, label=f"{title}, validation")
        axis.set(xlabel="epoch", ylabel=quantity, title=quantity.capitalize())
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    return figure


def render_confusion_matrices(report: Mapping[str, Any], trajectory: Mapping[str, Any]) -> "Figure":
    """Draws both confusion matrices on the validation images, through scikit-learn's display."""
    from sklearn.metrics import ConfusionMatrixDisplay

    figure, axes = build_figure(report, 2, (9, 4.2))
    for axis, (side, title) in zip(axes, SIDES.items(), strict=True):
        matrix = np.array(report[side]["confusion_matrix"])
        display = ConfusionMatrixDisplay(matrix, display_labels=CLASS_NAMES)
        display.plot(ax=axis, cmap="Blues", colorbar=False, im_kw={"vmin": 0, "vmax": matrix.sum(axis=1).max()})
        axis.set_title(f"{title}: {report[side]['validation_accuracy']:.4f}")
    return figure


def render_distances(report: Mapping[str, Any], trajectory: Mapping[str, Any]) -> "Figure":
    """Draws the largest difference between the sides' weights at the checkpoints, with the noise envelope.

    A difference of zero is off a log axis; the line begins where the sides begin to differ.
    """
    figure, (axis,) = build_figure(report, 1, (8, 4.6))
    distances = trajectory["weight_distances"]
    epochs = np.array(distances["steps"]) * report["epochs"] / distances["steps"][-1]
    marker = "o" if len(epochs) < 3 else None
    none_differs, factor = "0 bits differ at every checkpoint", distances["factor"]
    sides, envelope = distances["sides"], distances["envelope"]
    draw_distances(axis, epochs, sides, envelope, factor=factor, none_differs=none_differs, marker=marker)
    axis.set(xlabel="epoch", ylabel="largest difference of any weight", title="Distance between the weights")
    axis.grid(alpha=0.3)
    return figure


def draw_distances(
    axis: "Axes",
    places: np.ndarray,
    sides: Sequence[float] | np.ndarray,
    envelope: Sequence[float] | np.ndarray | None,
    *,
    none_differs: str,
    factor: float | None = None,
    marker: str | None = None,
) -> None:
    """Draws distances between the sides, inside the noise envelope where one was measured.

    Args:
        axis: To draw on.
        places: (P,) epochs or steps.
        sides: (P,) how far the sides are apart.
        envelope: (P,) how far copies of the reference are apart from it.
        none_differs: What to write where all distances are 0, which a log axis cannot show.
        factor: How many times the largest drift so far is allowed; `None` where that is not judged here.
        marker: For the points of a short line.
    """
    style: dict[str, Any] = {"color": COLOURS["keras"], "marker": marker, "label": "Keras against PyTorch"}
    if envelope is None and not np.any(sides):
        axis.text(0.5, 0.5, none_differs, ha="center", transform=axis.transAxes)
        axis.set_xlim(1, max(2, places[-1]))
        return
    if envelope is not None:  # else the runs cannot be compared: one of them met a NaN
        widest = np.fmax.accumulate(envelope)
        label = "noise envelope: PyTorch against itself, weights moved by one ULP"
        smallest = max(min([*positive(envelope), *positive(sides)]) / 3, 1e-12)
        axis.fill_between(places, smallest, widest, color=COLOURS["envelope"], alpha=0.35, label=label)
        axis.plot(places, envelope, color=COLOURS["envelope"], linewidth=1, marker=marker)
        if factor is not None:
            allowed = f"allowed: {factor:g} x the largest drift so far"
            axis.plot(places, factor * widest, ":", color=COLOURS["envelope"], marker=marker, label=allowed)
    axis.plot(places, sides, **style)
    axis.set_yscale("log")
    axis.legend(fontsize=8, loc="lower right")


def positive(values: Sequence[float] | np.ndarray) -> list[float]:
    """Returns the values above zero, which a log axis can show; one ULP of 1 where there is none."""
    return [value for value in values if value is not None and value > 0] or [2.0**-23]


RENDERERS: dict[str, Callable[[Mapping[str, Any], Mapping[str, Any]], "Figure"]] = {
    "curves": render_curves,
    "confusion_matrices": render_confusion_matrices,
    "weight_distances": render_distances,
}

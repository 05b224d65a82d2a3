"""The article's questions answered in tables and pictures: one image, the parameters, accuracy against the shift."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.table import Table

from birdplane_keras.labels import CLASS_NAMES
from birdplane_keras.reporting.figures import COLOURS, SIDES, new_figure

if TYPE_CHECKING:
    from birdplane_keras.reporting.figures import Figure

BYTES = 4  # of a float32
PRESET_COLOURS = ("#d95f02", "#1b6ca8", "#3a923a", "#7b3294", "#8c6d31", "#c51b7d", "#4d4d4d", "#17becf")


def render_answers(looked: Mapping[str, Any], preset: str) -> Table:
    """Returns one row for each side, untrained and trained: probabilities, their sum, the class and the loss."""
    table = Table(title=f"{preset}: image {looked['index']} of the {looked['split']} split, {with_article(looked)}")
    for heading in ("", "side"):
        table.add_column(heading)
    for heading in (*CLASS_NAMES, "sum", "predicted", "loss"):
        table.add_column(heading, justify="right")
    for state, answers in looked["answers"].items():
        for side, title in SIDES.items():
            answer = answers[side]
            chances = answer["probabilities"]
            numbers = [*(f"{chance:.4f}" for chance in chances), f"{sum(chances):.4f}"]
            table.add_row(state, title, *numbers, answer["predicted"], f"{answer['loss']:.4f}")
        table.add_section()
    return table


def with_article(looked: Mapping[str, Any]) -> str:
    """Returns the class of an image with its article."""
    return f"{'an' if looked['label'][0] in 'aeiou' else 'a'} {looked['label']}"


def render_picture(looked: Mapping[str, Any], image: np.ndarray, preset: str, *, synthetic: bool) -> "Figure":
    """Draws an image (32, 32, 3) uint8 as it is, not normalised, and beside it both sides' probabilities."""
    title = f"{preset} · image {looked['index']} of the {looked['split']} split, {with_article(looked)}"
    figure = new_figure(title, (9, 3.6), synthetic=synthetic)
    picture, *charts = figure.subplots(1, 3)
    picture.imshow(image)
    picture.set_axis_off()
    for axis, (state, answers) in zip(charts, looked["answers"].items(), strict=True):
        for offset, (side, label) in zip((-0.2, 0.2), SIDES.items(), strict=True):
            places = np.arange(len(CLASS_NAMES)) + offset
            bars = axis.bar(places, answers[side]["probabilities"], 0.38, color=COLOURS[side], label=label)
            axis.bar_label(bars, fmt="%.3f", fontsize=8)
        axis.set_xticks(range(len(CLASS_NAMES)), CLASS_NAMES)
        axis.set(ylim=(0, 1.25), ylabel="probability", title=state.capitalize())
        axis.legend(fontsize=8, loc="upper center", ncols=2)
    return figure


def render_tensors(counted: Mapping[str, Any], preset: str) -> Table:
    """Returns one row for each tensor on both sides, then the sums."""
    table = Table(title=f"Parameters of {preset}", box=box.SIMPLE)
    for title in SIDES.values():
        table.add_column(title)
        table.add_column("elements", justify="right")
    table.add_column("trained")
    for row in counted["tensors"]:
        cells = []
        for side in SIDES:
            cells += [f"{row[side]} {describe(row[f'{side}_shape'])}", f"{row['count'][side]:,}"]
        table.add_row(*cells, " / ".join(dict.fromkeys("yes" if row["trainable"][side] else "no" for side in SIDES)))
    table.add_section()
    totals = next(iter(counted["totals"].values()))
    for kind, words in (("total", "all"), ("trainable", "trained")):
        table.add_row(*(cell for side in SIDES for cell in (words, f"{totals[side][kind]:,}")), "")
    return table


def describe(shape: Sequence[int]) -> str:
    """Returns a shape in a few characters."""
    return "x".join(map(str, shape))


def render_sizes(counted: Mapping[str, Any], preset: str) -> Table:
    """Returns what the same network costs on larger images: parameters, and the memory of the weights alone."""
    table = Table(title=f"The network of {preset} on larger images")
    table.add_column("image")
    for title in SIDES.values():
        table.add_column(f"parameters,\n{title}", justify="right")
    table.add_column("memory of\nfloat32 weights", justify="right")
    for size, totals in counted["totals"].items():
        counts = [totals[side]["total"] for side in SIDES]
        table.add_row(f"{size} x {size}", *(f"{count:,}" for count in counts), describe_bytes(BYTES * max(counts)))
    return table


def describe_bytes(count: int) -> str:
    """Returns a number of bytes in MB or GB."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def render_shifts(measured: Mapping[str, Any], side: str, preset: str, every: int) -> Table:
    """Returns the accuracies of a side, at every so many pixels: rows down, columns to the right."""
    shown = [index for index, shift in enumerate(measured["shifts"]) if shift % every == 0]
    title = f"{preset}, {SIDES[side]}: validation accuracy of images moved down (rows) and right (columns)"
    table = Table(title=title, caption="pixels; what comes in at an edge is its mirror image (reflection)")
    table.add_column("")
    for index in shown:
        table.add_column(f"{measured['shifts'][index]:+d}", justify="right")
    for row in shown:
        cells = (f"{measured[side][row][column]:.3f}" for column in shown)
        table.add_row(f"{measured['shifts'][row]:+d}", *cells)
    return table


def render_translation(
    measured: Mapping[str, Mapping[str, Any]], distances: Mapping[str, Mapping[int, float]], *, synthetic: bool
) -> "Figure":
    """Draws a heat map of each preset and side over both directions, and the accuracy against the distance.

    Args:
        measured: Preset -> `shifts` and each side's accuracies.
        distances: Preset -> distance in pixels -> mean accuracy of PyTorch's side.
        synthetic: Whether the images are the generated stand-in.
    """
    title = "Validation accuracy of shifted images; what comes in at an edge is its mirror image"
    figure = new_figure(title, (2.5 * len(measured) + 4.5, 5.8), synthetic=synthetic)
    grid = figure.add_gridspec(len(SIDES), len(measured) + 1, width_ratios=[*(1 for _ in measured), 1.7])
    values = [np.array(tables[side]) for tables in measured.values() for side in SIDES]
    low, high = min(v.min() for v in values), max(v.max() for v in values)
    axes = []
    for column, (preset, tables) in enumerate(measured.items()):
        shifts = tables["shifts"]
        edge = (shifts[0] - 0.5, shifts[-1] + 0.5)
        for row, (side, label) in enumerate(SIDES.items()):
            axis = figure.add_subplot(grid[row, column])
            drawn = axis.imshow(tables[side], vmin=low, vmax=high, extent=(*edge, *reversed(edge)), cmap="viridis")
            axis.set_title(f"{preset}, {label}", fontsize=9)
            axis.set(xlabel="pixels right", ylabel="pixels down" if column == 0 else "")
            axes.append(axis)
    figure.colorbar(drawn, ax=axes, shrink=0.6, location="bottom", label="accuracy")
    chart = figure.add_subplot(grid[:, -1])
    for colour, (preset, curve) in zip(PRESET_COLOURS, distances.items(), strict=False):
        chart.plot(list(curve), list(curve.values()), marker="o", markersize=3, color=colour, label=preset)
    chart.set(
        xlabel="shift in pixels, the larger of both directions", ylabel="mean accuracy", title="Against the shift"
    )
    chart.grid(alpha=0.3)
    chart.legend(fontsize=8)
    return figure

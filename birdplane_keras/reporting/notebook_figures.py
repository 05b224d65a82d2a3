"""What a notebook draws of a result, and of an attached model: figures without a background."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from birdplane_keras.errors import RequestError
from birdplane_keras.reporting.figures import COLOURS, SIDES, draw_distances
from birdplane_keras.reporting.page.render import describe_sample, describe_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from birdplane_keras.reporting.inline_figure import InlineFigure

WIDTHS = {"torch": 5.5, "keras": 2.0}  # where two curves are one, the narrow dashes lie on the wide line
MOST_LAYERS = 40  # comparisons that one picture shows
BAR = 0.38  # of the room that a step has, for each of its two bars


def draw_result(content: Mapping[str, Any], series: Mapping[str, Any]) -> "InlineFigure":
    """Returns what a result's series show.

    Of models that were trained: both sides' losses by step, and how far their weights are apart, with the noise
    envelope. Of others: how far each layer is from the reference's, beside its tolerance.

    Args:
        content: Of a certificate or a report.
        series: Of `series.json`: `trajectory`, and `layers`.

    Raises:
        RequestError: There are none.
    """
    trajectory, layers = series["trajectory"], [row for row in series["layers"] if row["tolerance"] is not None]
    title = f"{describe_title(content)}: {content['verdict']}"
    if trajectory is not None and trajectory["losses"]["steps"]:
        return draw_trajectory(trajectory, title)
    if layers:
        return draw_layers(layers, title)
    raise RequestError(f"expected a result with series to draw, received {describe_end(content)}")


def describe_end(content: Mapping[str, Any]) -> str:
    """Returns why there are no series, and what to do."""
    broken = content["first_failure"]
    if broken is not None:
        return f"one that ended before them, at the rung {broken['rung']}: print the result, which names the cause"
    return "one that trains nothing, and for which no layers were compared: give the pair a loss and an optimizer"


def draw_trajectory(trajectory: Mapping[str, Any], title: str) -> "InlineFigure":
    """Draws how both sides were trained."""
    from birdplane_keras.reporting.inline_figure import inline_figure

    with inline_figure((9, 3.6)) as figure:
        figure.suptitle(title, fontsize=10)
        left, right = figure.subplots(1, 2)
        draw_losses(left, trajectory["losses"])
        draw_weights(right, trajectory["weight_distances"])
    return figure


def draw_layers(layers: Sequence[Mapping[str, Any]], title: str) -> "InlineFigure":
    """Draws how far each layer is from the reference's, around the first that is too far."""
    from birdplane_keras.reporting.inline_figure import INK, inline_figure

    first = next((place for place, row in enumerate(layers) if not row["passed"]), len(layers) - 1)
    begin = max(0, min(first - MOST_LAYERS // 2, len(layers) - MOST_LAYERS))
    drawn = layers[begin : begin + MOST_LAYERS]
    with inline_figure((9, 1.4 + 0.27 * len(drawn))) as figure:
        figure.suptitle(title, fontsize=10)
        axis = figure.subplots()
        for passed, colour, label in ((True, "envelope", "within the tolerance"), (False, "torch", "beyond it")):
            places = [place for place, row in enumerate(drawn) if row["passed"] is passed]
            apart = numbers([drawn[place]["max_abs_difference"] for place in places])
            axis.barh(places, apart, color=COLOURS[colour], label=label)
        allowed = numbers([row["tolerance"] for row in drawn])
        axis.scatter(allowed, range(len(drawn)), marker="|", s=400, color=INK, zorder=3, label="tolerance")
        axis.set_yticks(range(len(drawn)), [f"{row['at']} ({row['kind']})" for row in drawn], fontsize=8)
        axis.invert_yaxis()
        axis.set_xscale("log")
        some = f", {len(drawn)} of {len(layers)} comparisons" if len(drawn) < len(layers) else ""
        axis.set(xlabel="largest difference", title=f"Layers, what they receive (between) and make of it (alone){some}")
        axis.legend(markerscale=0.5)
    return figure


def draw_losses(axis: "Axes", losses: Mapping[str, Sequence[float]]) -> None:
    """Draws the losses of both sides by step: PyTorch's as a wide line, Keras' as dashes on it."""
    for order, (side, title) in enumerate(SIDES.items()):
        style: dict[str, Any] = {"color": COLOURS[side], "linewidth": WIDTHS[side], "zorder": 2 + order}
        dashes = {"linestyle": "-"} if side == "torch" else {"linestyle": (0, (4, 3))}
        axis.plot(losses["steps"], numbers(losses[side]), **style, **dashes, marker=mark(losses["steps"]), label=title)
    axis.set(xlabel="step", ylabel="loss")
    axis.grid(alpha=0.3)
    axis.legend()


def draw_weights(axis: "Axes", distances: Mapping[str, Any]) -> None:
    """Draws how far the sides' weights are apart by step, and how far copies of the reference drift from it."""
    sampled = distances["sampled"]
    envelope = None if sampled["envelope"] is None else numbers(sampled["envelope"])
    places = np.asarray(sampled["steps"])
    none_differs = "0 after every step" if not any(distances["sides"]) else "0 in every weight of the sample"
    draw_distances(axis, places, numbers(sampled["sides"]), envelope, none_differs=none_differs, marker=mark(places))
    if axis.get_legend() is None:  # there is no line either, and no height to read
        axis.set_yticks([])
    else:  # above the plot: within it, it would lie on the envelope
        axis.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0)
    axis.set(xlabel=f"step\n{describe_sample(sampled)}", ylabel="distance between the weights")
    axis.grid(alpha=0.3)


def numbers(values: Sequence[float | None]) -> np.ndarray:
    """Returns values as float64; what is none, or not finite, leaves a gap."""
    found = np.array([np.nan if value is None else value for value in values], np.float64)
    return np.where(np.isfinite(found), found, np.nan)


def mark(places: Sequence[float] | np.ndarray) -> str | None:
    """Returns a marker where there are too few points to be seen as a line."""
    return "o" if len(places) < 3 else None


def draw_timings(timings: Sequence[Mapping[str, Any]], model: str) -> "InlineFigure":
    """Returns what a stock and a traced step took, as bars, for each trace that audits have timed.

    Args:
        timings: For each of them `kind`, `batch`, `engine`, `stock_seconds` and `traced_seconds`, of one step.
        model: Its name.

    Raises:
        RequestError: There is none.
    """
    if not timings:
        raise RequestError(
            "expected a model of which an audit has timed a step, received none: attach it with audit='epoch' and "
            "train for two epochs, or go on training, as audit='auto' times a step every hundred"
        )
    from birdplane_keras.reporting.inline_figure import inline_figure

    with inline_figure((9, 1.3 + 0.75 * len(timings))) as figure:
        axis = figure.subplots()
        places = np.arange(len(timings))
        for shift, what, colour in ((-BAR / 2, "stock", "envelope"), (BAR / 2, "traced", "keras")):
            values = [1e3 * timing[f"{what}_seconds"] for timing in timings]
            bars = axis.barh(places + shift, values, BAR, color=COLOURS[colour], label=what)
            axis.bar_label(bars, fmt="%.2f ms", padding=3, fontsize=8)
        axis.set_yticks(places, [f"{timing['kind']}, {timing['engine']}\n{timing['batch']}" for timing in timings])
        axis.invert_yaxis()
        axis.margins(x=0.12)
        axis.set(xlabel="milliseconds of one step, as the last audit timed it", title=f"Steps of {model}")
        axis.legend()
    return figure

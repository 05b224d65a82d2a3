"""From the content of `report.json`, and details, to one page of HTML."""

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup
from scipy.special import softmax

from birdplane_keras.labels import CLASS_NAMES
from birdplane_keras.parity.core.disk import plain, write_atomically
from birdplane_keras.parity.core.renderings import explain
from birdplane_keras.reporting.page.charts import Chart, Line, number
from birdplane_keras.reporting.page.details import NO_DETAILS, Details
from birdplane_keras.reporting.page.pictures import mosaic, picture_uri
from birdplane_keras.reporting.terminal import OUTCOMES, SENTENCES, SIDES
from birdplane_keras.reporting.terminal import number as short_number

ASSETS = Path(__file__).parent / "assets"
PAGE_FILE = "report.html"
MOST_PICTURES = 120  # of each kind: those that were most certain; the page says how many there are


def save_page(
    path: Path,
    report: Mapping[str, Any],
    details: Details = NO_DETAILS,
    trajectory: Mapping[str, Any] | None = None,
) -> None:
    """Writes the page, at once or not at all."""
    write_atomically(path, render_page(report, details, trajectory).encode())


def render_page(
    report: Mapping[str, Any], details: Details = NO_DETAILS, trajectory: Mapping[str, Any] | None = None
) -> str:
    """Returns the page: what was found, everything that it rests on, and the certificate itself.

    Nothing is fetched to show it: styles, script, pictures and certificate are in it.

    Args:
        report: The content of `report.json`, of a comparison or of a run of the Keras side alone, or of the certificate
            of any pair.
        details: What is in the pictures.
        trajectory: How the runs went, of `series.json`; `None` where nothing was trained, or one side alone.
    """
    sides = {side: name for side, name in SIDES.items() if report.get(side) is not None}
    trained = bool(sides) and all(report[side]["history"] for side in sides)
    charts = draw_charts(report, sides, trajectory)
    certificate = json.dumps(plain(report), indent=2, allow_nan=False)
    return (
        open_templates()
        .get_template("page.html.jinja")
        .render(
            report=report,
            sides=sides,
            trained=trained,
            title=describe_title(report),
            sentence=describe_verdict(report, sides),
            charts=charts,
            chart_data={chart.id: chart.data() for chart in charts},
            classes=CLASS_NAMES,
            groups=group_pictures(details, sides) if trained else [],
            ladder=describe_checks(report.get("checks", ())),
            mosaics={
                part: {side: picture_uri(mosaic(weights)) for side, weights in getattr(details, part).items()}
                for part in ("first_layer", "learned")
            },
            units=max((len(weights) for weights in details.first_layer.values()), default=0),
            seconds={side: median(report[side]["seconds_per_epoch"]) for side in sides} if trained else {},
            certificate_name="certificate.json" if report["kind"] == "pair" else "report.json",
            certificate_uri=f"data:application/json;base64,{base64.b64encode(certificate.encode()).decode()}",
            style=Markup((ASSETS / "page.css").read_text()),
            script=Markup((ASSETS / "page.js").read_text()),
        )
    )


def open_templates() -> jinja2.Environment:
    """Returns the templates of HTML; what is filled in is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ASSETS), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = number
    return environment


def describe_title(report: Mapping[str, Any]) -> str:
    """Returns what the page is of."""
    if report["kind"] == "pair":
        return f"Parity of {report['source'] or 'a pair'}, {report['steps']} steps, seed {report['seed']}"
    what = "Parity of" if report["kind"] == "preset" else "Training of"
    return f"{what} {report['preset']}, engine {report['engine']}, seed {report['seed']}, {report['epochs']} epochs"


def describe_verdict(report: Mapping[str, Any], sides: Mapping[str, str]) -> str:
    """Returns the outcome in one sentence."""
    if report["kind"] != "train":
        sentence = SENTENCES[report["verdict"]]
        if report["first_failure"] is not None:
            return f"{sentence} The first rung that broke: {report['first_failure']['rung']}."
        return sentence
    accuracy = report["keras"]["validation_accuracy"]
    return f"After {report['epochs']} epochs the model names {accuracy:.2%} of the validation images correctly."


def describe_checks(checks: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Returns each rung in words; a reason that was given before is not said again."""
    described: list[dict[str, str]] = []
    given: dict[str, str] = {}
    repeated = {state: "" if state == "not reached" else "as for {}" for state in OUTCOMES}
    for check in checks:
        state, reason, bits = check["state"], explain(check), check["bits_differing"]
        described.append(
            {
                "name": check["name"],
                "outcome": "broken" if state == "failed" else state,
                "difference": short_number(check["max_abs_difference"], check["unit"]),
                "tolerance": short_number(check["tolerance"], check["unit"]),
                "bits": "" if bits is None else f"{bits:,}",
                "reason": repeated[state].format(given[reason]) if reason in given else reason,
            }
        )
        given.setdefault(reason, check["name"])
    return described


def draw_charts(
    report: Mapping[str, Any], sides: Mapping[str, str], trajectory: Mapping[str, Any] | None
) -> list[Chart]:
    """Returns the charts that there are numbers for: by epoch where the runs ended, else by step."""
    apart = [] if trajectory is None else draw_apart(trajectory)
    if not sides or not all(report[side]["history"] for side in sides):
        return [] if trajectory is None else [draw_step_losses(trajectory["losses"]), *apart]
    epochs = list(range(1, report["epochs"] + 1))
    alone = " alone" if len(sides) == 1 else ""
    curves = [
        Chart(
            id=measure,
            title=title,
            x_label="epoch",
            x=epochs,
            lines=[
                Line(
                    name=f"{name}, {split}",
                    kind=f"{side} {split}{alone}",
                    values=report[side]["history"][prefix + measure],
                )
                for prefix, split in (("", "train"), ("validation_", "validation"))
                for side, name in sides.items()
            ],
        )
        for measure, title in (("loss", "Loss"), ("accuracy", "Accuracy"))
    ]
    return [*curves, *apart]


def draw_step_losses(losses: Mapping[str, Sequence[float]]) -> Chart:
    """Returns the losses of the steps, of a long run the means of a few each."""
    lines = [Line(name=name, kind=side, values=losses[side]) for side, name in SIDES.items()]
    return Chart(id="loss", title="Loss", x_label="step", x=list(losses["steps"]), lines=lines)


def draw_apart(trajectory: Mapping[str, Any]) -> list[Chart]:
    """Returns how far the sides' weights and their losses are apart, against the step, with the noise envelope."""
    weights, losses = trajectory["weight_distances"], trajectory["loss_distances"]
    note = f"{describe_sample(weights['sampled'])} {describe_envelope(weights)}"
    every = losses["steps_per_point"]
    largest = "" if every == 1 else f"The largest of each {every:,} steps."
    return [
        draw_distances("distance", "Largest distance between the weights", weights["sampled"], note),
        draw_distances("loss-distance", "Distance between the losses of a step", losses, largest),
    ]


def draw_distances(key: str, title: str, distances: Mapping[str, Any], note: str) -> Chart:
    """Returns distances between the sides, with the noise envelope where one was measured."""
    lines = [Line(name="between the sides", kind="keras", values=distances["sides"])]
    if distances["envelope"] is not None:
        lines.append(Line(name="noise envelope", kind="envelope", values=distances["envelope"]))
    return Chart(id=key, title=title, x_label="step", x=distances["steps"], lines=lines, logarithmic=True, note=note)


def describe_sample(sampled: Mapping[str, Any]) -> str:
    """Returns which weights were compared when."""
    every, width = sampled["every"], sampled["steps_per_point"]
    often = "every step" if every == 1 else f"every {every:,} steps"
    largest = "" if width == every else f", the largest of each {width:,} steps"
    return f"Of {sampled['weights']:,} weights from all tensors, after {often}{largest}."


def describe_envelope(distances: Mapping[str, Any]) -> str:
    """Returns what the noise envelope of the weights is."""
    if distances["envelope"] is None:
        return "Every distance is 0: no bit differs, and so no noise had to be measured."
    return (
        f"The envelope is how far copies of the reference drift from it after a nudge: {distances['nudge']}. "
        f"Up to {distances['factor']:g} times as far counts as rounding."
    )


def group_pictures(details: Details, sides: Mapping[str, str]) -> list[dict[str, Any]]:
    """Returns the images that the sides, or they and the label, do not agree on: title, count and pictures."""
    chances = {side: softmax(details.logits[side].astype(np.float64), axis=1) for side in sides}
    said = {side: values.argmax(axis=1) for side, values in chances.items()}
    groups = []
    if len(sides) == 2:
        first, second = said.values()
        groups.append(("between", "The sides disagree", first != second))
    agreed = np.logical_and.reduce([said[side] == next(iter(said.values())) for side in sides])
    wrong = next(iter(said.values())) != details.labels
    both = "Both sides name" if len(sides) == 2 else "The model names"
    groups.append(("label", f"{both} another class than the label", wrong & agreed))
    return [
        {
            "id": key,
            "title": title,
            "count": int(chosen.sum()),
            "of": len(details.labels),
            "pictures": [describe_picture(details, chances, int(row), sides) for row in most_certain(chosen, chances)],
        }
        for key, title, chosen in groups
    ]


def most_certain(chosen: np.ndarray, chances: Mapping[str, np.ndarray]) -> np.ndarray:
    """Returns the rows that were chosen, the most certain answer first, at most as many as the page shows."""
    rows = np.flatnonzero(chosen)
    certainty = next(iter(chances.values()))[rows].max(axis=1)
    return rows[np.argsort(-certainty, kind="stable")][:MOST_PICTURES]


def describe_picture(
    details: Details, chances: Mapping[str, np.ndarray], row: int, sides: Mapping[str, str]
) -> dict[str, Any]:
    """Returns an image with its label and what each side says."""
    answers = {
        name: f"{CLASS_NAMES[int(chances[side][row].argmax())]} {chances[side][row].max():.3f}"
        for side, name in sides.items()
    }
    alike = len(answers) == 2 and len(set(answers.values())) == 1
    said = [f"both: {next(iter(answers.values()))}"] if alike else [f"{name}: {text}" for name, text in answers.items()]
    return {
        "row": row,
        "uri": picture_uri(details.images[row]),
        "label": CLASS_NAMES[details.labels[row]],
        "said": said,
    }

"""Results and explanations as fragments of HTML, as a notebook shows them: in its own colours and fonts."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from statistics import median
from typing import Any

from birdplane_keras.parity.core.renderings import describe_failure, describe_precision
from birdplane_keras.reporting.page.render import describe_checks, describe_title, open_templates
from birdplane_keras.reporting.terminal import SENTENCES, SIDES
from birdplane_keras.reporting.terminal import number as short_number

MARKS = {"passed": "✓", "failed": "✗", "not reached": "·", "left out": "-"}
SILENT = ("not reached", "left out")  # states of rungs that have no figures: those in a row share a line
INDENT = "    "  # of what an explanation says of the line before


def render_result(content: Mapping[str, Any]) -> str:
    """Returns a verdict, what explains it and the ladder as HTML; whatever users named is escaped.

    Args:
        content: Of a certificate or a report.
    """
    trained = all(content.get(side) and content[side]["validation_accuracy"] is not None for side in SIDES)
    return (
        open_templates()
        .get_template("notebook_result.html.jinja")
        .render(
            title=describe_title(content),
            verdict=content["verdict"],
            matches=content["first_failure"] is None,
            sentence=SENTENCES[content["verdict"]],
            failure=describe_failure(content),
            churn=content["churn"],
            synthetic=content.get("data", "cifar-10") != "cifar-10",
            findings=content["diagnosis"],
            rungs=list(describe_rungs(content["checks"])),
            sides=[{"name": name, **describe_side(content[side])} for side, name in SIDES.items()] if trained else [],
            notes=[*describe_precision(content), *(f"Note: {note}" for note in content["notes"])],
            environment=content["environment"],
        )
    )


def describe_rungs(checks: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, str]]:
    """Yields the lines of the ladder; rungs that were not reached, or left out, in a row are one line."""
    described = [
        {**words, "state": check["state"], "mark": MARKS[check["state"]], "noise": short_number(check["times_noise"])}
        for check, words in zip(checks, describe_checks(checks), strict=True)
    ]
    for state, alike in groupby(described, key=lambda rung: rung["state"]):
        rungs = list(alike)
        if state in SILENT:
            yield {**rungs[0], "name": ", ".join(rung["name"] for rung in rungs)}
        else:
            yield from rungs


def describe_side(side: Mapping[str, Any]) -> dict[str, str]:
    """Returns what one program of a preset reports of itself."""
    return {
        "parameters": f"{side['parameter_count']:,}",
        "train": f"{side['train_accuracy']:.4f}",
        "validation": f"{side['validation_accuracy']:.4f}",
        "seconds": f"{median(side['seconds_per_epoch']):.2f}",
    }


def render_explanation(text: str, timings: Sequence[Mapping[str, Any]]) -> str:
    """Returns what an attached model runs on as HTML; whatever users named is escaped.

    Args:
        text: As `torch_plugin.explain` has it: a line for the model, and one for each trace, with what is said of it
            indented below.
        timings: As `notebook_figures.draw_timings` takes them.
    """
    head, *lines = text.splitlines()
    items: list[dict[str, Any]] = []
    for line in lines:
        if line.startswith(INDENT) and items:
            items[-1]["details"].append(line.strip())
        else:
            items.append({"text": line, "details": []})
    rows = [
        {
            "step": f"{timing['kind']}, {timing['batch']}",
            "engine": timing["engine"],
            "stock": f"{1e3 * timing['stock_seconds']:.2f} ms",
            "traced": f"{1e3 * timing['traced_seconds']:.2f} ms",
            "times": f"{timing['stock_seconds'] / timing['traced_seconds']:.2f}",
        }
        for timing in timings
    ]
    template = open_templates().get_template("notebook_explanation.html.jinja")
    return template.render(head=head, items=items, rows=rows)

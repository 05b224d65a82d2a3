"""The comparison as tables in a terminal, drawn from the content of its report."""

from collections.abc import Mapping
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from birdplane_keras.labels import CLASS_NAMES
from birdplane_keras.parity.core.renderings import describe_failure, describe_fixes, describe_parting, outcome

SIDES = {"torch": "PyTorch", "keras": "Keras"}
SENTENCES = {
    "bit-exact": "The sides agree in every bit.",
    "rounding-only": "The sides differ by rounding only: within what the reference's own rounding allows.",
    "diverged": "The sides are not the same.",
}
OUTCOMES = {"passed": "green", "failed": "red", "not reached": "dim", "left out": "dim"}
COLOURS = {"bit-exact": "green", "rounding-only": "green", "diverged": "red"}


def print_report(report: Mapping[str, Any], console: Console) -> None:
    """Prints the ladder, the results of both sides and the verdict."""
    if report["data"] != "cifar-10":
        console.print("SYNTHETIC DATA: generated pictures, not CIFAR-10", style="bold yellow")
    title = f"Parity ladder: {report['preset']}, engine {report['engine']}, seed {report['seed']}"
    console.print(render_ladder(report, title))
    if report["keras"]["validation_accuracy"] is not None:
        console.print(render_results(report))
        console.print(render_confusion_matrices(report))
        console.print(render_classification_reports(report))
    console.print(render_verdict(report))
    for note in report.get("notes", ()):
        console.print(f"Note: {note}.", markup=False)


def print_pair(content: Mapping[str, Any], console: Console) -> None:
    """Prints the ladder of any pair, its verdict, and what explains it."""
    title = f"Parity ladder: {content['source']}, {content['steps']} steps, seed {content['seed']}"
    console.print(render_ladder(content, title))
    for check in content["checks"]:
        if check["state"] == "left out":
            console.print(f"{check['name']} was left out: {check['reason']}.", markup=False)
    console.print(render_verdict(content))
    for note in content["notes"]:
        console.print(f"Note: {note}.", markup=False)


def render_ladder(report: Mapping[str, Any], title: str) -> Table:
    """Returns one row per rung: outcome, difference, tolerance, how much of the noise that is, bits."""
    table = Table(title=title)
    table.add_column("rung", no_wrap=True)
    table.add_column("", no_wrap=True)
    for heading in ("difference", "tolerance", "x noise", "bits"):
        table.add_column(heading, justify="right")
    for check in report["checks"]:
        bits = check["bits_differing"]
        table.add_row(
            check["name"],
            Text(outcome(check), style=OUTCOMES[check["state"]]),
            number(check["max_abs_difference"], check["unit"]),
            number(check["tolerance"], check["unit"]),
            number(check.get("times_noise")),
            "" if bits is None else f"{bits:,}",
        )
    return table


def number(value: float | None, unit: str = "") -> str:
    """Returns a difference in a few characters."""
    return "" if value is None else f"{value:.2g} {unit}".strip()


def render_results(report: Mapping[str, Any]) -> Table:
    """Returns the results of both sides, side by side."""
    table = Table(title=f"{report['epochs']} epochs on {report['environment']['device']}")
    table.add_column("")
    for title in SIDES.values():
        table.add_column(title, justify="right")
    sides = [report[side] for side in SIDES]
    table.add_row("parameters", *(f"{side['parameter_count']:,}" for side in sides))
    table.add_row("train accuracy", *(f"{side['train_accuracy']:.4f}" for side in sides))
    table.add_row("validation accuracy", *(f"{side['validation_accuracy']:.4f}" for side in sides))
    table.add_row("seconds per epoch", *(f"{median(side['seconds_per_epoch']):.2f}" for side in sides))
    table.add_row("weights", *(side["weights_sha256"][:12] for side in sides))
    return table


def render_confusion_matrices(report: Mapping[str, Any]) -> Table:
    """Returns the confusion matrices on the validation images, side by side."""
    table = Table(title="Confusion matrices, validation images")
    table.add_column("true class")
    for title in SIDES.values():
        for name in CLASS_NAMES:
            table.add_column(f"{title}:\n{name}", justify="right")
    for index, name in enumerate(CLASS_NAMES):
        table.add_row(name, *(str(count) for side in SIDES for count in report[side]["confusion_matrix"][index]))
    return table


def render_classification_reports(report: Mapping[str, Any]) -> Table:
    """Returns scikit-learn's classification reports on the validation images, side by side."""
    table = Table(title="Classification reports, validation images")
    for title in ("class", "measure"):
        table.add_column(title)
    for title in SIDES.values():
        table.add_column(title, justify="right")
    for name in CLASS_NAMES:
        for measure in ("precision", "recall", "f1-score"):
            values = (report[side]["classification_report"][name][measure] for side in SIDES)
            table.add_row(name, measure, *(f"{value:.4f}" for value in values), end_section=measure == "f1-score")
    return table


def render_verdict(report: Mapping[str, Any]) -> Text:
    """Returns the verdict in a sentence, with the churn or the first thing that broke."""
    verdict = report["verdict"]
    text = Text.assemble((f"{verdict}: ", f"bold {COLOURS[verdict]}"), SENTENCES[verdict])
    if report["churn"] is not None:
        text.append(f" Churn: {report['churn']}")
        matrix = report["keras"]["confusion_matrix"] if "keras" in report else None
        text.append(f" of {sum(map(sum, matrix)):,} validation images." if matrix else " validation examples.")
    if report["first_failure"] is not None:
        text.append(f"\n{describe_failure(report)}")
    for finding in report.get("diagnosis", ()):
        text.append(f"\nCause: {finding['cause']}. {finding['text']}.\n  Evidence: {finding['evidence']}.")
        text.append("".join(f"\n  In the {line}" for line in describe_parting(finding)))
        text.append("".join(f"\n  Fix: {fix}" for fix in describe_fixes(finding)))
    return text

"""The README's table of results, drawn from the content of reports."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

BEGIN, END = "<!-- results: begin, written by scripts/results.py -->", "<!-- results: end -->"
COLUMNS = ("preset", "side", "parameters", "train", "validation", "published", "churn", "verdict", "seconds per epoch")
SIDES = {"torch": "PyTorch", "keras": "Keras"}
PUBLISHED = {"narrow": "0.8225 article, 0.8210 book", "wide": "0.8125 article, 0.8010 book"}  # validation accuracy


def render_results(reports: Sequence[Mapping[str, Any]], date: str) -> str:
    """Returns the table, and under it what it was measured with.

    Args:
        reports: The content of `report.json`, one per preset; all sides must have been trained.
        date: When, as it is to be printed.
    """
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    for report in reports:
        base = median(report["torch"]["seconds_per_epoch"])
        for side, title in SIDES.items():
            entry = report[side]
            seconds = median(entry["seconds_per_epoch"])
            cells = [
                f"`{report['preset']}`",
                title,
                f"{entry['parameter_count']:,}",
                f"{entry['train_accuracy']:.4f}",
                f"{entry['validation_accuracy']:.4f}",
                PUBLISHED.get(report["preset"], ""),
                str(report["churn"]),
                f"**{report['verdict']}**",
                f"{seconds:.2f} ({seconds / base:.2f})",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    first = reports[0]
    environment = first["environment"]
    measured = (
        f"Measured {date}: {first['epochs']} epochs, seed {first['seed']}, engine `{first['engine']}`, on "
        f"{environment['device']} with {environment['threads']} threads; Python {environment['python']}, "
        f"torch {environment['torch']}, Keras {environment['keras']}. The seconds are the median over the epochs, "
        "training steps only, and in brackets their ratio to PyTorch's; the two sides ran one after the other."
    )
    return "\n".join([BEGIN, "", *lines, "", measured, "", END])


def replace_results(document: str, table: str) -> str:
    """Returns the document with the table in place of the one between the marks.

    Raises:
        ValueError: The document lacks one of the marks.
    """
    before, found, rest = document.partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not found or not closed:
        raise ValueError(f"expected the marks {BEGIN!r} and {END!r}")
    return before + table + after

"""The table of what finished comparisons came to: a row per comparison and side."""

from collections.abc import Mapping, Sequence
from typing import Any

from birdplane_keras.published import describe_published
from birdplane_keras.reporting.markdown import table_lines

COLUMNS = ("preset", "engine", "side", "parameters", "train", "validation", "published", "churn", "verdict")
SIDES = {"torch": "PyTorch", "keras": "Keras"}


def render_results(reports: Sequence[Mapping[str, Any]], date: str) -> str:
    """Returns the table, and under it what it was measured with.

    Args:
        reports: The content of `report.json`, one per comparison; all sides must have been trained.
        date: When, as it is to be printed.
    """
    rows = []
    for report in reports:
        for side, title in SIDES.items():
            entry = report[side]
            rows.append(
                [
                    f"`{report['preset']}`",
                    f"`{report['engine']}`" if side == "keras" else "",
                    title,
                    f"{entry['parameter_count']:,}",
                    f"{entry['train_accuracy']:.4f}",
                    f"{entry['validation_accuracy']:.4f}",
                    describe_published(report["preset"]),
                    str(report["churn"]),
                    f"**{report['verdict']}**",
                ]
            )
    first = reports[0]
    environment = first["environment"]
    measured = (
        f"Measured {date}: {first['epochs']} epochs, seed {first['seed']}, on "
        f"{environment['device']} with {environment['threads']} threads; Python {environment['python']}, "
        f"torch {environment['torch']}, Keras {environment['keras']}."
    )
    return "\n".join([*table_lines(COLUMNS, rows), "", measured])

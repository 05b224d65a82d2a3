"""Tables that commands write into the README and the documentation, and the marks that they lie between."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from birdplane_keras.published import describe_published

BEGIN, END = RESULTS_MARKS = "<!-- results: begin, written by scripts/results.py -->", "<!-- results: end -->"
SPEED_MARKS = "<!-- speed: begin, written by scripts/benchmark.py -->", "<!-- speed: end -->"
NETWORKS_MARKS = ("<!-- networks: written by scripts/benchmark.py -->", "<!-- end of the networks -->")
FEW_NETWORKS_MARKS = ("<!-- networks in short: written by scripts/benchmark.py -->", "<!-- end of the short table -->")
HUNT_MARKS = ("<!-- hunt: written by scripts/hunt.py -->", "<!-- end of the hunt -->")
MUTANTS_MARKS = ("<!-- mutants: written by scripts/mutants.py -->", "<!-- end of the mutants -->")
ZOO_MARKS = ("<!-- zoo: written by scripts/zoo.py -->", "<!-- end of the zoo -->")
EXAMPLE_MARKS = "<!-- example: begin, written by scripts/faults.py -->", "<!-- example: end -->"
CAUSES_MARKS = "<!-- causes: begin, written by scripts/faults.py -->", "<!-- causes: end -->"
FAULTS_MARKS = "<!-- faults: begin, written by scripts/faults.py -->", "<!-- faults: end -->"
PEERS_MARKS = ("<!-- peers: begin, written by scripts/peers.py -->", "<!-- peers: end -->")
PEERS_LIMITS_MARKS = ("<!-- limits of peers: begin, written by scripts/peers.py -->", "<!-- limits of peers: end -->")
COLUMNS = ("preset", "engine", "side", "parameters", "train", "validation", "published", "churn", "verdict")
SIDES = {"torch": "PyTorch", "keras": "Keras"}


def render_results(reports: Sequence[Mapping[str, Any]], date: str) -> str:
    """Returns the table, and under it what it was measured with.

    Args:
        reports: The content of `report.json`, one per comparison; all sides must have been trained.
        date: When, as it is to be printed.
    """
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    for report in reports:
        for side, title in SIDES.items():
            entry = report[side]
            cells = [
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
            lines.append(f"| {' | '.join(cells)} |")
    first = reports[0]
    environment = first["environment"]
    measured = (
        f"Measured {date}: {first['epochs']} epochs, seed {first['seed']}, on "
        f"{environment['device']} with {environment['threads']} threads; Python {environment['python']}, "
        f"torch {environment['torch']}, Keras {environment['keras']}."
    )
    return "\n".join([BEGIN, "", *lines, "", measured, "", END])


def table_lines(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Returns the lines of a table in Markdown."""
    lines = [f"| {' | '.join(headings)} |", "|" + "---|" * len(headings)]
    return [*lines, *[f"| {' | '.join(cells)} |" for cells in rows]]


def write_tables(documents: Sequence[Path], tables: Mapping[tuple[str, str], str]) -> None:
    """Writes tables into documents, each between its marks.

    Args:
        documents: Markdown files; each has the marks of at least one table.
        tables: Marks -> the table, marks included.

    Raises:
        OSError: A document cannot be read or written.
        ValueError: A document lacks the marks.
    """
    for path in documents:
        document = path.read_text()
        present = {marks: table for marks, table in tables.items() if marks[0] in document}
        if not present:
            raise ValueError(f"expected the marks {' or '.join(marks[0] for marks in tables)} in {path}")
        for marks, table in present.items():
            document = replace_between(document, marks, table)
        path.write_text(document)


def replace_between(document: str, marks: tuple[str, str], table: str) -> str:
    """Returns the document with a table, marks included, in place of what is between the marks.

    Raises:
        ValueError: The document lacks one of the marks.
    """
    before, found, rest = document.partition(marks[0])
    _, closed, after = rest.partition(marks[1])
    if not found or not closed:
        raise ValueError(f"expected the marks {marks[0]!r} and {marks[1]!r}")
    return before + table + after

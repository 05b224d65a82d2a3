"""Writes the documentation's table of results from the reports of `compare.py`.

Example: python scripts/results.py runs/narrow/report.json runs/narrow-stock/report.json
"""

import argparse
import datetime
import json
import sys
from pathlib import Path

from birdplane_keras.errors import BirdplaneError
from birdplane_keras.reporting.markdown import RESULTS_MARKS, write_tables
from birdplane_keras.reporting.results import render_results

DOCUMENT = Path(__file__).parent.parent / "docs" / "start" / "reader.md"


def main(argv: list[str] | None = None) -> int:
    """Rewrites the table; returns 0, or 2 where a report or a document is unusable."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", nargs="+", type=Path, help="report.json of a finished comparison")
    parser.add_argument(
        "--tables", type=Path, nargs="+", default=[DOCUMENT], metavar="FILE", help="documents to change"
    )
    arguments = parser.parse_args(argv)
    try:
        reports = [json.loads(path.read_text()) for path in arguments.reports]
        unfit = [path for path, report in zip(arguments.reports, reports, strict=True) if not fit_to_print(report)]
        if unfit:
            raise ValueError(f"expected trained runs on CIFAR-10, received {unfit[0]}")
        if any(setting(report) != setting(reports[0]) for report in reports):
            raise ValueError("expected reports of equal epochs, seed and environment, received unequal ones")
        newest = max(path.stat().st_mtime for path in arguments.reports)
        table = render_results(reports, datetime.date.fromtimestamp(newest).isoformat())
        write_tables(arguments.tables, {RESULTS_MARKS: table})
    except (BirdplaneError, OSError, ValueError, KeyError) as error:
        print(f"results.py: error: {error}", file=sys.stderr)
        return 2
    return 0


def fit_to_print(report: dict) -> bool:
    """Whether a report is of real images and of sides that were trained."""
    return report["data"] == "cifar-10" and report["keras"]["validation_accuracy"] is not None


def setting(report: dict) -> tuple:
    """Returns what the line under the table says of all its rows."""
    return report["epochs"], report["seed"], report["environment"]


if __name__ == "__main__":
    sys.exit(main())

"""`birdplane report`: the page of a run, drawn again from what the run left."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from birdplane_keras.commands.arguments import add_data_arguments, write
from birdplane_keras.errors import RequestError

REPORTS = ("report.json", "certificate.json")
NEEDED: dict[Any, tuple[str, ...]] = {  # by the kind of report
    "preset": ("version", "verdict", "recipe", "checks", "keras", "torch", "data"),
    "train": ("recipe", "keras", "data"),
    "pair": ("version", "verdict", "checks"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares which run to show."""
    help_line = "what `compare` or `train` wrote to, with report.json or certificate.json"
    parser.add_argument("folder", type=Path, metavar="DIR", help=help_line)
    parser.add_argument("--out", type=Path, metavar="FILE", help="the page to write (default: DIR/report.html)")
    add_data_arguments(parser)
    parser.set_defaults(command=report_command)
    parser.epilog = "example: birdplane report runs/narrow"


def report_command(arguments: argparse.Namespace) -> int:
    """`birdplane report`."""
    path = next((found for name in REPORTS if (found := arguments.folder / name).exists()), arguments.folder)
    try:
        report = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise RequestError(f"expected a report that `compare` or `train` wrote, received {path}: {error}") from error
    needed = NEEDED.get(report.get("kind") if isinstance(report, dict) else None, ("kind",))
    if missing := [name for name in needed if name not in report]:
        raise RequestError(
            f"expected a report that `compare` or `train` of this version wrote, received {path}, without "
            f"{', '.join(missing)}"
        )
    from birdplane_keras.reporting.page.details import NO_DETAILS
    from birdplane_keras.reporting.page.render import PAGE_FILE, save_page

    out = arguments.out or arguments.folder / PAGE_FILE
    details = NO_DETAILS if report["kind"] == "pair" else find_details(arguments, report)
    trajectory = None if report["kind"] == "train" else load_trajectory(arguments.folder)
    write(lambda: save_page(out, report, details, trajectory), out)
    print(f"Written: {out}")
    return 0


def load_trajectory(folder: Path) -> Mapping[str, Any] | None:
    """Reads what a comparison left beside its report: how its runs went, `None` where nothing was trained.

    Raises:
        RequestError: It is not there, or damaged.
    """
    from birdplane_keras.parity.core.result import SERIES_FILE

    try:
        return json.loads((folder / SERIES_FILE).read_text())["trajectory"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RequestError(f"expected {SERIES_FILE} beside the report, received {folder}: {error}") from error


def find_details(arguments: argparse.Namespace, report: Mapping[str, Any]) -> Any:
    """Returns what the page shows beside the report: kept in the folder, and the images."""
    from birdplane_keras.data import find_or_fetch
    from birdplane_keras.data.archive import read_split
    from birdplane_keras.reporting.page.details import DETAILS_FILE, load_details

    batches = find_or_fetch(arguments.data_dir, use_synthetic=report["data"] != "cifar-10")
    images, labels, _ = read_split(batches.folder, "test")
    return load_details(arguments.folder / DETAILS_FILE, images, labels)

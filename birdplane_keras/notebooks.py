"""Executes the documentation's notebooks, and reads off what must stay the same. Needs the extra `notebook`."""

import argparse
import copy
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from birdplane_keras.cli import OneLineParser, run
from birdplane_keras.errors import RequestError
from birdplane_keras.extras import require
from birdplane_keras.parity.core.disk import write_atomically

SECONDS = 300  # that a cell may take
MATCH = "bit-exact or rounding-only"  # which of them it is depends on the CPU
# What a line must keep, from its beginning: times and differences are another machine's.
KEPT = re.compile(
    r"(?P<match>bit-exact|rounding-only): |diverged: |First broken rung: \w+|Cause: \w+| +Fix: .+"
    r"|.+ is attached, engine \w+|(train|test|predict), [^:]+: \w+|bits that differ: \d+"
)


def main(folder: Path, argv: list[str] | None = None) -> int:
    """Runs `scripts/notebooks.py`; returns 0, 1 where a cell failed, 2 for an unusable request."""
    parser = OneLineParser(
        prog="notebooks.py",
        description="Execute notebooks and write them with what their cells showed.",
        epilog="needs the extra `notebook`",
    )
    parser.add_argument("paths", nargs="*", type=Path, metavar="FILE", help="default: all of docs/notebooks")
    parser.set_defaults(command=lambda arguments: write_all(arguments, folder))
    return run(parser, argv)


def write_all(arguments: argparse.Namespace, folder: Path) -> int:
    """Writes the notebooks that are named, or all of a folder; returns 1 at the first whose cell fails."""
    exceptions = require("nbclient.exceptions", extra="notebook", what="executing a notebook")
    for path in arguments.paths or sorted(folder.glob("*.ipynb")):
        try:
            write(path)
        except exceptions.CellExecutionError as error:
            print(f"notebooks.py: {path}: {error}", file=sys.stderr)
            return 1
        print(f"Written: {path}")
    return 0


def execute(path: Path) -> Any:
    """Runs a notebook's cells in a new kernel, on one thread, in the notebook's folder.

    Args:
        path: Of a notebook; it stays as it is.

    Returns:
        The notebook with what its cells showed.

    Raises:
        RequestError: The extra `notebook` is not installed, or the file is no notebook.
        nbclient.exceptions.CellExecutionError: A cell failed.
    """
    client = require("nbclient", extra="notebook", what="executing a notebook")
    require("ipykernel", extra="notebook", what="executing a notebook")
    notebook = copy.deepcopy(read(path))
    settings = {"timeout": SECONDS, "kernel_name": "python3", "record_timing": False}
    resources = {"metadata": {"path": str(path.parent)}}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    client.NotebookClient(notebook, resources=resources, **settings).execute(env=environment)
    return notebook


def read(path: Path) -> Any:
    """Returns a notebook as it is.

    Raises:
        RequestError: The file is no notebook.
    """
    nbformat = require("nbformat", extra="notebook", what="reading a notebook")
    try:
        return nbformat.read(path, as_version=4)
    except (OSError, ValueError, nbformat.reader.NotJSONError) as error:
        raise RequestError(f"expected a notebook, received {path}: {error}") from error


def write(path: Path) -> None:
    """Executes a notebook and writes it with what its cells showed, at once or, where a cell fails, not at all."""
    nbformat = require("nbformat", extra="notebook", what="writing a notebook")
    write_atomically(path, (nbformat.writes(execute(path)) + "\n").encode())


def kept_lines(notebook: Any) -> list[str]:
    """Returns what a notebook's cells showed that must be the same on any machine: verdicts, causes, fixes, engines."""
    found = [KEPT.match(line) for text in shown(notebook) for line in text.splitlines()]
    return [MATCH if line["match"] else line[0] for line in found if line]


def shown(notebook: Any) -> Iterator[str]:
    """Yields each text that the cells showed."""
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            yield output.get("text") or output.get("data", {}).get("text/plain", "")

"""Tables in Markdown, and the marks between which commands write them into the README and the documentation."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from birdplane_keras.errors import RequestError
from birdplane_keras.parity.core.disk import write_atomically


class Marks(NamedTuple):
    """Two lines of a document; a command writes what is between them."""

    begin: str
    end: str


RESULTS_MARKS = Marks("<!-- results: begin, written by scripts/results.py -->", "<!-- results: end -->")
REPRODUCTION_MARKS = Marks(
    "<!-- reproduction: begin, written by scripts/reproduce.py -->", "<!-- reproduction: end -->"
)
SPEED_MARKS = Marks("<!-- speed: begin, written by scripts/benchmark.py -->", "<!-- speed: end -->")
NETWORKS_MARKS = Marks("<!-- networks: written by scripts/benchmark.py -->", "<!-- end of the networks -->")
CHANNELS_FIRST_MARKS = Marks(
    "<!-- networks, channels first: written by scripts/benchmark.py -->", "<!-- end of the networks, channels first -->"
)
FEW_NETWORKS_MARKS = Marks(
    "<!-- networks in short: written by scripts/benchmark.py -->", "<!-- end of the short table -->"
)
HUNT_MARKS = Marks("<!-- hunt: written by scripts/hunt.py -->", "<!-- end of the hunt -->")
MUTANTS_MARKS = Marks("<!-- mutants: written by scripts/mutants.py -->", "<!-- end of the mutants -->")
ZOO_MARKS = Marks("<!-- zoo: written by scripts/zoo.py -->", "<!-- end of the zoo -->")
EXAMPLE_MARKS = Marks("<!-- example: begin, written by scripts/faults.py -->", "<!-- example: end -->")
CAUSES_MARKS = Marks("<!-- causes: begin, written by scripts/faults.py -->", "<!-- causes: end -->")
FAULTS_MARKS = Marks("<!-- faults: begin, written by scripts/faults.py -->", "<!-- faults: end -->")
PEERS_MARKS = Marks("<!-- peers: begin, written by scripts/peers.py -->", "<!-- peers: end -->")
PEERS_LIMITS_MARKS = Marks(
    "<!-- limits of peers: begin, written by scripts/peers.py -->", "<!-- limits of peers: end -->"
)


def table_lines(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Returns the lines of a table in Markdown."""
    lines = [f"| {' | '.join(headings)} |", "|" + "---|" * len(headings)]
    return [*lines, *[f"| {' | '.join(cells)} |" for cells in rows]]


def check_documents(documents: Sequence[Path], *marks: Marks) -> None:
    """Makes sure, before a long run, that each document has a place for at least one of the tables.

    Raises:
        RequestError: A document cannot be read, or lacks all the marks, or the second of a pair.
    """
    for path in documents:
        text = _read(path)
        present = [pair for pair in marks if pair.begin in text]
        if not present:
            wanted = " or ".join(repr(pair.begin) for pair in marks)
            raise RequestError(f"expected the mark {wanted} in {path}, received a document without it")
        for pair in present:
            _replace(text, pair, "", path)


def write_tables(documents: Sequence[Path], tables: Mapping[Marks, str]) -> None:
    """Writes tables into documents, each between its marks; a document may have the marks of some of them.

    Raises:
        RequestError: As of `check_documents`; or a document cannot be written. No document is left half-written.
    """
    check_documents(documents, *tables)
    for path in documents:
        text = _read(path)
        for marks, table in tables.items():
            if marks.begin in text:
                text = _replace(text, marks, table, path)
        try:
            write_atomically(path, text.encode())
        except OSError as error:
            raise RequestError(f"expected a document to write, received «{error}»") from error


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"expected a document to rewrite, received «{error}»") from error


def _replace(text: str, marks: Marks, table: str, path: Path) -> str:
    before, _, rest = text.partition(marks.begin)
    _, closed, after = rest.partition(marks.end)
    if not closed:
        raise RequestError(f"expected the mark {marks.end!r} after {marks.begin!r} in {path}, received none")
    return "\n".join([before + marks.begin, "", table, "", marks.end + after])

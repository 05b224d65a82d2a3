"""`birdplane predict`: what a trained model says of image files."""

import argparse
import io
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from birdplane_keras.commands.arguments import add_model_argument, check_engine, find_model
from birdplane_keras.errors import DataError, RequestError
from birdplane_keras.labels import CLASS_NAMES

FORMATS = ("table", "jsonl", "csv")
AT_A_TIME = 64  # files, so that any number of them takes the memory of these
SOME_UNREADABLE = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares which files to ask about, and how to answer."""
    files = "image files, folders of them, or - for an image on standard input"
    parser.add_argument("files", nargs="+", metavar="FILE", help=files)
    add_model_argument(parser)
    parser.add_argument(
        "--format", default=FORMATS[0], metavar="NAME", help=f"one of {', '.join(FORMATS)} (default: {FORMATS[0]})"
    )
    parser.set_defaults(command=predict_command)
    parser.epilog = (
        "exit status: 0, or 1 where a file could not be read; the others are answered. "
        "example: birdplane predict holiday.jpg pictures/ --format jsonl"
    )


def predict_command(arguments: argparse.Namespace) -> int:
    """`birdplane predict`."""
    if arguments.format not in FORMATS:
        raise RequestError(f"expected a format among {', '.join(FORMATS)}, received {arguments.format!r}")
    check_engine(arguments.engine)
    model = find_model(arguments.model)
    from birdplane_keras.data.pictures import find_pictures
    from birdplane_keras.prediction import ImageClassifier

    names = list(find_pictures(arguments.files))
    classifier = ImageClassifier(model, arguments.engine)
    unreadable: list[str] = []
    answers = answer(names, classifier.probabilities, unreadable)
    WRITERS[arguments.format](answers)
    return SOME_UNREADABLE if unreadable else 0


def answer(names: Iterable[str], classify: Callable, unreadable: list[str]) -> Iterator[dict[str, Any]]:
    """Yields for each file its name, label, the label's probability and all probabilities; says which cannot be read.

    Args:
        names: Of the files.
        classify: From images (N, 32, 32, 3) uint8 to probabilities (N, 2).
        unreadable: Takes the names of those that cannot be read.
    """
    import numpy as np

    from birdplane_keras.data.pictures import STANDARD_INPUT, read_picture

    remaining = iter(names)
    while some := list(itertools.islice(remaining, AT_A_TIME)):
        read = []
        for name in some:
            try:
                source = io.BytesIO(sys.stdin.buffer.read()) if name == STANDARD_INPUT else name
                read.append((name, read_picture(source)))
            except DataError as error:
                unreadable.append(name)
                print(f"birdplane predict: {printable(name)}: {error}", file=sys.stderr)
        if not read:
            continue
        for (name, _), row in zip(read, classify(np.stack([image for _, image in read])), strict=True):
            best = int(row.argmax())
            yield {
                "file": printable(name),
                "label": CLASS_NAMES[best],
                "probability": float(row[best]),
                "probabilities": dict(zip(CLASS_NAMES, row.tolist(), strict=True)),
            }


def printable(name: str) -> str:
    """Returns a file's name with what is no text in it spelled out."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")


def write_table(answers: Iterable[dict[str, Any]]) -> None:
    """Prints a table."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("file", "label")
    table.columns[0].overflow = "fold"
    table.add_column("probability", justify="right")
    for found in answers:
        table.add_row(Text(found["file"]), found["label"], f"{found['probability']:.4f}")
    if table.row_count:
        Console().print(table)


def write_json_lines(answers: Iterable[dict[str, Any]]) -> None:
    """Prints a JSON object in a line for each file."""
    import json

    for found in answers:
        print(json.dumps(found, ensure_ascii=False), flush=True)


def write_csv(answers: Iterable[dict[str, Any]]) -> None:
    """Prints a heading, then a line for each file."""
    import csv

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["file", "label", "probability", *CLASS_NAMES])
    for found in answers:
        row = [found["file"], found["label"], found["probability"], *found["probabilities"].values()]
        writer.writerow(row)


WRITERS = {"table": write_table, "jsonl": write_json_lines, "csv": write_csv}

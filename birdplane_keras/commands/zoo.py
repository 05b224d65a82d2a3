"""`birdplane zoo`, which is `scripts/zoo.py`: pairs of other people's models, judged."""

import argparse
import datetime
from pathlib import Path

from birdplane_keras.commands.arguments import add_tables_argument, write
from birdplane_keras.errors import RequestError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares which pairs are judged, and where the document goes."""
    parser.add_argument(
        "--only", action="append", metavar="NAME", help="a pair; may be given more than once (default: all)"
    )
    parser.add_argument("--list", action="store_true", help="name the pairs, and judge none")
    parser.add_argument("--out", type=Path, metavar="FILE", help="a Markdown document to write")
    add_tables_argument(parser)
    parser.set_defaults(command=zoo_command)
    parser.epilog = (
        "exit status: 0, 1 where a difference is not proved or a pair cannot be judged, 2 for an unusable request. "
        f"example: {parser.prog} --only bert"
    )


def zoo_command(arguments: argparse.Namespace) -> int:
    """Judges, and tells."""
    from birdplane_keras.reporting.markdown import ZOO_MARKS, check_documents, write_tables

    check_documents(arguments.tables, ZOO_MARKS)
    from birdplane_keras.zoo.registry import load

    names = list(load())
    unknown = [name for name in arguments.only or () if name not in names]
    if unknown:
        raise RequestError(f"expected --only among {', '.join(names)}, received {unknown[0]!r}")
    if arguments.list:
        print("\n".join(names))
        return 0
    from rich.console import Console
    from rich.progress import track

    from birdplane_keras.parity.core.disk import write_atomically
    from birdplane_keras.zoo.judging import judge_all
    from birdplane_keras.zoo.telling import findings_of, line_of, render, summary

    chosen, rows = arguments.only or names, []
    for row in track(judge_all(chosen), "pairs", total=len(chosen), console=Console(stderr=True)):
        rows.append(row)
        print(line_of(row), *findings_of(row), sep="\n", flush=True)
    if arguments.out is not None:
        document = render(rows, datetime.date.today().isoformat())
        write(lambda: write_atomically(arguments.out, document.encode()), arguments.out)
    write_tables(arguments.tables, {ZOO_MARKS: summary(rows)})
    return 0 if all(row.settled for row in rows) else 1

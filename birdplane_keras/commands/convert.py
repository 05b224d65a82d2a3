"""`birdplane convert` and `birdplane mapping`: what matching has found, as Python."""

import argparse
from pathlib import Path

from birdplane_keras.commands.arguments import prepare_folder
from birdplane_keras.errors import RequestError
from birdplane_keras.pairs import load_pair

PAIR = "package.module:function, which returns a Pair"


def add_convert_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the pair, and where the converter goes."""
    parser.add_argument("--pair", required=True, metavar="MODULE:FUNCTION", help=PAIR)
    out = "the Python file to write (default: convert_weights.py)"
    parser.add_argument("--out", type=Path, default=Path("convert_weights.py"), metavar="FILE", help=out)
    parser.set_defaults(command=convert_command)
    parser.epilog = (
        "The file needs NumPy alone. exit status: 0, 2 for an unusable request, or a weight without counterpart. "
        "example: birdplane convert --pair mine.pairs:digits --out digits_weights.py"
    )


def convert_command(arguments: argparse.Namespace) -> int:
    """`birdplane convert`."""
    if arguments.out.suffix != ".py":
        raise RequestError(f"expected --out to end in .py, received {arguments.out}")
    pair = load_pair(arguments.pair)
    prepare_folder(arguments.out.parent)
    from birdplane_keras.converter import write_converter

    try:
        count = write_converter(pair, arguments.out)
    except OSError as error:
        raise RequestError(f"expected a file to write, received «{error}»") from error
    print(f"{arguments.out}: {count} weights, tried on the pair's own")
    return 0


def add_mapping_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the pair."""
    parser.add_argument("--pair", required=True, metavar="MODULE:FUNCTION", help=PAIR)
    parser.set_defaults(command=mapping_command)
    parser.epilog = (
        "exit status: 0, 1 where weights have no counterpart (they are listed as comments), 2 for an unusable request. "
        "example: birdplane mapping --pair mine.pairs:digits"
    )


def mapping_command(arguments: argparse.Namespace) -> int:
    """`birdplane mapping`."""
    pair = load_pair(arguments.pair)
    from birdplane_keras.parity.core.problems import counted
    from birdplane_keras.parity.sides.suggesting import as_python, found_in, say

    matching = found_in(pair)
    print(as_python(say(matching, pair)), end="")
    if not matching.problems:
        return 0
    print(f"\n# {counted(matching.problems)}:")
    print("\n".join(f"#   {problem.text}" for problem in matching.problems))
    return 1

"""The command line `birdplane`, and the door of `scripts/compare.py`. Nothing heavy is imported before it is needed."""

import argparse
import importlib
import logging
import os
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from birdplane_keras.errors import BirdplaneError

COMMANDS = {  # name -> module in birdplane_keras.commands, function that declares its arguments, help line
    "data": ("data", "add_arguments", "find or fetch the images, and say what was found"),
    "train": ("train", "add_arguments", "train the Keras model alone, and write it with its card and report"),
    "evaluate": ("evaluate", "add_arguments", "score a trained model on the images, with scikit-learn's reports"),
    "predict": ("predict", "add_arguments", "say what a trained model takes image files for"),
    "compare": ("compare", "add_compare_arguments", "train both sides and compare them rung by rung"),
    "show": ("article", "add_show_arguments", "show an image, and what both sides say about it, untrained and trained"),
    "parameters": ("article", "add_parameters_arguments", "count the parameters of both sides, for larger images, too"),
    "shift": ("article", "add_shift_arguments", "measure the accuracy of both sides on shifted images"),
    "export": ("export", "add_arguments", "write a trained model for other tools: Keras, safetensors or ONNX"),
    "faults": ("faults", "add_arguments", "run the judge on planted mistakes and clean pairs, and say what it found"),
    "hunt": ("hunt", "add_arguments", "draw trainings, and run each with stock Keras and with the torch plugin"),
    "mutants": ("mutants", "add_arguments", "draw pairs and mistakes, and say how the judge does on them"),
    "peers": ("peers", "add_arguments", "apply what others check a port with to planted mistakes and clean pairs"),
    "zoo": ("zoo", "add_arguments", "judge pairs of other people's models, and say what differs"),
    "convert": ("convert", "add_convert_arguments", "write Python that carries a pair's weights over, and back"),
    "mapping": ("convert", "add_mapping_arguments", "print which weight of a pair is which, as Python to paste"),
    "report": ("report", "add_arguments", "write report.html again, from what a comparison or a training left"),
}
DESCRIPTION = "Airplane or bird: a Keras 3 port held against PyTorch."
EPILOG = "birdplane COMMAND --help says what a command takes, with an example"
INTERRUPTED = 130
BROKEN_PIPE = 141
INTERNAL_ERROR = 70


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong with the request in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def main(argv: list[str] | None = None) -> int:
    """Runs `birdplane`; returns the exit status."""
    parser = OneLineParser(prog="birdplane", description=DESCRIPTION, epilog=EPILOG)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (module, declare, help_line) in COMMANDS.items():
        command = commands.add_parser(name, help=help_line, description=help_line[0].upper() + help_line[1:] + ".")
        getattr(importlib.import_module(f"birdplane_keras.commands.{module}"), declare)(command)
    return run(parser, argv)


def compare(argv: list[str] | None = None) -> int:
    """Runs `scripts/compare.py`; returns 0 where the sides match, 1 where they diverged, 2 for an unusable request."""
    from birdplane_keras.commands.compare import add_compare_arguments

    parser = OneLineParser(prog="compare.py", description="Train both sides and compare them rung by rung.")
    add_compare_arguments(parser)
    return run(parser, argv)


def faults(argv: list[str] | None = None) -> int:
    """Runs `scripts/faults.py`; returns 0, 1 where the judge was wrong about an entry, 2 for an unusable request."""
    from birdplane_keras.commands.faults import add_arguments

    parser = OneLineParser(prog="faults.py", description="Run the judge on planted mistakes and on clean pairs.")
    add_arguments(parser)
    return run(parser, argv)


def hunt(argv: list[str] | None = None) -> int:
    """Runs `scripts/hunt.py`; returns 0, 1 where an attached model was wrong, 2 for an unusable request."""
    from birdplane_keras.commands.hunt import add_arguments

    parser = OneLineParser(prog="hunt.py", description="Draw trainings, and run each with stock Keras and attached.")
    add_arguments(parser)
    return run(parser, argv)


def mutants(argv: list[str] | None = None) -> int:
    """Runs `scripts/mutants.py`; returns 0, 1 where the judge was wrong about a pair, 2 for an unusable request."""
    from birdplane_keras.commands.mutants import add_arguments

    parser = OneLineParser(prog="mutants.py", description="Draw pairs and mistakes, and judge the judge by them.")
    add_arguments(parser)
    return run(parser, argv)


def peers(argv: list[str] | None = None) -> int:
    """Runs `scripts/peers.py`; returns 0, 1 where our own judge was wrong about a pair, 2 for an unusable request."""
    from birdplane_keras.commands.peers import add_arguments

    parser = OneLineParser(prog="peers.py", description="Apply what others check a port with to planted mistakes.")
    add_arguments(parser)
    return run(parser, argv)


def zoo(argv: list[str] | None = None) -> int:
    """Runs `scripts/zoo.py`; returns 0, 1 where a difference is not proved, 2 for an unusable request."""
    from birdplane_keras.commands.zoo import add_arguments

    parser = OneLineParser(prog="zoo.py", description="Judge pairs of other people's models.")
    add_arguments(parser)
    return run(parser, argv)


def run(parser: argparse.ArgumentParser, argv: list[str] | None) -> int:
    """Parses and runs a command; what the user can fix becomes one line on stderr and exit status 2."""
    arguments = parser.parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    logger = logging.getLogger("birdplane_keras")
    if not logger.handlers:
        logger.addHandler(logging.StreamHandler())
        logger.setLevel(logging.INFO if sys.stderr.isatty() else logging.WARNING)
    try:
        return command(arguments)
    except BirdplaneError as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # who reads our output has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that nothing fails when Python flushes it
        return BROKEN_PIPE
    except KeyboardInterrupt:
        print(f"{parser.prog}: interrupted; no file was left half-written", file=sys.stderr)
        return INTERRUPTED
    except Exception:  # a fault of ours: Python's own status for it, 1, would say that the sides diverged
        traceback.print_exc()
        return INTERNAL_ERROR

"""The command line `birdplane`, and the door of `scripts/compare.py`. Nothing heavy is imported before it is needed."""

import argparse
import logging
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from birdplane_keras.errors import DataError, RequestError
from birdplane_keras.recipe import PRESETS, Recipe, build_recipe

ENGINES = ("stock", "exact", "fused")
DEFAULT_ENGINE = "exact"
NOT_WITH_PAIR = {
    "preset": "narrow",
    "epochs": None,
    "engine": DEFAULT_ENGINE,
    "device": "cpu",
    "data_dir": None,
    "synthetic": False,
}  # and their defaults
INTERRUPTED = 130
INTERNAL_ERROR = 70


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong with the request in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def main(argv: list[str] | None = None) -> int:
    """Runs `birdplane`; returns the exit status."""
    from birdplane_keras.commands import COMMANDS  # they are built from what this file declares

    parser = OneLineParser(prog="birdplane", description="Airplane or bird: a Keras 3 port held against PyTorch.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, add_arguments, help_line in (
        ("data", add_data_arguments, "find or fetch the images, and say what was found"),
        ("train", add_train_arguments, "train the Keras model alone"),
        ("compare", add_compare_arguments, "train both sides and compare them rung by rung"),
        *COMMANDS,
    ):
        add_arguments(commands.add_parser(name, help=help_line, description=help_line.capitalize() + "."))
    return run(parser, argv)


def compare(argv: list[str] | None = None) -> int:
    """Runs `scripts/compare.py`; returns 0 where the sides match, 1 where they diverged, 2 for an unusable request."""
    parser = OneLineParser(prog="compare.py", description="Train both sides and compare them rung by rung.")
    add_compare_arguments(parser)
    return run(parser, argv)


def run(parser: argparse.ArgumentParser, argv: list[str] | None) -> int:
    """Parses and runs a command; what the user can mend becomes one line on stderr and exit status 2."""
    arguments = parser.parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    logger = logging.getLogger("birdplane_keras")
    if not logger.handlers:
        logger.addHandler(logging.StreamHandler())
        logger.setLevel(logging.INFO if sys.stderr.isatty() else logging.WARNING)
    try:
        return command(arguments)
    except (RequestError, DataError) as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{parser.prog}: interrupted; no file was left half-written", file=sys.stderr)
        return INTERRUPTED
    except Exception:  # a fault of ours: Python's own status for it, 1, would say that the sides diverged
        traceback.print_exc()
        return INTERNAL_ERROR


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares where the images come from."""
    parser.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="cache folder (default: BIRDPLANE_DATA, else the platform's)"
    )
    parser.add_argument("--synthetic", action="store_true", help="a generated stand-in instead of CIFAR-10")
    parser.set_defaults(command=data_command)


def add_train_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what to train and on what."""
    parser.add_argument("--preset", default="narrow", metavar="NAME", help=f"one of {', '.join(PRESETS)}")
    add_run_arguments(parser)
    parser.set_defaults(command=train_command)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what may be another in a run of a preset, and on what it is trained."""
    parser.add_argument(
        "--epochs", type=int, metavar="N", help="passes over the training images (default: the preset's)"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="fixes initial weights and batch order (default: 0)")
    parser.add_argument(
        "--engine",
        default=DEFAULT_ENGINE,
        metavar="NAME",
        help=f"what the Keras steps run on, one of {', '.join(ENGINES)} (default: {DEFAULT_ENGINE})",
    )
    parser.add_argument("--device", default="cpu", metavar="D", help="as PyTorch names it (default: cpu)")
    add_data_arguments(parser)


def add_compare_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what to compare and where the report goes."""
    add_train_arguments(parser)
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder for report.json and pictures (default: runs/PRESET, or runs/PRESET-3-epochs and the like)",
    )
    parser.add_argument("--list", action="store_true", help="describe the presets, with what to expect of each")
    parser.add_argument("--pair", metavar="MODULE:FUNCTION", help="judge the pair that this function makes instead")
    parser.add_argument("--steps", type=int, metavar="N", help="training steps of --pair (default: 200)")
    parser.add_argument(
        "--verify", type=Path, metavar="FILE", help="run what a certificate.json or report.json says, and compare"
    )
    parser.set_defaults(command=compare_command)
    parser.epilog = (
        "exit status: 0 the sides match (--verify: the certificate holds), 1 they diverged (it does not), 2 the "
        "request or the data is unusable. example: python scripts/compare.py --preset wide --out runs/wide"
    )


def data_command(arguments: argparse.Namespace) -> int:
    """`birdplane data`."""
    from birdplane_keras.data import find_or_fetch

    batches = find_or_fetch(arguments.data_dir, use_synthetic=arguments.synthetic)
    what = "CIFAR-10" if batches.source == "cifar-10" else "SYNTHETIC DATA, not CIFAR-10"
    print(f"{what}: the six batches are in {batches.folder} ({batches.route}); all six md5 sums agree.")
    return 0


def train_command(arguments: argparse.Namespace) -> int:
    """`birdplane train`."""
    recipe = build_recipe(arguments.preset, epochs=arguments.epochs, seed=arguments.seed)
    check_engine(arguments.engine)
    check_device(arguments.device)
    from birdplane_keras.data import load_data
    from birdplane_keras.data.inputs import normalize
    from birdplane_keras.evaluation import evaluate_logits, report_text
    from birdplane_keras.progress import epoch_bar
    from birdplane_keras.training import train

    (x_train, y_train), (x_validation, y_validation) = load_data(arguments.data_dir, synthetic=arguments.synthetic)
    if arguments.synthetic:
        print("SYNTHETIC DATA: generated pictures, not CIFAR-10")
    with epoch_bar("Keras", recipe.epochs) as bar:
        trained = train(
            recipe,
            (normalize(x_train), y_train),
            (normalize(x_validation), y_validation),
            engine=arguments.engine,
            device=arguments.device,
            on_epoch_end=lambda epoch, model, metrics: bar(epoch, metrics),
        )
    print(f"Train accuracy: {evaluate_logits(trained.train_logits, y_train)['accuracy']:.4f}")
    print(f"Validation accuracy: {evaluate_logits(trained.validation_logits, y_validation)['accuracy']:.4f}")
    print(report_text(trained.validation_logits, y_validation))
    return 0


def compare_command(arguments: argparse.Namespace) -> int:
    """`birdplane compare` and `scripts/compare.py`."""
    if arguments.list:
        from birdplane_keras.reporting.presets import load_expected, render_list

        print(render_list(PRESETS, load_expected()))
        return 0
    if arguments.verify is not None:
        from birdplane_keras.pairs import verify_command

        return verify_command(arguments, preset_command)
    if arguments.pair is not None:
        for name, default in NOT_WITH_PAIR.items():
            if getattr(arguments, name) != default:
                flag = name.replace("_", "-")
                raise RequestError(f"expected --pair without --{flag}: the function makes the whole pair")
        from birdplane_keras.pairs import pair_command

        out = arguments.out or Path("runs") / arguments.pair.replace(":", "-")
        return pair_command(arguments, lambda: prepare_folder(out))
    if arguments.steps is not None:
        raise RequestError("expected --steps together with --pair; a preset has --epochs")
    return preset_command(arguments)[0]


def preset_command(arguments: argparse.Namespace) -> tuple[int, dict[str, Any]]:
    """`compare.py --preset`; returns the exit status and the report."""
    recipe = build_recipe(arguments.preset, epochs=arguments.epochs, seed=arguments.seed)
    check_engine(arguments.engine)
    out = prepare_folder(arguments.out or Path("runs") / name_run(recipe, arguments.engine, arguments.synthetic))
    check_device(arguments.device)
    from rich.console import Console

    from birdplane_keras.comparison.report import build_report, save_report
    from birdplane_keras.comparison.run import compare as compare_programs
    from birdplane_keras.data import default_data_dir, find_or_fetch
    from birdplane_keras.reporting.terminal import print_report

    data_dir = arguments.data_dir or default_data_dir()
    source = find_or_fetch(data_dir, use_synthetic=arguments.synthetic).source
    try:
        comparison = compare_programs(
            recipe,
            data_dir=data_dir,
            out=out,
            engine=arguments.engine,
            device=arguments.device,
            synthetic=arguments.synthetic,
        )
        report = build_report(comparison, recipe, engine=arguments.engine, source=source, device=arguments.device)
        written = save_report(out, report, comparison.runs)
    except OSError as error:
        place = error.filename or out
        raise RequestError(
            f"expected room and rights to write, received «{error.strerror or error}» for {place}"
        ) from error
    console = Console()
    print_report(report, console)
    console.print(f"Written: {', '.join(str(path) for path in written)}", soft_wrap=True)
    return 1 if comparison.verdict == "diverged" else 0, report


def name_run(recipe: Recipe, engine: str, synthetic: bool) -> str:
    """Returns the preset's name and what is not the preset's about the run, so that a short look overwrites nothing."""
    preset = PRESETS[recipe.name]
    parts = [recipe.name]
    parts += [f"{recipe.epochs}-epochs"] if recipe.epochs != preset.epochs else []
    parts += [f"seed-{recipe.seed}"] if recipe.seed != preset.seed else []
    parts += [engine] if engine != DEFAULT_ENGINE else []
    return "-".join(parts + (["synthetic"] if synthetic else []))


def prepare_folder(folder: Path) -> Path:
    """Makes the output folder, and makes sure that it can be written to."""
    try:
        if folder.exists() and not folder.is_dir():
            raise RequestError(f"expected a folder for --out, received the file {folder}: name another, or remove it")
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise RequestError(f"expected a writable folder for --out, received «{error.strerror}» for {folder}") from error
    return folder


def check_engine(name: str) -> None:
    """Makes sure that an engine exists.

    Raises:
        RequestError: It does not.
    """
    if name not in ENGINES:
        raise RequestError(f"expected an engine among {', '.join(ENGINES)}, received {name!r}")


def check_device(name: str) -> None:
    """Makes sure that tensors can be put on a device.

    Raises:
        RequestError: PyTorch does not know the device, or this machine does not have it.
    """
    import torch

    try:
        if torch.empty(0, device=name).is_meta:
            raise RuntimeError("the meta device holds no numbers")
    except (RuntimeError, AssertionError) as error:  # PyTorch asserts that CUDA was compiled in
        reason = str(error).splitlines()[0]
        raise RequestError(
            f"expected a device that this machine has, such as cpu, received {name!r}: {reason}"
        ) from error

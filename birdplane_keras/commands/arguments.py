"""What several commands take, and what is checked of it before anything heavy is loaded."""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

from birdplane_keras.devices import why_not
from birdplane_keras.errors import RequestError
from birdplane_keras.files import MODEL_FILE
from birdplane_keras.recipe import PRESETS, Recipe

ENGINES = ("stock", "exact", "fused")
DEFAULT_ENGINE = "exact"
DEFAULT_MODEL = Path("runs/train-narrow") / MODEL_FILE


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares where the images come from."""
    parser.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="cache folder (default: BIRDPLANE_DATA, else the platform's)"
    )
    parser.add_argument("--synthetic", action="store_true", help="a generated stand-in instead of CIFAR-10")


def add_preset_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares which preset to run, and on what."""
    parser.add_argument(
        "--preset", default="narrow", metavar="NAME", help=f"one of {', '.join(PRESETS)} (default: narrow)"
    )
    add_run_arguments(parser)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what may be another in a run of a preset, and on what it is trained."""
    parser.add_argument(
        "--epochs", type=int, metavar="N", help="passes over the training images (default: the preset's)"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="fixes initial weights and batch order (default: 0)")
    add_engine_argument(parser)
    parser.add_argument("--device", default="cpu", metavar="D", help="as PyTorch names it (default: cpu)")
    add_data_arguments(parser)


def add_model_argument(parser: argparse.ArgumentParser) -> None:
    """Declares which trained model to take, and what it predicts on."""
    where = f"a .keras file, or the folder that `birdplane train` wrote it to (default: {DEFAULT_MODEL})"
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL, metavar="FILE", help=where)
    add_engine_argument(parser)


def add_engine_argument(parser: argparse.ArgumentParser) -> None:
    """Declares what the Keras model runs on."""
    parser.add_argument(
        "--engine",
        default=DEFAULT_ENGINE,
        metavar="NAME",
        help=f"what the Keras steps run on, one of {', '.join(ENGINES)} (default: {DEFAULT_ENGINE})",
    )


def add_tables_argument(parser: argparse.ArgumentParser) -> None:
    """Declares which documents the tables of a command go into."""
    parser.add_argument(
        "--tables", type=Path, nargs="+", default=[], metavar="FILE", help="documents whose tables are to be rewritten"
    )


def find_model(path: Path) -> Path:
    """Returns the file of a trained model, given itself or its folder.

    Raises:
        RequestError: There is none.
    """
    file = path / MODEL_FILE if path.is_dir() else path
    if not file.exists():
        raise RequestError(
            f"expected a trained model, received {file}, which is not there: `birdplane train` makes one"
        )
    return file


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
    reason = why_not(name)
    if reason is not None:
        raise RequestError(f"expected a device that this machine has, such as cpu, received {name!r}: {reason}")


def write(save: Callable[[], None], path: Path) -> None:
    """Writes a file.

    Raises:
        RequestError: There is no room, or no right to.
    """
    try:
        save()
    except OSError as error:
        raise RequestError(f"expected room and rights to write, received «{error.strerror}» for {path}") from error

"""The commands that answer the article's questions: show, parameters, shift."""

import argparse
import csv
import io
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from birdplane_keras.commands.arguments import (
    add_preset_arguments,
    add_run_arguments,
    check_device,
    check_engine,
    name_run,
    prepare_folder,
    write,
)
from birdplane_keras.commands.compare import preset_command
from birdplane_keras.errors import RequestError
from birdplane_keras.labels import SPLIT_SIZES
from birdplane_keras.recipe import IMAGE_SIZE, PRESETS, Recipe, build_recipe

LARGEST_SHIFT = 8
SHOWN_EVERY = 2  # pixels, of the tables in a terminal; the files have all


def add_run_folder(parser: argparse.ArgumentParser) -> None:
    """Declares where the trained sides are, or will be."""
    help_line = "folder of a trained comparison (default: runs/PRESET; it is trained first where it was not)"
    parser.add_argument("--run", type=Path, metavar="DIR", help=help_line)


def add_show_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares which image to show."""
    parser.add_argument("index", type=int, metavar="INDEX", help="of the image in its split, from 0")
    parser.add_argument("--split", default="train", metavar="NAME", help="train or validation (default: train)")
    add_preset_arguments(parser)
    add_run_folder(parser)
    parser.set_defaults(command=show_command)
    parser.epilog = "example: birdplane show 0 --preset narrow"


def add_parameters_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares whose parameters to count."""
    known = f"one of {', '.join(PRESETS)} (default: narrow)"
    parser.add_argument("--preset", default="narrow", metavar="NAME", help=known)
    parser.set_defaults(command=parameters_command)
    parser.epilog = "example: birdplane parameters --preset wide"


def add_shift_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares which presets to try on shifted images."""
    known = f"one or more of {', '.join(PRESETS)} (default: narrow)"
    parser.add_argument("--preset", nargs="+", default=["narrow"], metavar="NAME", help=known)
    pixels = f"the largest shift in pixels (default: {LARGEST_SHIFT})"
    parser.add_argument("--largest", type=int, default=LARGEST_SHIFT, metavar="N", help=pixels)
    add_run_arguments(parser)
    where = "folder of the trained comparisons, one folder each (default: runs; trained first where they were not)"
    parser.add_argument("--runs", type=Path, metavar="DIR", help=where)
    where = "for translation.png and translation.csv (default: runs/translation-PRESET)"
    parser.add_argument("--out", type=Path, metavar="DIR", help=where)
    parser.set_defaults(command=shift_command)
    parser.epilog = "example: birdplane shift --preset narrow shifted convolution"


def show_command(arguments: argparse.Namespace) -> int:
    """`birdplane show`."""
    recipe = build_recipe(arguments.preset, epochs=arguments.epochs, seed=arguments.seed)
    check_image(arguments.split, arguments.index)
    folder = trained_folder(arguments, recipe, arguments.run)
    from rich.console import Console

    from birdplane_keras.data import load_data
    from birdplane_keras.flagship.answers import look_at
    from birdplane_keras.reporting.article import render_answers, render_picture
    from birdplane_keras.reporting.figures import save_figure

    looked = look_at(load_sides(arguments, recipe, folder), arguments.split, arguments.index)
    splits = dict(zip(SPLIT_SIZES, load_data(arguments.data_dir, synthetic=arguments.synthetic), strict=True))
    image = splits[arguments.split][0][arguments.index]
    picture = folder / f"{arguments.split}-image-{arguments.index}.png"
    figure = render_picture(looked, image, recipe.name, synthetic=arguments.synthetic)
    write(lambda: save_figure(picture, figure), picture)
    console = Console()
    console.print(render_answers(looked, recipe.name))
    console.print(f"Written: {picture}", soft_wrap=True)
    return 0


def parameters_command(arguments: argparse.Namespace) -> int:
    """`birdplane parameters`."""
    recipe = build_recipe(arguments.preset)
    from rich.console import Console

    from birdplane_keras.flagship.answers import count_parameters
    from birdplane_keras.reporting.article import render_sizes, render_tensors

    counted = count_parameters(recipe)
    console = Console()
    console.print(render_tensors(counted, recipe.name))
    console.print(render_sizes(counted, recipe.name))
    return 0


def shift_command(arguments: argparse.Namespace) -> int:
    """`birdplane shift`."""
    recipes = [build_recipe(name, epochs=arguments.epochs, seed=arguments.seed) for name in arguments.preset]
    if not 0 <= arguments.largest < IMAGE_SIZE:
        expected = f"expected a shift from 0 to {IMAGE_SIZE - 1} pixels"
        raise RequestError(f"{expected}, so that something of the image is left, received {arguments.largest}")
    out = prepare_folder(arguments.out or Path("runs") / "-".join(["translation", *arguments.preset]))
    folders = [
        trained_folder(arguments, recipe, None if arguments.runs is None else arguments.runs / recipe.name)
        for recipe in recipes
    ]
    from rich.console import Console

    from birdplane_keras.flagship.answers import by_distance, measure_translation
    from birdplane_keras.parity.core.disk import write_atomically
    from birdplane_keras.progress import steps_bar
    from birdplane_keras.reporting.article import render_shifts, render_translation
    from birdplane_keras.reporting.figures import SIDES, save_figure

    console = Console()
    shifts = range(-arguments.largest, arguments.largest + 1)
    measured = {}
    for recipe, folder in zip(recipes, folders, strict=True):
        trained = load_sides(arguments, recipe, folder)
        with steps_bar(f"{recipe.name} on shifted images", len(SIDES) * len(shifts)) as advance:
            measured[recipe.name] = measure_translation(trained, shifts, advance)
        for side in SIDES:
            console.print(render_shifts(measured[recipe.name], side, recipe.name, SHOWN_EVERY))
    if arguments.synthetic:
        console.print("SYNTHETIC DATA: generated pictures, not CIFAR-10", style="bold yellow")
    distances = {name: by_distance(tables, "torch") for name, tables in measured.items()}
    figure = render_translation(measured, distances, synthetic=arguments.synthetic)
    picture, table = out / "translation.png", out / "translation.csv"
    write(lambda: save_figure(picture, figure), picture)
    write(lambda: write_atomically(table, as_csv(measured).encode()), table)
    console.print(f"Written: {picture}, {table}", soft_wrap=True)
    return 0


def as_csv(measured: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns every accuracy as a line: preset, side, pixels down, pixels to the right, accuracy."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["preset", "side", "down", "right", "accuracy"])
    for preset, tables in measured.items():
        for side in ("torch", "keras"):
            for down, row in zip(tables["shifts"], tables[side], strict=True):
                for right, accuracy in zip(tables["shifts"], row, strict=True):
                    writer.writerow([preset, side, down, right, f"{accuracy:.4f}"])
    return text.getvalue()


def check_image(split: str, index: int) -> None:
    """Makes sure that there is such an image.

    Raises:
        RequestError: There is not.
    """
    if split not in SPLIT_SIZES:
        raise RequestError(f"expected a split among {', '.join(SPLIT_SIZES)}, received {split!r}")
    size = SPLIT_SIZES[split]
    if not 0 <= index < size:
        raise RequestError(f"expected an image from 0 to {size - 1} of the {split} split, received {index}")


def trained_folder(arguments: argparse.Namespace, recipe: Recipe, folder: Path | None) -> Path:
    """Returns the folder of a trained comparison, by default the preset's; both sides are trained where they were not.

    Raises:
        RequestError: The sides diverged before their training ended, or the folder cannot be written.
    """
    check_engine(arguments.engine)
    check_device(arguments.device)
    folder = prepare_folder(folder or Path("runs") / name_run(recipe, arguments.engine, arguments.synthetic))
    from birdplane_keras.flagship.trained import has_trained

    if not has_trained(folder):
        print(f"no trained comparison is in {folder}: training both sides of {recipe.name} first", file=sys.stderr)
        preset_command(argparse.Namespace(**{**vars(arguments), "preset": recipe.name, "out": folder}))
        if not has_trained(folder):
            raise RequestError(f"expected two trained sides in {folder}, but they diverged before the end")
    return folder


def load_sides(arguments: argparse.Namespace, recipe: Recipe, folder: Path) -> Any:
    """Returns both sides, untrained and trained."""
    from birdplane_keras.data import default_data_dir
    from birdplane_keras.flagship.trained import load_trained

    data_dir = arguments.data_dir or default_data_dir()
    return load_trained(
        folder,
        recipe,
        data_dir=data_dir,
        engine=arguments.engine,
        device=arguments.device,
        synthetic=arguments.synthetic,
    )

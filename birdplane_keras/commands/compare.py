"""`birdplane compare`, which is `scripts/compare.py`: both sides of a preset, or any pair, rung by rung."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from birdplane_keras.commands.arguments import (
    DEFAULT_ENGINE,
    add_preset_arguments,
    check_device,
    check_engine,
    name_run,
    prepare_folder,
)
from birdplane_keras.errors import RequestError
from birdplane_keras.recipe import PRESETS, build_recipe

NOT_WITH_PAIR = {
    "preset": "narrow",
    "epochs": None,
    "engine": DEFAULT_ENGINE,
    "device": "cpu",
    "data_dir": None,
    "synthetic": False,
}  # and their defaults
NOT_WITH_VERIFY = {
    "preset": "narrow",
    "epochs": None,
    "seed": None,
    "engine": DEFAULT_ENGINE,
    "device": "cpu",
    "synthetic": False,
    "steps": None,
    "search_seconds": None,
}


def add_compare_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what to compare and where the report goes."""
    add_preset_arguments(parser)
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
        "--search-seconds",
        type=float,
        metavar="S",
        help="how long to look for the cause of a difference of --pair (default: what the pair says, else 60, or 120)",
    )
    parser.add_argument(
        "--verify", type=Path, metavar="FILE", help="run what a certificate.json or report.json says, and compare"
    )
    parser.add_argument(
        "--trust", action="store_true", help="let --verify run the code of the pair that the certificate names"
    )
    parser.set_defaults(command=compare_command)
    door = "python scripts/compare.py" if parser.prog == "compare.py" else parser.prog
    parser.epilog = (
        "exit status: 0 the sides match (--verify: the certificate holds), 1 they diverged (it does not), 2 the "
        f"request, the data or the code of a pair is unusable. example: {door} --preset wide --out runs/wide"
    )


def compare_command(arguments: argparse.Namespace) -> int:
    """`birdplane compare` and `scripts/compare.py`."""
    if arguments.list:
        from birdplane_keras.reporting.presets import load_expected, render_list

        print(render_list(PRESETS, load_expected()))
        return 0
    if arguments.verify is not None:
        refuse(arguments, NOT_WITH_VERIFY, "--verify without --{}: the certificate says it")
        from birdplane_keras.commands.pair import verify_command

        return verify_command(arguments, preset_command)
    if arguments.trust:
        raise RequestError("expected --trust together with --verify, whose certificate names the code to run")
    if arguments.pair is not None:
        refuse(arguments, NOT_WITH_PAIR, "--pair without --{}: the function makes the whole pair")
        from birdplane_keras.commands.pair import pair_command

        out = arguments.out or Path("runs") / arguments.pair.replace(":", "-")
        return pair_command(arguments, lambda: prepare_folder(out))
    alone = dict.fromkeys(("steps", "search_seconds"))
    refuse(arguments, alone, "--{} together with --pair; a preset has --epochs")
    return preset_command(arguments)[0]


def refuse(arguments: argparse.Namespace, defaults: Mapping[str, Any], expected: str) -> None:
    """Does nothing where these arguments have their defaults.

    Raises:
        RequestError: One has not; `expected` says what was expected of its flag.
    """
    for name, default in defaults.items():
        if getattr(arguments, name) != default:
            raise RequestError(f"expected {expected.format(name.replace('_', '-'))}")


def preset_command(arguments: argparse.Namespace) -> tuple[int, dict[str, Any]]:
    """`compare.py --preset`; returns the exit status and the report."""
    recipe = build_recipe(arguments.preset, epochs=arguments.epochs, seed=arguments.seed)
    check_engine(arguments.engine)
    out = prepare_folder(arguments.out or Path("runs") / name_run(recipe, arguments.engine, arguments.synthetic))
    check_device(arguments.device)
    from rich.console import Console

    from birdplane_keras.data import default_data_dir, find_or_fetch
    from birdplane_keras.data.archive import read_split
    from birdplane_keras.flagship.report import save_report
    from birdplane_keras.flagship.run import compare as compare_programs
    from birdplane_keras.reporting.terminal import print_report

    data_dir = arguments.data_dir or default_data_dir()
    batches = find_or_fetch(data_dir, use_synthetic=arguments.synthetic)
    try:
        result, records, start = compare_programs(
            recipe,
            data_dir=data_dir,
            source=batches.source,
            engine=arguments.engine,
            device=arguments.device,
            synthetic=arguments.synthetic,
        )
        images, labels, _ = read_split(batches.folder, "test")
        written = save_report(out, result, records, start, (images, labels))
    except OSError as error:
        place = error.filename or out
        raise RequestError(
            f"expected room and rights to write, received «{error.strerror or error}» for {place}"
        ) from error
    console, report = Console(), result.content()
    print_report(report, console)
    console.print(f"Written: {', '.join(str(path) for path in written)}", soft_wrap=True)
    return 1 if result.verdict == "diverged" else 0, report

"""The command line of `scripts/benchmark.py`."""

import argparse
import datetime
from pathlib import Path

from birdplane_keras.cli import OneLineParser, run
from birdplane_keras.commands.arguments import add_data_arguments, add_tables_argument, check_device, prepare_folder
from birdplane_keras.errors import RequestError

ROUNDS, QUICK_ROUNDS = 15, 3
CHANNELS_FIRST = "channels_first"
LAYOUTS = ("channels_last", CHANNELS_FIRST)
NETWORK_ROUNDS = 5
TIMED = ("narrow", "wide")  # presets whose hand-written step and products the rows know


def main(argv: list[str] | None = None) -> int:
    """Runs `scripts/benchmark.py`; returns 0, or 2 for an unusable request."""
    parser = OneLineParser(
        prog="benchmark.py",
        description="Time a training step in PyTorch, in stock Keras and with the plugin, in interleaved rounds.",
        epilog="example: python scripts/benchmark.py --quick",
    )
    parser.add_argument(
        "--networks",
        nargs="*",
        metavar="NAME",
        help="ordinary networks in place of the presets: these, or all that have such a layout",
    )
    parser.add_argument(
        "--layout", choices=LAYOUTS, default=LAYOUTS[0], help=f"of images, with --networks (default: {LAYOUTS[0]})"
    )
    parser.add_argument("--preset", metavar="NAME", help=f"only this one of {', '.join(TIMED)}")
    parser.add_argument("--rounds", type=int, metavar="N", help=f"rounds that count (default: {ROUNDS})")
    parser.add_argument(
        "--processes",
        type=int,
        default=1,
        metavar="N",
        help="of each contestant, with --networks, each with so many rounds (default: 1)",
    )
    parser.add_argument("--quick", action="store_true", help="a look in a minute, on fewer images and rows")
    parser.add_argument("--device", default="cpu", metavar="D", help="as PyTorch names it (default: cpu)")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark"), metavar="DIR", help="for benchmark.json")
    add_tables_argument(parser)
    add_data_arguments(parser)
    parser.set_defaults(command=benchmark_command)
    return run(parser, argv)


def benchmark_command(arguments: argparse.Namespace) -> int:
    """Measures, prints the tables and writes the report."""
    if arguments.networks is not None:
        return networks_command(arguments)
    if arguments.preset is not None and arguments.preset not in TIMED:
        raise RequestError(f"expected a preset among {', '.join(TIMED)}, received {arguments.preset!r}")
    rounds = arguments.rounds if arguments.rounds is not None else QUICK_ROUNDS if arguments.quick else ROUNDS
    if rounds < 1:
        raise RequestError(f"expected 1 round or more, received {rounds}")
    if arguments.tables and (arguments.quick or arguments.preset or arguments.synthetic):
        raise RequestError("expected a whole run on CIFAR-10 for --tables: leave out --quick, --preset and --synthetic")
    out = prepare_folder(arguments.out)
    check_device(arguments.device)
    from rich.console import Console

    from birdplane_keras.benchmark.run import run_benchmark
    from birdplane_keras.benchmark.tables import print_benchmark, render_markdown
    from birdplane_keras.data import load_data
    from birdplane_keras.data.inputs import normalize
    from birdplane_keras.parity.core.disk import write_json
    from birdplane_keras.reporting.markdown import SPEED_MARKS, check_documents, write_tables
    from birdplane_keras.run_report import describe_environment

    check_documents(arguments.tables, SPEED_MARKS)
    console, errors = Console(), Console(stderr=True)
    (images, labels), _ = load_data(arguments.data_dir, synthetic=arguments.synthetic)
    report = run_benchmark(
        normalize(images),
        labels,
        device=arguments.device,
        presets=(arguments.preset,) if arguments.preset else TIMED,
        rounds=rounds,
        quick=arguments.quick,
        progress=lambda line: errors.print(line, style="dim", highlight=False),
    )
    report |= {
        "date": datetime.date.today().isoformat(),
        "data": "synthetic" if arguments.synthetic else "cifar-10",
        "environment": describe_environment(arguments.device),
    }
    print_benchmark(report, console)
    write_json(out / "benchmark.json", report)
    console.print(f"Written: {out / 'benchmark.json'}", soft_wrap=True)
    if arguments.tables:  # of a whole run
        write_tables(arguments.tables, {SPEED_MARKS: render_markdown(report)})
    return 0


def networks_command(arguments: argparse.Namespace) -> int:
    """Measures ordinary networks, prints the tables and writes the report."""
    rounds = arguments.rounds if arguments.rounds is not None else 1 if arguments.quick else NETWORK_ROUNDS
    if rounds < 1:
        raise RequestError(f"expected 1 round or more, received {rounds}")
    if arguments.processes < 1:
        raise RequestError(f"expected --processes of at least 1, received {arguments.processes}")
    if arguments.tables and (arguments.quick or arguments.networks):
        raise RequestError("expected all networks for --tables: leave out --quick, and name none")
    out = prepare_folder(arguments.out)
    check_device(arguments.device)
    from rich.console import Console

    from birdplane_keras.benchmark.network_run import run_networks
    from birdplane_keras.benchmark.network_tables import print_networks, render_few, render_networks
    from birdplane_keras.benchmark.networks import NETWORKS
    from birdplane_keras.parity.core.disk import write_json
    from birdplane_keras.reporting import markdown
    from birdplane_keras.run_report import describe_environment

    unknown = [name for name in arguments.networks if name not in NETWORKS]
    if unknown:
        raise RequestError(f"expected networks among {', '.join(NETWORKS)}, received {unknown[0]!r}")
    renders = {markdown.NETWORKS_MARKS: render_networks, markdown.FEW_NETWORKS_MARKS: render_few}
    chosen = arguments.networks or list(NETWORKS)
    if arguments.layout == CHANNELS_FIRST:
        renders = {markdown.CHANNELS_FIRST_MARKS: render_networks}
        chosen = arguments.networks or [name for name in NETWORKS if NETWORKS[name].is_of_images]
    markdown.check_documents(arguments.tables, *renders)
    console, errors = Console(), Console(stderr=True)
    found: list = []
    report = {
        "quick": arguments.quick,
        "date": datetime.date.today().isoformat(),
        "environment": describe_environment(arguments.device),
        "networks": found,
    }
    for network in run_networks(
        chosen,
        layout=arguments.layout,
        device=arguments.device,
        rounds=rounds,
        processes=arguments.processes,
        quick=arguments.quick,
        progress=lambda line: errors.print(line, style="dim", highlight=False),
    ):
        found.append(network)
        write_json(out / "networks.json", report)  # what there is, should the rest not be reached
    print_networks(report, console)
    console.print(f"Written: {out / 'networks.json'}", soft_wrap=True)
    if arguments.tables:  # of all networks
        markdown.write_tables(arguments.tables, {marks: render(report) for marks, render in renders.items()})
    return 0

"""The command line of `scripts/reproduce.py`."""

import argparse
import datetime
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from birdplane_keras.cli import OneLineParser, run
from birdplane_keras.commands.arguments import add_data_arguments, add_tables_argument, prepare_folder, write
from birdplane_keras.errors import RequestError
from birdplane_keras.recipe import PRESETS
from birdplane_keras.reproduction.jobs import MORE_SEEDS, OVER_SEEDS, Job, plan_jobs

MOST_WORKERS = 4  # each takes up to 1.6 GB of memory
DIVERGED = 1


def main(argv: list[str] | None = None) -> int:
    """Runs `scripts/reproduce.py`; returns 0, 1 where a preset diverged, 2 for an unusable request."""
    parser = OneLineParser(
        prog="reproduce.py",
        description="Train every preset on both sides and write the table of what came out. What is finished stays: "
        "after an interruption, the same command goes on from there.",
        epilog="example: python scripts/reproduce.py --presets narrow small",
    )
    parser.add_argument("--presets", nargs="+", default=list(PRESETS), metavar="NAME", help="only these (default: all)")
    parser.add_argument("--epochs", type=int, metavar="N", help="in place of each preset's own: a quick look")
    parser.add_argument(
        "--seeds", type=int, default=1 + len(MORE_SEEDS), metavar="N", help=f"of {', '.join(OVER_SEEDS)} (default: 5)"
    )
    parser.add_argument("--workers", type=int, metavar="N", help="processes at a time (default: the cores, at most 4)")
    parser.add_argument("--out", type=Path, default=Path("runs/reproduction"), metavar="DIR", help="for all results")
    add_tables_argument(parser)
    parser.add_argument(
        "--expected", type=Path, metavar="FILE", help="write what `compare.py --list` expects here, too"
    )
    add_data_arguments(parser)
    parser.set_defaults(command=reproduce_command)
    return run(parser, argv)


def reproduce_command(arguments: argparse.Namespace) -> int:
    """Trains what is not trained yet, prints the table and writes it."""
    whole = arguments.epochs is None and not arguments.synthetic and set(arguments.presets) == set(PRESETS)
    if (arguments.tables or arguments.expected) and not whole:
        raise RequestError("expected a whole run for --tables and --expected: without --presets, --epochs, --synthetic")
    workers = min(os.cpu_count() or 1, MOST_WORKERS) if arguments.workers is None else arguments.workers
    for name, value in (("workers", workers), ("seeds", arguments.seeds)):
        if value < 1:
            raise RequestError(f"expected --{name} of at least 1, received {value}")
    jobs = plan_jobs(arguments.presets, arguments.out, epochs=arguments.epochs, seeds=range(1, arguments.seeds))
    out = prepare_folder(arguments.out)

    from birdplane_keras.data import load_data
    from birdplane_keras.parity.core.disk import write_json
    from birdplane_keras.reporting.markdown import REPRODUCTION_MARKS, check_documents, write_tables
    from birdplane_keras.reporting.reproduction import render_reproduction
    from birdplane_keras.reproduction.run import run_jobs

    check_documents(arguments.tables, REPRODUCTION_MARKS)
    load_data(arguments.data_dir, synthetic=arguments.synthetic)  # once, so that the processes find all prepared
    done = run_jobs(jobs, workers=workers, data_dir=arguments.data_dir, synthetic=arguments.synthetic)
    expected = collect(arguments.presets, jobs, done)
    table = render_reproduction(expected)
    print(table)
    write_json(out / "expected.json", expected)
    if arguments.expected is not None:
        write(lambda: write_json(arguments.expected, expected), arguments.expected)
    write_tables(arguments.tables, {REPRODUCTION_MARKS: table})
    diverged = [name for name, found in expected["presets"].items() if found["verdict"] == "diverged"]
    for name in diverged:
        print(f"diverged: {name}, see {out / name / 'report.json'}", file=sys.stderr)
    return DIVERGED if diverged else 0


def collect(presets: Sequence[str], jobs: Sequence[Job], done: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the results by preset, in the order of the presets: the comparison's, and the accuracies over seeds."""
    collected: dict[str, Any] = {}
    for name in presets:
        mine = [job for job in jobs if job.recipe.name == name]
        compared = next(done[job.name] for job in mine if job.compares)
        seeds = {0: compared["torch"]["validation_accuracy"]}
        seeds |= {job.recipe.seed: done[job.name]["validation_accuracy"] for job in mine if not job.compares}
        kept = {key: value for key, value in compared.items() if key != "environment"}
        collected[name] = kept | {"seeds": {str(seed): seeds[seed] for seed in sorted(seeds)}}
    environment = next(done[job.name]["environment"] for job in jobs if job.compares)
    return {"date": datetime.date.today().isoformat(), "environment": environment, "presets": collected}

"""`birdplane hunt`, which is `scripts/hunt.py`: drawn trainings, stock and attached."""

import argparse
import datetime
from collections import Counter

from birdplane_keras.commands.arguments import add_tables_argument
from birdplane_keras.errors import RequestError

DEFAULT_CASES = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares how many are drawn, from which seed, and where the table goes."""
    parser.add_argument(
        "--cases", type=int, default=DEFAULT_CASES, metavar="N", help=f"trainings to draw (default: {DEFAULT_CASES})"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the draws (default: 0)")
    add_tables_argument(parser)
    parser.set_defaults(command=hunt_command)
    parser.epilog = (
        "exit status: 0, 1 where an attached model was wrong or crashed, 2 for an unusable request. "
        f"example: {parser.prog} --cases 20 --seed 3"
    )


def hunt_command(arguments: argparse.Namespace) -> int:
    """Draws, runs, and tells."""
    if arguments.cases < 1:
        raise RequestError(f"expected --cases of at least 1, received {arguments.cases}")
    from birdplane_keras.reporting.markdown import HUNT_MARKS, check_documents, write_tables

    check_documents(arguments.tables, HUNT_MARKS)
    from birdplane_keras.extras import require

    require("hypothesis", extra="test", what="the hunt")
    from rich.console import Console
    from rich.progress import track

    from birdplane_keras.hunt.drawing import draw, simplest
    from birdplane_keras.hunt.running import Finding, Outcome, judge
    from birdplane_keras.hunt.telling import render, reproduction

    screen = Console(stderr=True)
    drawn = list(draw(arguments.cases, arguments.seed))
    found: list[Finding] = [judge(training) for training in track(drawn, "trainings", console=screen)]
    bad = [each for each in found if each.outcome in (Outcome.WRONG, Outcome.CRASHED)]
    table = render(found, seed=arguments.seed, date=datetime.date.today().isoformat())
    print(table)
    told: Counter[str] = Counter()
    for each in bad:
        least = simplest(each.training, lambda one: judge(one).outcome in (Outcome.WRONG, Outcome.CRASHED))
        told[reproduction(least, judge(least))] += 1
    for text, count in told.items():
        print(f"\n{count} x {text}")
    write_tables(arguments.tables, {HUNT_MARKS: table})
    return 1 if bad else 0

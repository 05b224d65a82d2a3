"""`birdplane mutants`, which is `scripts/mutants.py`: drawn pairs, and mistakes in their ports, judged."""

import argparse
import datetime

from birdplane_keras.commands.arguments import add_tables_argument
from birdplane_keras.errors import RequestError

DEFAULT_MUTANTS = 50
MOST_MISTAKES = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares how many are drawn, from which seed, and where the table goes."""
    parser.add_argument(
        "--mutants", type=int, default=DEFAULT_MUTANTS, metavar="N", help=f"pairs to draw (default: {DEFAULT_MUTANTS})"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the draws (default: 0)")
    parser.add_argument(
        "--mistakes",
        type=int,
        default=1,
        metavar="N",
        help=f"mistakes in each port, at most {MOST_MISTAKES} (default: 1)",
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes (default: 1)")
    parser.add_argument("--verbose", action="store_true", help="tell every mistake that is not placed and explained")
    add_tables_argument(parser)
    parser.set_defaults(command=mutants_command)
    parser.epilog = (
        "exit status: 0, 1 where a mistake slipped through or a right port was accused, 2 for an unusable request. "
        f"example: {parser.prog} --mutants 20 --seed 3"
    )


def mutants_command(arguments: argparse.Namespace) -> int:
    """Draws, judges, and tells."""
    for name in ("mutants", "mistakes", "jobs"):
        if getattr(arguments, name) < 1:
            raise RequestError(f"expected --{name} of at least 1, received {getattr(arguments, name)}")
    if arguments.mistakes > MOST_MISTAKES:
        raise RequestError(f"expected --mistakes of at most {MOST_MISTAKES}, received {arguments.mistakes}")
    from joblib import Parallel, delayed
    from rich.console import Console
    from rich.progress import track

    from birdplane_keras.mutants.judging import judge_seed
    from birdplane_keras.mutants.telling import describe, is_sound, render
    from birdplane_keras.reporting.markdown import MUTANTS_MARKS, check_documents, write_tables

    check_documents(arguments.tables, MUTANTS_MARKS)
    work = Parallel(n_jobs=arguments.jobs, return_as="generator_unordered")
    drawn = work(delayed(judge_seed)(arguments.seed, n, arguments.mistakes) for n in range(arguments.mutants))
    screen = Console(stderr=True)
    found = sorted(track(drawn, "pairs", total=arguments.mutants, console=screen), key=lambda each: each["number"])
    table = render(found, seed=arguments.seed, date=datetime.date.today().isoformat())
    print(table)
    for each in found:
        for text in describe(each, everything=arguments.verbose):
            print(f"\n{text}")
    write_tables(arguments.tables, {MUTANTS_MARKS: table})
    return 0 if is_sound(found) else 1

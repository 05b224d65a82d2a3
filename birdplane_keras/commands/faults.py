"""`birdplane faults`, which is `scripts/faults.py`: the judge on planted mistakes and on clean pairs."""

import argparse
import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from birdplane_keras.commands.arguments import add_tables_argument, write
from birdplane_keras.errors import RequestError

if TYPE_CHECKING:
    from birdplane_keras.catalogue.records import Fault

DEFAULT_SEEDS = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares how much is judged and where the tables go."""
    parser.add_argument(
        "--seeds",
        type=int,
        default=DEFAULT_SEEDS,
        metavar="N",
        help=f"starts of each clean pair (default: {DEFAULT_SEEDS})",
    )
    parser.add_argument("--list", action="store_true", help="name the entries of the catalogue")
    parser.add_argument("--only", metavar="NAME", help="judge this one entry of the catalogue and print what was found")
    add_tables_argument(parser)
    parser.add_argument("--document", type=Path, metavar="FILE", help="where the whole list goes")
    parser.add_argument("--causes", type=Path, metavar="DIR", help="pages of causes whose examples are to be rewritten")
    parser.set_defaults(command=faults_command)
    parser.epilog = (
        "exit status: 0, 1 where a mistake slipped through or a clean pair was accused, 2 for an unusable request. "
        f"example: {parser.prog} --only learning_rate_of_keras"
    )


def faults_command(arguments: argparse.Namespace) -> int:
    """Judges the catalogue, and writes what was found."""
    if arguments.seeds < 0:
        raise RequestError(f"expected --seeds of at least 0, received {arguments.seeds}")
    from rich.console import Console
    from rich.progress import track

    from birdplane_keras.catalogue.judging import judge_clean, judge_fault
    from birdplane_keras.catalogue.registry import CLEAN, FAULTS
    from birdplane_keras.parity.core import rungs
    from birdplane_keras.parity.core.disk import write_atomically
    from birdplane_keras.reporting.faults import render_faults, render_summary
    from birdplane_keras.reporting.markdown import FAULTS_MARKS, check_documents, write_tables

    if arguments.list:
        print("\n".join(f"{entry.name}: {entry.mistake}" for entry in FAULTS))
        print("\n".join(f"{entry.name}: a clean pair" for entry in CLEAN))
        return 0
    if arguments.only is not None:
        return judge_one(arguments.only)
    if arguments.causes is not None:
        return write_causes(arguments.causes)
    check_documents(arguments.tables, FAULTS_MARKS)
    screen = Console(stderr=True)
    found = [judge_fault(fault) for fault in track(FAULTS, "planted mistakes", console=screen)]
    ladder = rungs.names()
    found.sort(key=lambda entry: ladder.index(entry["expected"][0]))
    runs = [(clean, seed) for clean in CLEAN for seed in range(arguments.seeds)]
    judged = [judge_clean(clean, seed) for clean, seed in track(runs, "clean pairs", console=screen)]
    alarms = [alarm for alarm in judged if alarm is not None]
    summary = render_summary(
        found,
        clean=len(CLEAN),
        runs=len(runs),
        alarms=alarms,
        environment=found[0]["environment"],
        date=datetime.date.today().isoformat(),
    )
    print(summary)
    if arguments.document is not None:
        document = render_faults(found, [clean.name for clean in CLEAN], summary)
        write(lambda: write_atomically(arguments.document, document.encode()), arguments.document)
    write_tables(arguments.tables, {FAULTS_MARKS: summary})
    return 1 if alarms or not all(entry["caught"] for entry in found) else 0


def judge_one(name: str) -> int:
    """Judges one entry of the catalogue and prints the report; returns 1 where the outcome is not the expected one."""
    from birdplane_keras.catalogue.records import Clean, Fault
    from birdplane_keras.catalogue.registry import CLEAN, FAULTS
    from birdplane_keras.parity import check_parity

    entries: list[Fault | Clean] = [*FAULTS, *CLEAN]
    known = {entry.name: entry for entry in entries}
    if name not in known:
        raise RequestError(f"expected the name of an entry of the catalogue, received {name!r}: --list names them")
    planted = next((fault for fault in FAULTS if fault.name == name), None)
    print("A clean pair." if planted is None else f"Planted: {planted.mistake}; its cause is {planted.cause}.")
    report = check_parity(known[name].make(0))
    print(report)
    return int((report.verdict == "diverged") != any(name == fault.name for fault in FAULTS))


def write_causes(folder: Path) -> int:
    """Judges a mistake of each cause and writes what is printed into the cause's page; returns 0."""
    from rich.console import Console
    from rich.progress import track

    from birdplane_keras.catalogue.registry import FAULTS
    from birdplane_keras.reporting.cause_pages import render_contents
    from birdplane_keras.reporting.markdown import CAUSES_MARKS, EXAMPLE_MARKS, check_documents, write_tables

    by_cause: dict[str, list] = {}
    for fault in FAULTS:
        by_cause.setdefault(fault.cause, []).append(fault)
    rungs = {cause: [fault.rung for fault in faults] for cause, faults in by_cause.items()}
    check_documents([folder / f"{cause}.md" for cause in by_cause], EXAMPLE_MARKS)
    check_documents([folder / "index.md"], CAUSES_MARKS)
    for cause, faults in track(by_cause.items(), "causes", console=Console(stderr=True)):
        write_tables([folder / f"{cause}.md"], {EXAMPLE_MARKS: example_of(cause, faults)})
    write_tables([folder / "index.md"], {CAUSES_MARKS: render_contents(folder, rungs)})
    return 0


def example_of(cause: str, faults: "Sequence[Fault]") -> str:
    """Returns the example of a cause: the first of its mistakes that the judge calls so."""
    from birdplane_keras.catalogue.records import source_of
    from birdplane_keras.parity import check_parity
    from birdplane_keras.reporting.cause_pages import render_example

    for fault in faults:
        printed = str(check_parity(fault.make(0)))
        if f"Cause: {cause}." in printed:
            file, source = source_of(fault)
            inside = file.relative_to(Path(__file__).parents[2]).as_posix()
            return render_example(fault.name, fault.mistake, inside, source, printed)
    raise ValueError(f"no mistake of the cause {cause} is called so")

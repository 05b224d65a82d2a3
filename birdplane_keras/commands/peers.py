"""`birdplane peers`, which is `scripts/peers.py`: what others check a port with, on the catalogue and on mutants."""

import argparse
import datetime
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from birdplane_keras.commands.arguments import add_tables_argument, prepare_folder, write
from birdplane_keras.errors import RequestError

FILE = "peers.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what is judged and where the tables go."""
    parser.add_argument(
        "--faults", type=int, metavar="N", help="as many mistakes and clean pairs, drawn (default: all)"
    )
    parser.add_argument(
        "--mutants", type=int, default=0, metavar="N", help="drawn pairs, each with a mistake, too (default: 0)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the draws (default: 0)")
    parser.add_argument("--only", metavar="NAME", help="one entry of the catalogue, and what every method says of it")
    parser.add_argument("--judged", type=Path, metavar="FILE", help=f"an earlier {FILE}: what our judge said is in it")
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"a folder for {FILE}, with every answer")
    add_tables_argument(parser)
    parser.set_defaults(command=peers_command)
    parser.epilog = (
        "exit status: 0, 1 where our own judge missed a mistake or accused a right port, 2 for an unusable request. "
        f"example: {parser.prog} --only momentum_missing"
    )


def peers_command(arguments: argparse.Namespace) -> int:
    """Applies every method to the catalogue, and writes what was found."""
    check_request(arguments)
    from rich.console import Console

    from birdplane_keras.parity.core.disk import write_json
    from birdplane_keras.peers.judging import read_judged
    from birdplane_keras.reporting.markdown import PEERS_LIMITS_MARKS, PEERS_MARKS, check_documents, write_tables

    check_documents(arguments.tables, PEERS_MARKS, PEERS_LIMITS_MARKS)
    judged = read_judged(arguments.judged)
    if arguments.only is not None:
        return judge_one(arguments.only, judged)
    from birdplane_keras.reporting.peers import describe, draw_table, render_limits, render_peers, state_of

    content = judge_all(arguments, judged, Console(stderr=True))
    console = Console()
    console.print(draw_table(content))
    console.print(describe(content), markup=False, highlight=False)
    if arguments.out is not None:
        write(lambda: write_json(arguments.out / FILE, content), arguments.out / FILE)
    write_tables(arguments.tables, {PEERS_MARKS: render_peers(content), PEERS_LIMITS_MARKS: render_limits(content)})
    wrong = [e for e in content["entries"] if e["error"] or (state_of(e, "ours") == "caught") != is_wrong(e)]
    for entry in wrong:
        console.print(f"our judge: {entry['name']}: {entry['error'] or state_of(entry, 'ours')}", markup=False)
    return 1 if wrong else 0


def check_request(arguments: argparse.Namespace) -> None:
    """Checks what can be checked before anything is judged.

    Raises:
        RequestError: A number is out of range, or the folder cannot be written to.
    """
    for name, least in (("faults", 1), ("mutants", 0), ("seed", 0)):
        value = getattr(arguments, name)
        if value is not None and value < least:
            raise RequestError(f"expected --{name} of at least {least}, received {value}")
    if arguments.out is not None:
        prepare_folder(arguments.out)


def judge_all(arguments: argparse.Namespace, judged: Mapping[str, Any], console: Any) -> dict[str, Any]:
    """Returns the content of `peers.json`: every method's answer for every entry."""
    from rich.progress import track

    from birdplane_keras.catalogue.records import Clean, Fault
    from birdplane_keras.catalogue.registry import CLEAN, FAULTS
    from birdplane_keras.parity.check import describe_environment
    from birdplane_keras.peers.drawn import judge_drawn
    from birdplane_keras.peers.judging import draw, judge_entry

    entries: list[dict[str, Any]] = []
    catalogues: list[tuple[Sequence[Fault | Clean], str]] = [(FAULTS, "planted mistakes"), (CLEAN, "clean pairs")]
    for catalogue, title in catalogues:
        chosen = draw(catalogue, arguments.faults, arguments.seed)
        entries += [judge_entry(entry, judged) for entry in track(chosen, title, console=console)]
    if arguments.mutants:
        for number in track(range(arguments.mutants), "mutants", console=console):
            entries += judge_drawn(arguments.seed, number, judged)
    return {
        "date": datetime.date.today().isoformat(),
        "environment": describe_environment(FAULTS[0].make(0)),
        "catalogue": {"fault": len(FAULTS), "clean": len(CLEAN)},
        "seed": arguments.seed,
        "methods": list(methods()),
        "entries": entries,
    }


def methods() -> Iterator[dict[str, Any]]:
    """Yields what there is to say of each method."""
    from birdplane_keras.peers.registry import METHODS

    for method in METHODS:
        yield {name: getattr(method, name) for name in ("name", "title", "compares", "tells", "limits", "together")}


def is_wrong(entry: Mapping[str, Any]) -> bool:
    """Whether the port of an entry has a mistake."""
    return entry["kind"] in ("fault", "mutant")


def judge_one(name: str, judged: Mapping[str, Any]) -> int:
    """Prints what every method says of one entry; returns 1 where our own judge is wrong about it.

    Raises:
        RequestError: There is no such entry, or it cannot be prepared.
    """
    from rich.console import Console

    from birdplane_keras.catalogue.records import Clean, Fault
    from birdplane_keras.catalogue.registry import CLEAN, FAULTS
    from birdplane_keras.peers.judging import judge_entry
    from birdplane_keras.reporting.peers import draw_entry

    entries: list[Fault | Clean] = [*FAULTS, *CLEAN]
    known = {entry.name: entry for entry in entries}
    if name not in known:
        raise RequestError(f"expected the name of an entry of the catalogue, received {name!r}: `faults --list`")
    entry = judge_entry(known[name], judged)
    if entry["error"]:
        raise RequestError(f"expected a pair that can be trained, received {name}: {entry['error']}")
    Console().print(draw_entry(entry, list(methods())))
    return int(entry["ours"]["caught"] != is_wrong(entry))

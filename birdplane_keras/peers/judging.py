"""What every method, and this project's own judge, make of an entry of the catalogue, as plain data."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from birdplane_keras.catalogue.judging import judge_clean, judge_fault
from birdplane_keras.catalogue.records import Clean, Fault
from birdplane_keras.errors import BirdplaneError, RequestError, first_line
from birdplane_keras.parity import Pair
from birdplane_keras.peers.method import Method
from birdplane_keras.peers.prepared import Prepared, prepared
from birdplane_keras.peers.registry import METHODS

CAUGHT, PASSED, NOT_RUN = "caught", "passed", "not run"
Entry = Fault | Clean
Drawn = TypeVar("Drawn")


def judge_entry(entry: Entry, judged: Mapping[str, Any]) -> dict[str, Any]:
    """Judges an entry of the catalogue by all methods and by this project's judge.

    Args:
        entry: A fault or a clean pair.
        judged: Name -> what the judge said before; what is not in it is judged now.

    Returns:
        `name`; `kind` (`fault` or `clean`); `mistake` and `cause`, empty where there is none; what `ask_pair` returns;
        and `ours`: whether the judge `caught` and `named` it, empty where the pair could not be prepared.
    """
    about = {"name": entry.name, "kind": "clean", "mistake": "", "cause": ""}
    if isinstance(entry, Fault):
        about |= {"kind": "fault", "mistake": entry.mistake, "cause": entry.cause}
    found = ask_pair(entry.make(0))
    ours = {} if found["error"] else judged.get(entry.name) or judge_ourselves(entry)
    return {**about, "ours": ours, **found}


def judge_ourselves(entry: Entry) -> dict[str, Any]:
    """Returns whether this project's judge calls a pair `diverged`, and by the planted cause at the planted rung."""
    if isinstance(entry, Fault):
        found = judge_fault(entry)
        return {"caught": found["caught"], "named": found["caught"] and found["found"] == found["expected"]}
    return {"caught": judge_clean(entry, 0) is not None, "named": False}


def ask_pair(pair: Pair) -> dict[str, Any]:
    """Asks every method about a pair.

    Returns:
        `error`: why the pair could not be prepared, empty where it was; `methods`: name -> what `ask` returns, empty
        where it was not.
    """
    try:
        with prepared(pair) as ready:
            return {"error": "", "methods": {method.name: ask(method, ready) for method in METHODS}}
    except BirdplaneError as error:
        return {"error": first_line(error), "methods": {}}


def ask(method: Method, ready: Prepared) -> dict[str, str]:
    """Asks one method about a prepared pair.

    Returns:
        `state`: `caught`, `passed`, or `not run` where the method fails with an error that tells no difference;
        `place` and `text` of what it found; the error's text where it was not run.
    """
    try:
        found = method.run(ready)
    except Exception as error:  # whatever a model raises that a method calls in a way of its own
        return {"state": NOT_RUN, "place": "", "text": first_line(error)}
    if found is None:
        return {"state": PASSED, "place": "", "text": ""}
    return {"state": CAUGHT, "place": found.place, "text": found.text}


def draw(entries: Sequence[Drawn], count: int | None, seed: int) -> list[Drawn]:
    """Returns some entries, drawn by a seed, in their order; all of them for `None`, or where there are no more."""
    if count is None or count >= len(entries):
        return list(entries)
    chosen = np.random.default_rng(seed).choice(len(entries), count, replace=False)
    return [entries[place] for place in sorted(chosen)]


def read_judged(path: Path | None) -> dict[str, dict[str, Any]]:
    """Returns what this project's judge said in an earlier run: name -> `ours`; nothing for `None`.

    Args:
        path: The `peers.json` of that run.

    Raises:
        RequestError: It is no such file.
    """
    if path is None:
        return {}
    try:
        entries = json.loads(path.read_text())["entries"]
        return {entry["name"]: entry["ours"] for entry in entries if entry["ours"]["caught"] in (True, False)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RequestError(
            f"expected --judged with a peers.json that --out wrote, received {path}: {first_line(error)}"
        ) from error

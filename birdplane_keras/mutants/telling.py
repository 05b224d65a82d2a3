"""What became of drawn mistakes, as a table, and one by one."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from birdplane_keras.reporting.markdown import table_lines

HEADINGS = ("mistakes in", "drawn", "caught", "placed", "named or proved", "wrong cause named")
COLUMNS = ("caught", "placed", "explained", "wrong")
CHANGED = ("caught", "missed")  # mistakes that change something and can be trained


def render(found: Sequence[Mapping[str, Any]], *, seed: int, date: str) -> str:
    """Returns the outcomes by section as Markdown.

    Args:
        found: As `judge_seed` returns them.
        seed: Of the draws.
        date: ISO 8601.
    """
    import keras
    import torch

    outcomes = mutants(found)
    sections = sorted({outcome["section"] for outcome in outcomes})
    rows = [row(section, [each for each in outcomes if each["section"] == section]) for section in sections]
    lines = table_lines(HEADINGS, [*rows, row("**all**", outcomes)])
    alarms = sum(bool(each["alarm"]) for each in found)
    several = found[0]["mistakes"] if found else 1
    together = ""
    if several > 1:
        wrong = [each for each in found if changed(each)]
        whole = sum(all(outcome["placed"] for outcome in each["outcomes"]) for each in wrong)
        together = f" Each port has {several} mistakes; all of them are reported in {whole} of {len(wrong)}."
    lines += [
        "",
        f"{len(found)} pairs drawn with seed {seed}: {alarms} false alarms on the right ports.{together} {date}, torch "
        f"{torch.__version__}, Keras {keras.__version__}, cpu.",
    ]
    return "\n".join(lines)


def row(name: str, outcomes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns a row of the table."""
    counts = [share(sum(outcome[column] for outcome in outcomes), len(outcomes)) for column in COLUMNS]
    return [name, str(len(outcomes)), *counts]


def share(count: int, of: int) -> str:
    """Returns a count and its share."""
    return f"{count} ({count / of:.0%})" if of else "0"


def changed(each: Mapping[str, Any]) -> bool:
    """Whether mistakes were drawn that change something."""
    return bool(each["outcomes"]) and all(outcome["state"] in CHANGED for outcome in each["outcomes"])


def mutants(found: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Returns the outcomes of all mistakes that change something."""
    return [outcome for each in found if changed(each) for outcome in each["outcomes"]]


def describe(each: Mapping[str, Any], *, everything: bool) -> Iterator[str]:
    """Yields what went wrong with a pair: a false alarm, a missed mistake, a wrong cause; or everything."""
    if each["alarm"]:
        yield f"pair {each['number']}, right, is accused: {each['alarm']}"
    for outcome in each["outcomes"] if changed(each) else ():
        short = [column for column in ("placed", "explained") if not outcome[column]] if everything else []
        short += ["caught"] if not outcome["caught"] else []
        if short or outcome["wrong"]:
            wrong = "a wrong cause is named" if outcome["wrong"] else f"not {', not '.join(short)}"
            yield f"pair {each['number']}, {outcome['edit']}: {wrong}\n{outcome['told']}"


def is_sound(found: Sequence[Mapping[str, Any]]) -> bool:
    """Whether no mistake slipped through and no right port was accused."""
    return all(outcome["caught"] for outcome in mutants(found)) and not any(each["alarm"] for each in found)

"""What the judge found in the catalogue of planted mistakes and clean pairs, as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from birdplane_keras.reporting.markdown import table_lines


def render_summary(
    found: Sequence[Mapping[str, Any]],
    *,
    clean: int,
    runs: int,
    alarms: Sequence[str],
    environment: Mapping[str, Any],
    date: str,
) -> str:
    """Returns one row per rung: how many mistakes it was to catch, did catch, and were named by the right cause.

    Args:
        found: One entry per mistake: `name`, `mistake`, `expected` and `found` (rung, cause), `caught`.
        clean: How many clean pairs there are.
        runs: How often they were judged.
        alarms: Those that were accused.
        environment: Versions and device.
        date: When, as it is to be printed.
    """
    rows = []
    for rung in dict.fromkeys(entry["expected"][0] for entry in found):
        entries = [entry for entry in found if entry["expected"][0] == rung]
        caught = sum(entry["found"][0] == rung for entry in entries)
        named = sum(entry["found"] == entry["expected"] for entry in entries)
        causes = list(dict.fromkeys(f"`{entry['expected'][1]}`" for entry in entries))
        examples = ", ".join(causes[:4])
        rows.append([f"`{rung}`", str(len(entries)), str(caught), str(named), examples])
    caught = sum(entry["caught"] for entry in found)
    at_rung = sum(entry["found"][0] == entry["expected"][0] for entry in found)
    named = sum(entry["found"] == entry["expected"] for entry in found)
    rows.append(["**all**", f"**{len(found)}**", f"**{at_rung}**", f"**{named}**", ""])
    versions = f"torch {environment['torch']}, Keras {environment['keras']}, {environment['device']}"
    verdicts = f"{caught} of {len(found)} were called `diverged`, {100 * named / len(found):.0f} % by the right cause"
    accused = f"{len(alarms)} false alarms" + (f" ({'; '.join(alarms)})" if alarms else "")
    told = f"{verdicts}; {clean} clean pairs over {runs} runs of 200 steps: {accused}. {date}, {versions}."
    headings = ["rung", "mistakes planted", "caught there", "named or proved", "for example"]
    return "\n".join([*table_lines(headings, rows), "", told])


def render_faults(found: Sequence[Mapping[str, Any]], clean: Sequence[str], summary: str) -> str:
    """Returns the whole list as a document."""
    lines = [
        "# What the judge was shown",
        "",
        "Written by `birdplane faults`. Each mistake is the only one in its pair; the builders are in",
        "`birdplane_keras/catalogue`, and `birdplane faults --only NAME` judges one.",
        "",
        summary,
        "",
    ]
    rows = []
    for entry in found:
        rung, cause = entry["found"]
        told = (
            f"`{cause}`" if entry["found"] == entry["expected"] else f"`{cause}` (planted as `{entry['expected'][1]}`)"
        )
        rows.append([f"`{entry['name']}`", entry["mistake"], f"`{rung}`", told])
    lines += table_lines(["mistake", "what the porter did", "rung", "cause"], rows)
    lines += ["", "Clean pairs, none of which is to be accused: " + ", ".join(f"`{name}`" for name in clean) + ".", ""]
    return "\n".join(lines)

"""What the methods of others find in the catalogue, as Markdown and as a table in a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from birdplane_keras.reporting.markdown import table_lines

OURS = {
    "name": "ours",
    "title": "**`check_parity`, this project**",
    "compares": "every rung of the ladder, each against rounding that is measured in copies of the reference",
    "tells": "a cause and a fix, or lines of both programs",
    "limits": "Its authors planted these mistakes and made it find them. It needs longer than any other row.",
}
ANY = {
    "name": "any",
    "title": "any of the above, without the bits",
    "compares": "all that the rows above compare, but for the comparison in bits",
    "tells": "what the first of them tells",
    "limits": "Nobody runs them all. The row says what is within their reach together.",
}
HEADINGS = {  # kind of entry: what its column is called
    "fault": "caught of {} mistakes",
    "clean": "false alarms of {}",
    "mutant": "caught of {} mutants",
    "right": "false alarms of their {} right ports",
}


def kinds_of(content: Mapping[str, Any]) -> list[str]:
    """Returns the kinds of the entries that could be prepared, in the order of the columns."""
    there = {entry["kind"] for entry in prepared_entries(content)}
    return [kind for kind in HEADINGS if kind in there]


def prepared_entries(content: Mapping[str, Any], kind: str | None = None) -> list[Mapping[str, Any]]:
    """Returns the entries that could be prepared, of one kind or all."""
    return [entry for entry in content["entries"] if not entry["error"] and kind in (None, entry["kind"])]


def methods_of(content: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Returns what there is a row for: the methods, all of them together, and this project's judge."""
    return [*content["methods"], ANY, OURS]


def state_of(entry: Mapping[str, Any], method: str, together: Sequence[str] = ()) -> str:
    """Returns what a method made of an entry: `caught`, `passed` or `not run`.

    Args:
        entry: That could be prepared.
        method: Its name, `ours`, or `any` of several.
        together: The names of these.
    """
    if method == "ours":
        return "caught" if entry["ours"]["caught"] else "passed"
    if method == "any":
        return "caught" if any(state_of(entry, each) == "caught" for each in together) else "passed"
    return str(entry["methods"][method]["state"])


def count(entries: Sequence[Mapping[str, Any]], method: str, together: Sequence[str]) -> str:
    """Returns how many entries a method accuses; of how many, where it was not run on all."""
    states = [state_of(entry, method, together) for entry in entries]
    ran = sum(state != "not run" for state in states)
    caught = sum(state == "caught" for state in states)
    return str(caught) if ran == len(entries) else f"{caught} of {ran}"


def named(content: Mapping[str, Any], method: str) -> int:
    """Returns how many planted mistakes a method names by their cause: the methods of others name none."""
    return sum(bool(entry["ours"]["named"]) for entry in prepared_entries(content, "fault")) if method == "ours" else 0


def table_of(content: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Returns the headings and the rows of the short table: a row for each method.

    Args:
        content: Of `peers.json`: `date`, `environment`, `catalogue` (kind -> how many there are), `seed`, `methods`
            (`name`, `title`, `compares`, `tells`, `limits`, `together`) and `entries`, as `judge_entry` returns them.
    """
    together = [each["name"] for each in content["methods"] if each["together"]]
    groups = {kind: prepared_entries(content, kind) for kind in kinds_of(content)}
    headings = [HEADINGS[kind].format(len(entries)) for kind, entries in groups.items()]
    rows = [[count(entries, each["name"], together) for entries in groups.values()] for each in methods_of(content)]
    if "fault" in groups:
        headings.insert(1, "cause named")
        for each, row in zip(methods_of(content), rows, strict=True):
            row.insert(1, str(named(content, each["name"])))
    titled = [[each["title"], *row] for each, row in zip(methods_of(content), rows, strict=True)]
    return ["check", *headings], titled


def render_peers(content: Mapping[str, Any]) -> str:
    """Returns the table as Markdown, and under it what it was measured with; `content` as `table_of` takes it."""
    return "\n".join([*table_lines(*table_of(content)), "", describe(content)])


def render_limits(content: Mapping[str, Any]) -> str:
    """Returns a table of what each method compares, what it tells, and what it does not see, as Markdown."""
    names = ["compares", "tells", "limits"]
    rows = [[each["title"], *[each[name] for name in names]] for each in methods_of(content)]
    return "\n".join(table_lines(["check", *names], rows))


def describe(content: Mapping[str, Any]) -> str:
    """Returns the line under the table: when, what of, with which versions; and what was left out."""
    entries, catalogue, environment = content["entries"], content["catalogue"], content["environment"]
    counts = {kind: sum(entry["kind"] == kind for entry in entries) for kind in HEADINGS}
    drawn = f", drawn with seed {content['seed']}" if counts["fault"] < catalogue["fault"] else ""
    text = f"{content['date']}: {counts['fault']} of {catalogue['fault']} planted mistakes and {counts['clean']} of "
    text += f"{catalogue['clean']} clean pairs{drawn}"
    if counts["right"]:
        text += f"; {counts['mutant']} mutants of {counts['right']} pairs drawn with seed {content['seed']}"
    text += f"; torch {environment['torch']}, Keras {environment['keras']}, {environment['device']}. "
    text += "Every check is given this project's matching of the weights, and its transfer of them."
    return " ".join([text, *left_out(content)])


def left_out(content: Mapping[str, Any]) -> list[str]:
    """Returns in sentences which pairs could not be prepared, and which methods were not run on which."""
    told = [f"Not prepared: {entry['name']} ({entry['error']})." for entry in content["entries"] if entry["error"]]
    for method in content["methods"]:
        missing = [e["name"] for e in prepared_entries(content) if state_of(e, method["name"]) == "not run"]
        told += [f"{method['title']} was not run on {', '.join(missing)}."] if missing else []
    return told


def draw_table(content: Mapping[str, Any]) -> Table:
    """Returns the short table for a terminal."""
    headings, rows = table_of(content)
    table = Table()
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if place else "left", overflow="fold")
    for row in rows:
        table.add_row(*(cell.replace("`", "").replace("**", "") for cell in row))
    return table


def draw_entry(entry: Mapping[str, Any], methods: Sequence[Mapping[str, Any]]) -> Table:
    """Returns what every method made of one entry, for a terminal."""
    table = Table(title=entry["name"], caption=entry["mistake"] or "a right port")
    for heading in ("check", "", "place", "it says"):
        table.add_column(heading, overflow="fold")
    for method in methods:
        found = entry["methods"][method["name"]]
        table.add_row(method["title"].replace("`", ""), found["state"], found["place"], found["text"])
    ours = entry["ours"]
    cause = f"cause {entry['cause']}" if ours["named"] else ""
    table.add_row(OURS["title"].strip("*").replace("`", ""), "caught" if ours["caught"] else "passed", "", cause)
    return table

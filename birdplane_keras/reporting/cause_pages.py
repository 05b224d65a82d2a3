"""The documentation's pages of causes: the example on each of them, and their table of contents."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from birdplane_keras.reporting.markdown import table_lines

LONGEST = 200  # characters of a line that the judge prints


def render_example(name: str, mistake: str, file: str, source: str, printed: str) -> str:
    """Returns the example of a page: a planted mistake, and what the judge prints.

    Args:
        name: Of the mistake, in the catalogue.
        mistake: What the porter did.
        file: Where its pair is built.
        source: The function that builds it.
        printed: What the judge prints of it; longer lines are cut.
    """
    lines = [line if len(line) <= LONGEST else line[:LONGEST].rstrip() + " …" for line in printed.splitlines()]
    parts = [
        f"## An example\n\n{mistake} The pair is `{name}` in `{file}`:",
        f"```{{code-block}} python\n{source.strip()}\n```",
        "The judge prints:",
        "\n".join(["```text", *lines, "```"]),
        f"`birdplane faults --only {name}` judges it again.",
    ]
    return "\n\n".join(parts)


def render_contents(folder: Path, causes: Mapping[str, Sequence[str]]) -> str:
    """Returns a table of all causes, with the headings of their pages.

    Args:
        folder: Of the pages.
        causes: Name of a cause -> the rungs that it was caught at.

    Raises:
        OSError: A cause has no page.
    """
    rows = []
    for cause, rungs in sorted(causes.items()):
        heading = re.match(r"# (.+)", (folder / f"{cause}.md").read_text())
        title = heading.group(1) if heading else cause
        rows.append([f"[`{cause}`]({cause}.md)", title, ", ".join(f"`{rung}`" for rung in dict.fromkeys(rungs))])
    return "\n".join(table_lines(["cause", "what it is", "rung"], rows))

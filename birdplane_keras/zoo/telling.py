"""What was found of the pairs of the zoo, as a document."""

from collections.abc import Mapping, Sequence
from typing import Any

from birdplane_keras.reporting.markdown import table_lines
from birdplane_keras.zoo.judging import STEPS, Row

HEAD = "# The zoo: other people's models, judged\n"
COLUMNS = ("pair", "reference", "port", "weights", "mapping", "as shipped", "what differs", "advised", "s", "GB")
SHORT = ("reference", "port", "mapping", "as shipped", "what differs", "advised")  # of these, in a summary
SHOWN = ("bert", "gpt2", "clip", "vit_timm", "mobilenet_v2")  # in it


def render(rows: Sequence[Row], date: str) -> str:
    """Returns the document.

    Args:
        rows: In the order in which they are to stand.
        date: ISO 8601.
    """
    settled = sum(row.settled for row in rows)
    alone = sum(row.lines == 0 and not row.error for row in rows)
    intro = (
        f"Written by `python scripts/zoo.py` on {date}. {len(rows)} pairs, built small and random from the libraries' "
        f"own configurations, with weights that are drawn large enough for activations to matter. {alone} are matched "
        f"without a mapping. {settled} are the same in the end, or what differs is proved. The last verdict, "
        "`advised`, is that once the judge's advice is followed, as far as a library's arguments allow; it is empty "
        f"where there was none to follow. Pairs with a loss are trained for {STEPS} steps; of the others the forward "
        "pass is compared. A difference is no mistake of either library: each keeps to its own source.\n"
    )
    table = table_lines(COLUMNS, [cells_of(row) for row in rows])
    found = [text for row in rows for text in findings_of(row)]
    return "\n".join([HEAD, intro, *table, "", "## What differs", "", *found]).rstrip() + "\n"


def summary(rows: Sequence[Row]) -> str:
    """Returns a few of the pairs as a table."""
    shown = [row for name in SHOWN for row in rows if row.name == name]
    columns = [COLUMNS.index(name) for name in SHORT]
    rows_shown = [[cells_of(row)[column] for column in columns] for row in shown]
    return "\n".join(table_lines(SHORT, rows_shown))


def line_of(row: Row) -> str:
    """Returns a row of the table, as its line in Markdown."""
    return f"| {' | '.join(cells_of(row))} |"


def cells_of(row: Row) -> list[str]:
    """Returns a row of the table."""
    causes = list(dict.fromkeys(cause_of(each) for each in row.differs))
    cells = [
        row.name,
        row.torch,
        row.keras,
        str(row.weights),
        "by use" if not row.lines else f"by use, {row.lines} line{'s' if row.lines > 1 else ''}",
        row.error or f"**{row.shipped}**",
        ", ".join(causes),
        f"**{row.advised}**" if row.advised else "",
        f"{row.seconds:.1f}",
        f"{row.memory / 1e9:.1f}",
    ]
    return [cell.replace("|", "/") for cell in cells]


def cause_of(finding: Mapping[str, Any]) -> str:
    """Returns a finding in a word."""
    return f"{finding['cause']}{'' if finding['proved'] else ' (not proved)'}"


def findings_of(row: Row) -> list[str]:
    """Returns what differs in a pair, with a line of source of each side."""
    texts = []
    for title, findings in (("as shipped", row.differs), (f"with {row.advice}", row.left)):
        for finding in findings:
            text = finding["text"].splitlines()[0].replace("`", "'")
            texts.append(f"**{row.name}**, {title}: `{cause_of(finding)}: {text}`\n")
            for side in ("port", "reference"):
                if finding[side]:
                    texts.append(f"- {side}: `{finding[side].splitlines()[0].replace('`', chr(39))}`")
            texts.append("")
    return texts

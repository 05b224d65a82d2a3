"""The benchmark as tables: in a terminal, and in Markdown for the README."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from birdplane_keras.reporting.markdown import table_lines

SIZES = {
    "batch_sizes": "Cost of a step against the batch size",
    "data_sizes": "Cost of a step against the number of images",
}


def print_benchmark(report: Mapping[str, Any], console: Console) -> None:
    """Prints every measurement."""
    if report["data"] != "cifar-10":
        console.print("SYNTHETIC DATA: generated pictures, not CIFAR-10", style="bold yellow")
    for preset, rows in report["presets"].items():
        table = Table(title=f"{preset}: one step, as a ratio to the hand-written PyTorch loop")
        table.add_column("row")
        for title in ("ratio", "min", "max", "ms per step", "compiled in"):
            table.add_column(title, justify="right")
        for row in rows:
            table.add_row(row["name"], *cells(row))
        console.print(table)
    for key, title in SIZES.items():
        if key in report:
            console.print(render_sizes(title, report[key]))
    if "whole_runs" in report:
        table = Table("preset", "row", "epochs", "seconds", title="Whole runs")
        for entry in report["whole_runs"]:
            table.add_row(entry["preset"], entry["name"], str(entry["epochs"]), f"{entry['seconds']:.1f}")
        console.print(table)
    for key in ("memory", "memory_by_data_size"):
        if key in report:
            table = Table("task", "row", "peak, MB", title="Peak memory, each in a process of its own")
            for entry in report[key]:
                table.add_row(entry["task"], entry["name"], f"{entry['megabytes']:,.0f}")
            console.print(table)


def cells(row: Mapping[str, Any]) -> list[str]:
    """Returns a row's figures in a few characters."""
    if "not_measured" in row:
        return ["not measured", "", "", "", row["not_measured"]]
    compiled = row.get("seconds_to_compile")
    return [
        f"{row['ratio']:.2f}",
        f"{row['ratio_min']:.2f}",
        f"{row['ratio_max']:.2f}",
        f"{row['milliseconds_per_step']:.2f}",
        "" if compiled is None else f"{compiled:.0f} s",
    ]


def render_sizes(title: str, entries: Sequence[Mapping[str, Any]]) -> Table:
    """Returns milliseconds per step and ratio, one line per size."""
    table = Table("size", *[row["name"] for row in entries[0]["rows"]], title=f"{title}: ms (ratio)")
    for entry in entries:
        table.add_row(
            f"{entry['size']:,}", *[f"{row['milliseconds_per_step']:.2f} ({row['ratio']:.2f})" for row in entry["rows"]]
        )
    return table


def render_markdown(report: Mapping[str, Any]) -> str:
    """Returns the README's tables of speed, and under them what they were measured with."""
    presets = list(report["presets"])
    rows = [
        [first["name"], *[speed(report["presets"][preset][number]) for preset in presets]]
        for number, first in enumerate(report["presets"][presets[0]])
    ]
    lines = table_lines(["one training step", *[f"`{preset}`" for preset in presets]], rows)
    lines += ["", *sizes_markdown(report["batch_sizes"], "batch size"), ""]
    environment = report["environment"]
    rounds = report["presets"][presets[0]][0]["rounds"]
    lines.append(
        f"Measured {report['date']} on {environment['device']} with {environment['threads']} threads; Python "
        f"{environment['python']}, torch {environment['torch']}, Keras {environment['keras']}. Ratio to the "
        f"hand-written loop in the same round: the median of {rounds} interleaved rounds, in brackets the extremes."
    )
    return "\n".join(lines)


def speed(row: Mapping[str, Any]) -> str:
    """Returns a ratio with its extremes and, where something was compiled, the time that it took."""
    if "not_measured" in row:
        return "not measured"
    compiled = row.get("seconds_to_compile")
    text = f"{row['ratio']:.2f} ({row['ratio_min']:.2f} to {row['ratio_max']:.2f})"
    return text if compiled is None else f"{text}, after {compiled:.0f} s of compiling"


def sizes_markdown(entries: Sequence[Mapping[str, Any]], title: str) -> list[str]:
    """Returns the lines of a table with one line per size."""
    names = [row["name"] for row in entries[0]["rows"]]
    rows = [[f"{entry['size']:,}", *[f"{row['ratio']:.2f}" for row in entry["rows"]]] for entry in entries]
    return table_lines([title, *names], rows)

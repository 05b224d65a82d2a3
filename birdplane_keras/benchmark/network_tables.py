"""The benchmark of ordinary networks as tables: in a terminal, and in Markdown for the README."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from birdplane_keras.benchmark.network_run import TIMED
from birdplane_keras.benchmark.rows import BASE
from birdplane_keras.reporting.markdown import table_lines
from birdplane_keras.torch_plugin import ENGINES


def print_networks(report: Mapping[str, Any], console: Console) -> None:
    """Prints every measurement."""
    for what in TIMED:
        table = Table(title=f"{what}: as a ratio to {BASE}, with the extremes")
        table.add_column("network")
        names = columns_of(report["networks"], what)
        for name in names:
            table.add_column(name, justify="right")
        for network in report["networks"]:
            table.add_row(title_of(network), *[cell(network, what, name, extremes=True) for name in names])
        console.print(table)
    names = columns_of(report["networks"], "training")
    table = Table("network", *names, title="peak memory of the process that trains, MB")
    for network in report["networks"]:
        table.add_row(network["name"], *[whole(network["megabytes"].get(name)) for name in names])
    console.print(table)
    for network in report["networks"]:
        prepared = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in network["seconds_to_prepare"].items())
        console.print(f"{title_of(network)}: first epoch, with all that is traced and compiled: {prepared}")
        for name, reason in network["not_measured"].items():
            console.print(f"{title_of(network)}: {name} was not measured: {reason}", style="yellow", highlight=False)


def render_networks(report: Mapping[str, Any]) -> str:
    """Returns the documentation's tables, and under them what they were measured with."""
    networks, environment = report["networks"], report["environment"]
    lines = []
    for what in TIMED:
        names = [name for name in columns_of(networks, what) if name != BASE]
        titles = [title_of(each) if what == "training" else each["name"] for each in networks]
        rows = [[cell(network, what, name, extremes=True) for name in names] for network in networks]
        lines += markdown_table([what, *names], titles, rows)
    everyone = columns_of(networks, "training")
    names = [network["name"] for network in networks]
    rows = [[whole(network["megabytes"].get(name)) for name in everyone] for network in networks]
    lines += markdown_table(["peak memory of the process that trains, MB", *everyone], names, rows)
    rows = [[whole(network["seconds_to_prepare"].get(name)) for name in everyone] for network in networks]
    lines += markdown_table(["seconds until an epoch was trained, compiling and all", *everyone], names, rows)
    rounds, processes = networks[0]["training"][0]["rounds"], networks[0]["processes"]
    apart = "a process" if processes == 1 else f"{processes} processes"
    lines.append(
        f"Ratio to {BASE}, the median of {rounds} interleaved rounds, in brackets the extremes, each contestant in "
        f"{apart} of its own. Measured {report['date']} on {environment['device']} with {environment['threads']} "
        f"threads; Python {environment['python']}, torch {environment['torch']}, Keras {environment['keras']}. On a "
        "GPU: not measured."
    )
    return "\n".join(lines)


def render_few(report: Mapping[str, Any]) -> str:
    """Returns the README's table: training and `predict` with stock Keras and with the plugin."""
    networks, environment = report["networks"], report["environment"]
    header = ["network", "stock `fit`", "`exact`", "`rounding`", "`predict`, stock", "`predict`, plugin"]
    titles, rows = [], []
    for network in networks:
        titles.append(f"{network['name']}: {network['words']}")
        predict = "predict, batches of 64"
        rows.append(
            [
                cell(network, "training", "stock fit"),
                cell(network, "training", "exact"),
                f"{best_of(network, 'training', ('fused', 'compiled')):.2f}",
                cell(network, predict, "stock fit"),
                f"{best_of(network, predict, ENGINES):.2f}",
            ]
        )
    lines = markdown_table(header, titles, rows)
    lines.append(
        f"Time of a training step, and of `predict` in batches of 64, as a ratio to {BASE}. `rounding` and the last "
        f"column are the faster engine. {report['date']}, {environment['device']}, {environment['threads']} threads, "
        f"torch {environment['torch']}, Keras {environment['keras']}."
    )
    return "\n".join(lines)


def best_of(network: Mapping[str, Any], what: str, names: Sequence[str]) -> float:
    """Returns the smallest ratio of some contestants."""
    return min(row["ratio"] for row in network[what] if row["name"] in names)


def markdown_table(header: Sequence[str], titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Returns a table's lines, and an empty one."""
    return [*table_lines(header, [[title, *row] for title, row in zip(titles, rows, strict=True)]), ""]


def whole(number: float | None) -> str:
    """Returns a rounded number."""
    return "not measured" if number is None else f"{number:,.0f}"


def columns_of(networks: Sequence[Mapping[str, Any]], what: str) -> list[str]:
    """Returns the names of all contestants that were timed, in order."""
    return list(dict.fromkeys(row["name"] for network in networks for row in network[what]))


def title_of(network: Mapping[str, Any]) -> str:
    """Returns what a network is, in a few words."""
    layout = f", {network['layout'].replace('_', ' ')}" if network["layout"] else ""
    return f"{network['name']}: {network['words']}, batches of {network['batch_size']}{layout}"


def cell(network: Mapping[str, Any], what: str, name: str, *, extremes: bool = False) -> str:
    """Returns a contestant's ratio."""
    row = next((row for row in network[what] if row["name"] == name), None)
    if row is None:
        return "not measured"
    return f"{row['ratio']:.2f}" + (f" ({row['ratio_min']:.2f} to {row['ratio_max']:.2f})" if extremes else "")

"""A place at which two programs part as a small graph: what goes in, what is done, what comes out, on either side."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from birdplane_keras.parity.programs.alignment import Known, Parting
from birdplane_keras.parity.programs.program import Operation, Program, Source, Value
from birdplane_keras.parity.programs.telling import MOST_TOLD, grouped, name_source, tell_value, telling

LOOSE = 16.0  # times the usual distance: a side may be changed, and then rounds otherwise
Graph = dict[str, Any]


def graph_of(parting: Parting, port: Program, reference: Program) -> Graph:
    """Returns a place as plain data.

    Returns:
        `port` and `reference`: the operations, each with `operation`, its `arguments`, the `layer` and the line
        (`where`, `source`; empty where there is none), what it `takes` and what it `makes`. A value has `name`,
        `shape`, `mean`, `smallest`, `largest` (`None` where that is no number), and `shared`: whether the other side
        has it, too. `apart`: the largest difference between mean, smallest and largest of what the first operations
        make; `None` where these are not of one size.
    """
    graph: Graph = {}
    for side, program, other in (("port", port, reference), ("reference", reference, port)):
        own, others = (grouped(getattr(parting, name)) for name in (side, "reference" if side == "port" else "port"))
        beside = {group[0].name: group[0] for group in others}
        held = Known.of(other.values(), factor=LOOSE)
        graph[side] = [draw(group[0], program, beside.get(group[0].name), held) for group in own[:MOST_TOLD]]
    return graph | {"apart": apart(parting)}


def draw(operation: Operation, program: Program, other: Operation | None, held: Known) -> dict[str, Any]:
    """Returns one operation of a graph."""
    line = operation.line
    return {
        "operation": operation.name,
        "arguments": [f"{each.name}={tell_value(each.value)}" for each in telling(operation, other)],
        "layer": operation.layer,
        "where": "" if line is None else str(line),
        "source": "" if line is None else line.text,
        "takes": [draw_source(source, program, held) for source in operation.sources],
        "makes": draw_value(operation.name, operation.value, shared=held.holds(operation.value)),
    }


def draw_source(source: Source, program: Program, held: Known) -> dict[str, Any]:
    """Returns what an operation takes."""
    single = source.value.size == 1 and not source.value.shape
    name = "a number" if single else source.weight or name_source(source, program)
    return draw_value(name if not name.startswith("[") else "a tensor", source.value, shared=held.holds(source.value))


def draw_value(name: str, value: Value, *, shared: bool) -> dict[str, Any]:
    """Returns a value of a graph."""
    total, _, _, smallest, largest = (float(number) for number in value.statistics)
    return {
        "name": name,
        "shape": list(value.shape),
        "mean": finite(total / max(value.size, 1)),
        "smallest": finite(smallest),
        "largest": finite(largest),
        "shared": shared,
    }


def apart(parting: Parting) -> float | None:
    """Returns how far what the first operations of both sides make is apart."""
    sides: Sequence[Sequence[Operation]] = (parting.port, parting.reference)
    if not all(sides) or sides[0][0].value.size != sides[1][0].value.size:
        return None
    drawn = [draw_value("", side[0].value, shared=False) for side in sides]
    pairs = [[each[name] for each in drawn] for name in ("mean", "smallest", "largest")]
    return None if any(None in pair for pair in pairs) else max(abs(one - other) for one, other in pairs)


def finite(number: float) -> float | None:
    """Returns a number; `None` in the place of what is none, which plain data cannot hold."""
    return number if np.isfinite(number) else None

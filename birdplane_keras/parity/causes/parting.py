"""Records a step of both sides of a case, and finds where their programs part."""

import contextlib
from collections.abc import Iterator

import numpy as np

from birdplane_keras.parity.causes.case import Case
from birdplane_keras.parity.core.first_steps import compare_within
from birdplane_keras.parity.programs.alignment import measure, part
from birdplane_keras.parity.programs.program import Program, Value
from birdplane_keras.parity.programs.recording import record
from birdplane_keras.parity.programs.telling import tell
from birdplane_keras.parity.sides.bench import PairBench

COPIES = 2  # of the reference that round otherwise
RUNGS = ("forward", "loss", "gradients", "first_update")  # which the first step shows


def where_programs_part(case: Case) -> dict[str, list[str]] | None:
    """Returns the operations at which both sides' first steps part, in words: `port` and `reference`.

    `None` where the rung is not one that the first step shows, where the port's steps are replayed from a trace, or
    where no operation is seen to differ.
    """
    if case.rung not in RUNGS or case.bench.host.plugin is not None:
        return None
    bench, rows = case.bench, case.plan[0]
    port, reference = record(bench.port(), rows), record(bench.reference(), rows)
    names = differing(case)
    ends = [[Value.of(side.tensors[case.rung][name]) for name in names] for side in (case.port, case.reference)]
    found = part(port, reference, measure(reference, copies(bench, rows)), (ends[0], ends[1]))
    return None if found is None else tell(found, port, reference)


def copies(bench: PairBench, rows: np.ndarray) -> Iterator[Program]:
    """Yields the reference's step where all rounds otherwise, and in float64, if it can do that."""
    for draw in range(COPIES):
        yield record(bench.reference(nudge=draw, throughout=True), rows)
    with contextlib.suppress(Exception):  # a module with numbers of a type of its own
        yield record(bench.double(), rows)


def differing(case: Case) -> list[str]:
    """Returns the names of the tensors of the failed rung that differ by more than rounding."""
    ours, theirs = case.port.tensors[case.rung], case.reference.tensors[case.rung]
    noise = case.climb.noise[case.rung]
    shared = [name for name in theirs if name in ours]
    return [
        name
        for name in shared
        if not compare_within(case.rung, {name: ours[name]}, {name: theirs[name]}, {name: noise[name]}).passed
    ]

"""The measurements of `scripts/benchmark.py --networks`, as one report."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from birdplane_keras.benchmark.isolated import Isolated
from birdplane_keras.benchmark.measure import Timing, joined, time_calls
from birdplane_keras.benchmark.network_rows import CONTESTANTS, NetworkTask
from birdplane_keras.benchmark.networks import NETWORKS
from birdplane_keras.benchmark.rows import BASE

QUICK_STEPS = 4
EPOCH_SECONDS, FEWEST_STEPS, MOST_STEPS = 1.0, 12, 200  # an epoch takes the hand-written loop about so long
# What is timed -> what a contestant is asked for.
TIMED: dict[str, tuple] = {
    "training": ("train",),
    "evaluate, batches of 64": ("evaluate", 64),
    "predict, batches of 64": ("predict", 64),
    "predict, one by one": ("predict", 1),
}


def run_networks(
    names: Sequence[str],
    *,
    layout: str,
    device: str,
    rounds: int,
    processes: int,
    quick: bool,
    progress: Callable[[str], None],
) -> Iterator[dict[str, Any]]:
    """Times every contestant on some networks; yields a report of each network.

    Args:
        names: Of `NETWORKS`.
        layout: Of the images in Keras.
        device: As PyTorch names it.
        rounds: That count, with one set of processes.
        processes: Of each contestant, one after the other.
        quick: A few steps, and nothing that is compiled.
        progress: Called with a line on what is measured next.
    """
    for name in names:
        task = NetworkTask(network=NETWORKS[name], layout=layout, steps=QUICK_STEPS, device=device)
        if not quick:
            task = replace(task, steps=steps_of_an_epoch(task))
        yield measure_network(task, rounds=rounds, processes=processes, quick=quick, progress=progress)


def steps_of_an_epoch(task: NetworkTask) -> int:
    """Returns how many steps the hand-written loop makes in about `EPOCH_SECONDS`."""
    task = replace(task, steps=FEWEST_STEPS)
    contestant = CONTESTANTS[BASE](task)
    contestant.train()
    started = time.perf_counter()
    contestant.train()
    each = (time.perf_counter() - started) / FEWEST_STEPS
    return min(max(round(EPOCH_SECONDS / each), FEWEST_STEPS), MOST_STEPS)


def measure_network(
    task: NetworkTask, *, rounds: int, processes: int, quick: bool, progress: Callable[[str], None]
) -> dict[str, Any]:
    """Returns what each contestant takes, and which could not be had.

    Args:
        task: What is run.
        rounds: That count, with one set of processes.
        processes: Of each contestant, one after the other: how memory lies differs from one to the next.
        quick: A few steps, and nothing that is compiled.
        progress: Called with a line on what is measured next.
    """
    network = task.network
    report: dict[str, Any] = {
        "name": network.name,
        "words": network.words,
        "layout": task.layout if network.is_of_images else None,
        "batch_size": network.batch_size,
        "steps": task.steps,
        "processes": processes,
        "not_measured": {},
        "seconds_to_prepare": {},
        "megabytes": {},
    }
    timed: dict[str, list[list[Timing]]] = {what: [] for what in TIMED}
    for number in range(1, processes + 1):
        told = partial(tell, progress, f"{network.name}, {number} of {processes}" if processes > 1 else network.name)
        contestants: list[Isolated] = []
        try:
            for name in CONTESTANTS:
                if name not in report["not_measured"] and not (quick and "compile" in name):
                    told(name)
                    start(contestants, name, task, report)
            for what, request in TIMED.items():
                told(what)
                calls = {each.name: partial(each.ask, *request) for each in contestants}
                timed[what].append(time_calls(calls, rounds=rounds, steps=task.steps))
        finally:
            for contestant in contestants:
                contestant.end()
    return report | {what: [timing.report() for timing in joined(found)] for what, found in timed.items()}


def tell(progress: Callable[[str], None], where: str, what: str) -> None:
    """Says what is measured next."""
    progress(f"{where}: {what}")


def start(contestants: list[Isolated], name: str, task: NetworkTask, report: dict[str, Any]) -> None:
    """Starts a contestant and lets it train twice; notes its memory, how long it needed, and why it cannot be had."""
    contestant = Isolated(task.network.name, task.layout, task.steps, task.device, name)
    contestants.append(contestant)
    try:
        contestant.ask("peak")  # it is built by then
        started = time.perf_counter()
        contestant.ask("train")
        # The first process compiles; later ones find on disk what it left.
        report["seconds_to_prepare"].setdefault(name, time.perf_counter() - started)
        contestant.ask("train")
        report["megabytes"][name] = max(contestant.ask("peak"), report["megabytes"].get(name, 0.0))
    except RuntimeError as error:  # a compiler that this machine does not have
        if name == BASE:
            raise
        report["not_measured"][name] = str(error)
        contestants.pop().end()

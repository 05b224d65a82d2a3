"""The measurements of `scripts/benchmark.py --networks`, as one report."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from birdplane_keras.benchmark.isolated import Isolated
from birdplane_keras.benchmark.measure import time_calls
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
    quick: bool,
    progress: Callable[[str], None],
) -> Iterator[dict[str, Any]]:
    """Times every contestant on some networks; yields a report of each network.

    Args:
        names: Of `NETWORKS`.
        layout: Of the images in Keras.
        device: As PyTorch names it.
        rounds: That count.
        quick: A few steps, and nothing that is compiled.
        progress: Called with a line on what is measured next.
    """
    for name in names:
        task = NetworkTask(network=NETWORKS[name], layout=layout, steps=QUICK_STEPS, device=device)
        if not quick:
            task = replace(task, steps=steps_of_an_epoch(task))
        yield measure_network(task, rounds=rounds, quick=quick, progress=progress)


def steps_of_an_epoch(task: NetworkTask) -> int:
    """Returns how many steps the hand-written loop makes in about `EPOCH_SECONDS`."""
    task = replace(task, steps=FEWEST_STEPS)
    contestant = CONTESTANTS[BASE](task)
    contestant.train()
    started = time.perf_counter()
    contestant.train()
    each = (time.perf_counter() - started) / FEWEST_STEPS
    return min(max(round(EPOCH_SECONDS / each), FEWEST_STEPS), MOST_STEPS)


def measure_network(task: NetworkTask, *, rounds: int, quick: bool, progress: Callable[[str], None]) -> dict[str, Any]:
    """Returns what each contestant takes, each in a process of its own, and which could not be had."""
    network = task.network
    contestants: list[Isolated] = []
    failed: dict[str, str] = {}
    firsts: dict[str, float] = {}
    megabytes: dict[str, float] = {}
    report: dict[str, Any] = {
        "name": network.name,
        "words": network.words,
        "layout": task.layout if network.is_of_images else None,
        "batch_size": network.batch_size,
        "steps": task.steps,
        "not_measured": failed,
        "seconds_to_prepare": firsts,
        "megabytes": megabytes,
    }
    try:
        for name in CONTESTANTS:
            if quick and "compile" in name:
                continue
            progress(f"{network.name}: {name}")
            contestant = Isolated(network.name, task.layout, task.steps, task.device, name)
            contestants.append(contestant)
            try:
                contestant.ask("peak")  # it is built by then
                started = time.perf_counter()
                contestant.ask("train")
                firsts[name] = time.perf_counter() - started
                contestant.ask("train")
                megabytes[name] = contestant.ask("peak")
            except RuntimeError as error:  # a compiler that this machine does not have
                if name == BASE:
                    raise
                failed[name] = str(error)
                contestants.pop().end()
        for what, request in TIMED.items():
            progress(f"{network.name}: {what}")
            calls = {each.name: partial(each.ask, *request) for each in contestants}
            report[what] = [timing.report() for timing in time_calls(calls, rounds=rounds, steps=task.steps)]
    finally:
        for contestant in contestants:
            contestant.end()
    return report

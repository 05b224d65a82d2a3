"""The measurements of `scripts/benchmark.py --networks`, as one report."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from birdplane_keras.benchmark.measure import time_calls
from birdplane_keras.benchmark.memory import peak_memory
from birdplane_keras.benchmark.network_rows import CONTESTANTS, Contestant, NetworkTask
from birdplane_keras.benchmark.networks import NETWORKS
from birdplane_keras.benchmark.rows import BASE

QUICK_STEPS = 4
EPOCH_SECONDS, FEWEST_STEPS, MOST_STEPS = 1.0, 12, 200  # an epoch takes the hand-written loop about so long
# What is timed -> of a contestant, a function that does it once.
TIMED: dict[str, Callable[[Contestant], Callable[[], object]]] = {
    "training": lambda contestant: contestant.train,
    "evaluate": lambda contestant: contestant.evaluate,
    "predict, batches of 64": lambda contestant: lambda: contestant.predict(64),
    "predict, one by one": lambda contestant: lambda: contestant.predict(1),
}


def run_networks(
    names: Sequence[str],
    *,
    layout: str,
    device: str,
    rounds: int,
    quick: bool,
    memory: bool,
    progress: Callable[[str], None],
) -> Iterator[dict[str, Any]]:
    """Times every contestant on some networks; yields a report of each network.

    Args:
        names: Of `NETWORKS`.
        layout: Of the images in Keras.
        device: As PyTorch names it.
        rounds: That count.
        quick: A few steps, and nothing that is compiled.
        memory: Measure the peak memory of each contestant, too.
        progress: Called with a line on what is measured next.
    """
    for name in names:
        task = NetworkTask(network=NETWORKS[name], layout=layout, steps=QUICK_STEPS, device=device)
        if not quick:
            task = replace(task, steps=steps_of_an_epoch(task))
        report = measure_network(task, rounds=rounds, quick=quick, progress=progress)
        if memory:
            report["megabytes"] = measure_memory(task, [row["name"] for row in report["training"]], progress)
        yield report


def steps_of_an_epoch(task: NetworkTask) -> int:
    """Returns how many steps the hand-written loop makes in about `EPOCH_SECONDS`."""
    task = replace(task, steps=FEWEST_STEPS)
    contestant = CONTESTANTS[BASE](task)
    contestant.train()
    started = time.perf_counter()
    contestant.train()
    each = (time.perf_counter() - started) / FEWEST_STEPS
    return min(max(round(EPOCH_SECONDS / each), FEWEST_STEPS), MOST_STEPS)


def measure_memory(task: NetworkTask, names: Sequence[str], progress: Callable[[str], None]) -> dict[str, float]:
    """Returns each contestant's peak while it trains, in a fresh process."""
    found = {}
    for name in names:
        progress(f"{task.network.name}: memory of {name}")
        arguments = task.network.name, task.layout, task.steps, task.device, name
        found[name] = peak_memory(epoch_of, *arguments, device=task.device)
    return found


def epoch_of(network: str, layout: str, steps: int, device: str, name: str) -> Callable[[], object]:
    """Returns what trains a contestant for an epoch."""
    return CONTESTANTS[name](NetworkTask(network=NETWORKS[network], layout=layout, steps=steps, device=device)).train


def measure_network(task: NetworkTask, *, rounds: int, quick: bool, progress: Callable[[str], None]) -> dict[str, Any]:
    """Returns what each contestant takes, and which could not be had."""
    network, layout = task.network, task.layout
    contestants, failed, firsts = [], {}, {}
    for name, build in CONTESTANTS.items():
        if quick and "compile" in name:
            continue
        progress(f"{network.name}: {name}")
        try:
            contestant = build(task)
            started = time.perf_counter()
            contestant.train()
            firsts[name] = time.perf_counter() - started
        except Exception as error:  # a compiler that this machine does not have
            if name == BASE:
                raise
            failed[name] = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
        else:
            contestants.append(contestant)
    report: dict[str, Any] = {
        "name": network.name,
        "words": network.words,
        "layout": layout if network.is_of_images else None,
        "batch_size": network.batch_size,
        "steps": task.steps,
        "not_measured": failed,
        "seconds_to_prepare": firsts,
    }
    for what, of in TIMED.items():
        progress(f"{network.name}: {what}")
        calls = {each.name: of(each) for each in contestants}
        report[what] = [timing.report() for timing in time_calls(calls, rounds=rounds, steps=task.steps)]
    return report

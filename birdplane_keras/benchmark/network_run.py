"""The measurements of `scripts/benchmark.py --networks`, as one report."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from birdplane_keras.benchmark.measure import time_calls
from birdplane_keras.benchmark.network_rows import CONTESTANTS, Contestant, NetworkTask
from birdplane_keras.benchmark.networks import NETWORKS, Network
from birdplane_keras.benchmark.rows import BASE

STEPS, QUICK_STEPS = 100, 4
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
    progress: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Times every contestant on some networks.

    Args:
        names: Of `NETWORKS`.
        layout: Of the images in Keras.
        device: As PyTorch names it.
        rounds: That count.
        quick: A few steps, and nothing that is compiled.
        progress: Called with a line on what is measured next.
    """
    return [
        measure_network(NETWORKS[name], layout, device, rounds=rounds, quick=quick, progress=progress) for name in names
    ]


def measure_network(
    network: Network, layout: str, device: str, *, rounds: int, quick: bool, progress: Callable[[str], None]
) -> dict[str, Any]:
    """Returns what each contestant takes, and which could not be had."""
    task = NetworkTask(network=network, layout=layout, steps=QUICK_STEPS if quick else STEPS, device=device)
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
        "not_measured": failed,
        "seconds_to_prepare": firsts,
    }
    for what, of in TIMED.items():
        progress(f"{network.name}: {what}")
        calls = {each.name: of(each) for each in contestants}
        report[what] = [timing.report() for timing in time_calls(calls, rounds=rounds, steps=task.steps)]
    return report

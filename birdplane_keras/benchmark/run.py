"""The measurements of `scripts/benchmark.py`, as one report."""

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from birdplane_keras.benchmark.measure import time_rows
from birdplane_keras.benchmark.memory import peak_memory
from birdplane_keras.benchmark.rows import BASE, JIT, ROWS, Task
from birdplane_keras.recipe import PRESETS
from torch_reference.recipe import PRESETS as REFERENCE_PRESETS

BATCH_SIZES = (1, 16, 64, 256, 1024)
DATA_SIZES = (1_000, 2_500, 5_000, 10_000)
COMPARED = (BASE, "stock fit, tensors", "exact, tensors", "fused, tensors")
# Compiling takes a minute of its own, and of the forms of data two are enough for a look.
QUICK = tuple(name for name in ROWS if name != JIT and not name.endswith((", a DataLoader", ", batches")))

# Called with a line on what is measured next.
OnProgress = Callable[[str], None]


def build_task(preset: str, images: np.ndarray, labels: np.ndarray, *, device: str, **changes: Any) -> Task:
    """Returns a preset on the given images, with other fields of the recipe where asked."""
    return Task(
        recipe=dataclasses.replace(PRESETS[preset], **changes),
        reference=dataclasses.replace(REFERENCE_PRESETS[preset], **changes),
        images=images,
        labels=labels,
        device=device,
    )


def measure_preset(task: Task, names: tuple[str, ...], *, rounds: int, progress: OnProgress) -> list[dict[str, Any]]:
    """Returns one report per row, the base among them."""
    rows, failed = [], []
    for name in names:
        progress(f"preparing {name}")
        try:
            rows.append(ROWS[name](task))
        except Exception as error:  # `torch.compile` needs a compiler that not every machine has
            if name != JIT:
                raise
            failed.append({"name": name, "not_measured": str(error).strip().splitlines()[0]})
    progress(f"{rounds} rounds of {len(rows)} rows")
    steps = math.ceil(len(task.images) / task.recipe.batch_size)
    reports = [timing.report() for timing in time_rows(rows, rounds=rounds, steps=steps)]
    for row, report in zip(rows, reports, strict=True):
        if row.seconds_to_prepare is not None:
            report["seconds_to_compile"] = row.seconds_to_prepare
    return reports + failed


def measure_sizes(tasks: dict[int, Task], *, rounds: int, progress: OnProgress) -> list[dict[str, Any]]:
    """Returns, for each size, what a step costs in the rows that are compared."""
    reports = []
    for size, task in tasks.items():
        reports.append({"size": size, "rows": measure_preset(task, COMPARED, rounds=rounds, progress=progress)})
    return reports


def measure_whole_run(task: Task, *, progress: OnProgress) -> list[dict[str, Any]]:
    """Returns the seconds of all epochs of the recipe, for the rows that are compared, after one epoch to warm up."""
    reports = []
    for name in COMPARED:
        progress(f"{task.recipe.epochs} epochs of {name}")
        row = ROWS[name](task)
        row.epoch()
        started = time.perf_counter()
        for _ in range(task.recipe.epochs):
            row.epoch()
        seconds = time.perf_counter() - started
        reports.append({"preset": task.recipe.name, "name": name, "epochs": task.recipe.epochs, "seconds": seconds})
    return reports


def epoch_of(name: str, task: Task) -> Callable[[], object]:
    """Returns what trains a row for an epoch."""
    return ROWS[name](task).epoch


def measure_memory(tasks: dict[str, Task], names: tuple[str, ...], *, progress: OnProgress) -> list[dict[str, Any]]:
    """Returns the peak memory of rows, each in a fresh process."""
    reports = []
    for key, task in tasks.items():
        for name in names:
            progress(f"memory of {name}, {key}")
            reports.append(
                {"task": key, "name": name, "megabytes": peak_memory(epoch_of, name, task, device=task.device)}
            )
    return reports


def run_benchmark(
    images: np.ndarray,
    labels: np.ndarray,
    *,
    device: str,
    presets: tuple[str, ...],
    rounds: int,
    quick: bool,
    progress: OnProgress,
) -> dict[str, Any]:
    """Makes all measurements.

    Args:
        images: (N, 3072) float32.
        labels: (N,) int64.
        device: As PyTorch names it.
        presets: Which networks.
        rounds: That count, for the rows of a preset; a third of them for the sizes.
        quick: The first 656 images, fewer rows, no sizes and no memory: a look, not a measurement.
        progress: Called with a line on what is measured next.
    """
    if quick:
        images, labels = images[:656], labels[:656]  # ten whole batches and a partial one
    names = QUICK if quick else tuple(ROWS)
    tasks = {preset: build_task(preset, images, labels, device=device) for preset in presets}
    report: dict[str, Any] = {
        "quick": quick,
        "images": len(images),
        "presets": {},
    }
    for preset, task in tasks.items():
        progress(preset)
        report["presets"][preset] = measure_preset(task, names, rounds=rounds, progress=progress)
    if quick:
        return report
    if device.startswith("cuda"):
        report["whole_runs"] = [
            entry for task in tasks.values() for entry in measure_whole_run(task, progress=progress)
        ]
    fewer = max(3, rounds // 3)
    first = presets[0]
    report["batch_sizes"] = measure_sizes(
        {
            size: build_task(
                first, images[: max(64, size) * 4], labels[: max(64, size) * 4], device=device, batch_size=size
            )
            for size in BATCH_SIZES
        },
        rounds=fewer,
        progress=progress,
    )
    by_size = {size: build_task(first, images[:size], labels[:size], device=device) for size in DATA_SIZES}
    report["data_sizes"] = measure_sizes(by_size, rounds=fewer, progress=progress)
    report["memory"] = measure_memory(tasks, names, progress=progress)
    report["memory_by_data_size"] = measure_memory(
        {str(size): task for size, task in by_size.items()}, ("exact, tensors",), progress=progress
    )
    return report

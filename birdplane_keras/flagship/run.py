"""Has the two programs of a preset judged: the work of `scripts/compare.py`."""

import statistics
from pathlib import Path
from typing import Any

import keras
import numpy as np

from birdplane_keras.flagship.bench import ProgramsBench
from birdplane_keras.flagship.loops import LoopRun
from birdplane_keras.flagship.port import Port
from birdplane_keras.flagship.program import Program
from birdplane_keras.flagship.reference import Reference
from birdplane_keras.parity.check import examine
from birdplane_keras.parity.core.records import Tensors, TrainingRun
from birdplane_keras.parity.core.result import Result
from birdplane_keras.parity.core.training import Training
from birdplane_keras.recipe import Recipe
from birdplane_keras.run_report import describe_environment, describe_run, describe_settings


def compare(
    recipe: Recipe,
    *,
    data_dir: Path,
    source: str = "cifar-10",
    engine: str = "exact",
    device: str = "cpu",
    synthetic: bool = False,
) -> tuple[Result, dict[str, TrainingRun], Tensors]:
    """Compares the two programs rung by rung.

    The rungs before training come first and take seconds; where one of them fails, nothing is trained.

    Args:
        recipe: What the Keras side trains; the reference takes its own preset of that name, with the same epochs and
            seed.
        data_dir: The cache folder with verified batches.
        source: Of the images, as the report names it.
        engine: What the Keras side's steps run on: `stock`, `exact` or `fused`.
        device: For both sides, as PyTorch names it.
        synthetic: Use the generated stand-in for the images.

    Returns:
        the result; side -> what its training left, empty where it did not end; and the weights that both started from.
    """
    reference = Reference(recipe, data_dir=data_dir, device=device, synthetic=synthetic)
    port = Port(
        recipe, reference=reference.build(), data_dir=data_dir, engine=engine, device=device, synthetic=synthetic
    )
    records: dict[str, TrainingRun] = {}

    def describe(training: Training | None) -> dict[str, Any]:
        records.update(records_of(training))
        return describe_sides(port, reference, records)

    with keras.device(device):
        bench = ProgramsBench(port, reference, batch_size=recipe.batch_size, seed=recipe.seed)
        with bench.host.judged(), bench.shown():
            result = examine(
                bench,
                steps=recipe.epochs * len(reference.batches(0)),
                settings={"kind": "preset", **describe_settings(recipe, engine=engine, source=source)},
                environment=describe_environment(device),
                describe=describe,
            )
    return result, records, reference.as_built()


def records_of(training: Training | None) -> dict[str, TrainingRun]:
    """Returns side -> what its own loop left, if both have ended."""
    if training is None:
        return {}
    runs = {"torch": training.together.reference, "keras": training.together.port}
    found = {side: run.record for side, run in runs.items() if isinstance(run, LoopRun) and run.record is not None}
    return found if len(found) == len(runs) else {}


def describe_sides(port: Port, reference: Reference, records: dict[str, TrainingRun]) -> dict[str, Any]:
    """Returns what both programs report of themselves, and how much longer the port's epochs take."""
    labels: dict[str, np.ndarray] = {split: port.data()[f"y_{split}"] for split in ("train", "validation")}
    sides: dict[str, Program] = {"keras": port, "torch": reference}
    described: dict[str, Any] = {
        side: describe_run(records.get(side), program.parameter_counts(), labels) for side, program in sides.items()
    }
    seconds = {side: statistics.median(record.seconds_per_epoch) for side, record in records.items()}
    return described | {"time_ratio": seconds["keras"] / seconds["torch"] if records else None}

"""The judge's front door: `check_parity` and `assert_parity`."""

import platform
from typing import Any

import keras
import numpy as np
import torch

from birdplane_keras.errors import PairError
from birdplane_keras.parity.causes.diagnose import diagnose
from birdplane_keras.parity.core.disk import sha256_of
from birdplane_keras.parity.core.judge import judge
from birdplane_keras.parity.core.result import Report
from birdplane_keras.parity.core.rungs import verdict
from birdplane_keras.parity.pair import Pair
from birdplane_keras.parity.sides.bench import PairBench


def check_parity(pair: Pair, *, steps: int = 200, seed: int = 0) -> Report:
    """Tells whether a Keras model is its PyTorch reference.

    Both are left as they were found: the reference is copied, and the port is given its values back.

    Args:
        pair: The two models, how they are trained, and the data.
        steps: How many training steps both sides make.
        seed: Orders the batches where the pair does not, and draws the nudges by which noise is measured.

    Returns:
        the verdict, the rungs, and the cause of the first rung that failed.

    Raises:
        PairError: The pair cannot be judged: a model that is not compiled, data that do not fit, a reference that is
            random or whose loss is not a number.
    """
    if steps < 1:
        raise PairError(f"expected at least 1 step, received {steps}")
    bench = PairBench(pair, seed)
    with bench.keras.judged():
        bench.try_both()
        checks, findings = judge(bench, steps=steps)
        diagnosis = diagnose(bench, checks, findings)
    data = bench.data()
    hashes = {
        f"{side}_data": sha256_of(tensors.values()) for side, tensors in zip(("keras", "torch"), data, strict=True)
    }
    return Report(
        verdict=verdict(checks, left_out=findings.left_out),
        checks=checks,
        diagnosis=diagnosis,
        steps=steps,
        seed=seed,
        environment=describe_environment(pair),
        hashes=hashes | findings.hashes,
        noise=findings.noise,
        layers=findings.layers,
        left_out=findings.left_out,
        trajectory=findings.trajectory,
        notes=findings.notes,
        churn=findings.churn,
        source=pair.source,
    )


def assert_parity(pair: Pair, *, steps: int = 200, seed: int = 0) -> Report:
    """Fails a test unless a Keras model is its PyTorch reference: one line in a port's test suite.

    Args:
        pair: As `check_parity` takes it.
        steps: As `check_parity` takes it.
        seed: As `check_parity` takes it.

    Returns:
        the report.

    Raises:
        DivergenceError: An `AssertionError` that names the rung, the place and the cause.
        PairError: The pair cannot be judged.
    """
    report = check_parity(pair, steps=steps, seed=seed)
    report.raise_for_divergence()
    return report


def describe_environment(pair: Pair) -> dict[str, Any]:
    """Returns what the figures depend on: versions, device, threads."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "device": str(next(iter(pair.torch_module.parameters())).device),
        "threads": torch.get_num_threads(),
    }

"""The judge's front door: `check_parity` and `assert_parity`."""

import platform
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import torch

from birdplane_keras.errors import PairError, first_line
from birdplane_keras.keras_warnings import own_warnings_ignored
from birdplane_keras.parity.causes.diagnose import diagnose
from birdplane_keras.parity.core.check import first_failure
from birdplane_keras.parity.core.judge import judge, verdict
from birdplane_keras.parity.core.result import Result
from birdplane_keras.parity.core.series import describe_trajectory
from birdplane_keras.parity.core.training import Training
from birdplane_keras.parity.pair import Pair, count_examples
from birdplane_keras.parity.sides.bench import PairBench
from birdplane_keras.parity.sides.forward import ForwardBench
from birdplane_keras.parity.sides.keras_host import KerasHost
from birdplane_keras.parity.sides.loaders import is_loader, with_arrays
from birdplane_keras.parity.sides.memory import memory_given_back
from birdplane_keras.parity.sides.modes import device_of, precisions
from birdplane_keras.parity.sides.trying import try_both

STARTS: dict[str, dict[str, Any]] = {  # rung -> what gives the port the reference's start there
    "data": {"keras_data": None, "keras_inputs_by_epoch": None},
    "batch_order": {"keras_batches": None},
    "initial_weights": {"weights": "transfer"},
}


def check_parity(pair: Pair, *, steps: int = 200, seed: int = 0) -> Result:
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
            random or whose loss is not a number, code that fails or ends the program.
    """
    if steps < 1:
        raise PairError(f"expected at least 1 step, received {steps}")
    settings = {"kind": "pair", "source": pair.source, "steps": steps, "seed": seed}
    pair = with_arrays(pair, steps if pair.trains else 1)
    try:
        with own_warnings_ignored(), memory_given_back(pair.torch_module):
            bench = PairBench(pair, seed) if pair.trains else ForwardBench(pair, seed)
            with bench.host.judged():
                try_both(bench)
                precision = precisions(pair.keras_model, pair.torch_module)
                result = examine(bench, steps=steps, settings={**settings, "precision": precision})
        return with_the_rest(result, pair, steps=steps, seed=seed)
    except SystemExit as error:
        raise PairError(f"expected a pair whose code does not end the program, received {first_line(error)}") from error


def check_forward(*, torch_module: torch.nn.Module, keras_model: keras.Model, inputs: Any, **more: Any) -> Result:
    """Tells whether a Keras model predicts what its PyTorch reference does.

    Neither need be compiled or trained, and both are left as they were found. The reference's weights are given to the
    port, unless `weights="as_given"`. The forward pass is made in the mode that the reference is in, and in evaluation
    mode; each output may differ by a multiple of the rounding that is measured in copies of the reference.

    Args:
        torch_module: The reference.
        keras_model: The port, on the torch backend.
        inputs: As the reference takes them: arrays (N, ...), a tuple of them, or a dictionary by the names of its
            arguments; or a loader, of which the first batch is taken.
        more: Of `Pair`, such as `to_keras` and `outputs`; and `seed`.

    Returns:
        as `check_parity`; the rungs that need a step of training are left out, and said to be.

    Raises:
        PairError: As `check_parity`.
    """
    seed = more.pop("seed", 0)
    return check_parity(
        forward_pair(torch_module=torch_module, keras_model=keras_model, inputs=inputs, **more), seed=seed
    )


def forward_pair(*, torch_module: torch.nn.Module, keras_model: keras.Model, inputs: Any, **more: Any) -> Pair:
    """Returns the pair that `check_forward` judges."""
    if not is_loader(inputs):
        more.setdefault("batch_size", min(count_examples(inputs), 32))
    data = inputs if is_loader(inputs) else (inputs, ())
    return Pair(torch_module=torch_module, keras_model=keras_model, data=data, **more)


def with_the_rest(result: Result, pair: Pair, *, steps: int, seed: int) -> Result:
    """Returns a result that also tells what differs once the port starts as the reference does.

    Where the data, the batches or the first weights differ, the port is judged again with the reference's in their
    place. Where its layers were matched otherwise than they belong, it is judged again as they belong; where what was
    found is a mistake that was repaired in the port, without it. So mistakes behind that are reported in the same run.
    """
    failed = first_failure(result.checks)
    given = dict(STARTS.get(failed.name, {})) if failed is not None else {}
    told = f"with the reference's {failed.name}" if failed is not None and given else "with this mapping"
    repaired = [finding.repaired for finding in result.diagnosis if finding.repaired is not None]
    if repaired:
        result = replace(result, diagnosis=[replace(finding, repaired=None) for finding in result.diagnosis])
    told = "with this fix" if repaired else told
    for finding in result.diagnosis:
        given |= finding.settled
    changed = {name: value for name, value in given.items() if getattr(pair, name) != value}
    if failed is None or not (changed or repaired):
        return result
    try:
        with KerasHost.together(repair() for repair in repaired):
            rest = check_parity(replace(pair, **changed), steps=steps, seed=seed)
    except PairError as error:
        return replace(result, notes=[*result.notes, f"{told} the port fails: {error}"])
    if rest.verdict == "diverged":
        return replace(result, diagnosis=[*result.diagnosis, *rest.diagnosis])
    note = f"{told} the port passes every rung: {rest.verdict}"
    return replace(result, notes=[*result.notes, note])


def examine(
    bench: PairBench,
    *,
    steps: int,
    settings: Mapping[str, Any],
    environment: Mapping[str, Any] | None = None,
    describe: Callable[[Training | None], Mapping[str, Any]] = lambda training: {},
) -> Result:
    """Takes a pair that is on the bench up the ladder, and looks for the cause where a rung breaks.

    Args:
        bench: Both sides, within `bench.host.judged()`.
        steps: Of the trajectory.
        settings: What the result is to say of how it was made.
        environment: What the figures depend on; `None` for what the pair tells.
        describe: From the runs of the trajectory to what they report of themselves.
    """
    checks, climb = judge(bench, steps=steps)
    training = climb.training
    return Result(
        verdict=verdict(checks),
        checks=checks,
        diagnosis=diagnose(bench, checks, climb),
        settings=settings,
        environment=describe_environment(bench.pair) if environment is None else environment,
        sides=describe(training),
        hashes=climb.hashes,
        steps_made=0 if training is None else training.together.made,
        churn=None if training is None else training.churn,
        notes=[*bench.notes, *climb.notes],
        noise=climb.noise,
        layers=climb.layers.rows,
        trajectory=None if training is None else describe_trajectory(training.together),
    )


def assert_parity(pair: Pair, *, steps: int = 200, seed: int = 0) -> Result:
    """Fails a test unless a Keras model is its PyTorch reference: one line in a port's test suite.

    Args:
        pair: As `check_parity` takes it.
        steps: As `check_parity` takes it.
        seed: As `check_parity` takes it.

    Returns:
        the result.

    Raises:
        DivergenceError: An `AssertionError` that names the rung, the place and the cause.
        PairError: The pair cannot be judged.
    """
    result = check_parity(pair, steps=steps, seed=seed)
    result.raise_for_divergence()
    return result


def describe_environment(pair: Pair) -> dict[str, Any]:
    """Returns what the figures depend on: versions, device, threads."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "device": str(device_of(pair.torch_module)),
        "threads": torch.get_num_threads(),
    }

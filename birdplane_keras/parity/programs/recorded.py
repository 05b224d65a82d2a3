"""What a run of either side does, as a program: a training step, or a prediction."""

import contextlib
from collections.abc import Collection, Container, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch

from birdplane_keras.parity.programs.composed import composing
from birdplane_keras.parity.programs.program import Program
from birdplane_keras.parity.programs.recording import Recording
from birdplane_keras.parity.sides.keras_run import KerasRun
from birdplane_keras.parity.sides.torch_run import TorchRun


def record(run: KerasRun | TorchRun, rows: np.ndarray, composed: Collection[Any] = ()) -> Program:
    """Makes the next step of a run and returns its program.

    Args:
        run: Of either side.
        rows: (B,) numbers of examples.
        composed: As `Recording` takes it.
    """
    return record_calls(run, rows, composed=composed).program()


def record_calls(
    run: KerasRun | TorchRun,
    rows: np.ndarray,
    wanted: Container[int] = (),
    put: Mapping[int, np.ndarray] | None = None,
    composed: Collection[Any] = (),
    kept_results: Container[int] = (),
    *,
    measured: bool = True,
) -> Recording:
    """Makes the next step of a run and returns what was recorded: its program, how each operation was called.

    Args:
        run: Of either side.
        rows: (B,) numbers of examples.
        wanted: Numbers of operations of which the tensors that they take are kept in full.
        put: Operation -> the numbers that its result is given.
        composed: As `Recording` takes it.
        kept_results: As `Recording` takes it.
        measured: As `Recording` takes it.
    """
    recording = recording_of(run, wanted, put, composed, kept_results, measured=measured)
    with composing(composed), watching(run, recording):
        run.step(rows)
    return recording


def record_prediction(run: KerasRun | TorchRun, inputs: Any) -> tuple[Program, dict[str, np.ndarray]]:
    """Predicts some inputs and returns the program of that, and name -> output.

    Args:
        run: Of either side.
        inputs: In its layout.
    """
    recording = recording_of(run)
    with watching(run, recording):
        outputs = run.predict(inputs)
    return recording.program(), outputs


def recording_of(
    run: KerasRun | TorchRun,
    wanted: Container[int] = (),
    put: Mapping[int, np.ndarray] | None = None,
    composed: Collection[Any] = (),
    kept_results: Container[int] = (),
    *,
    measured: bool = True,
) -> Recording:
    """Returns what records a run; its arguments are those of `record_calls`."""
    modules = run.module.named_modules() if isinstance(run, TorchRun) else ()
    names = {id(module): name for name, module in modules}
    return Recording(names, lambda: weights_in(run), wanted, put, composed, kept_results, measured=measured)


@contextlib.contextmanager
def watching(run: KerasRun | TorchRun, recording: Recording) -> Iterator[None]:
    """Within it, what a run does is recorded."""
    run.watch = recording
    try:
        yield
    finally:
        run.watch = contextlib.nullcontext()
        recording.close()


def weights_in(run: KerasRun | TorchRun) -> dict[int, str]:
    """Returns address -> name of a side's weights: the name of the match in the port, PyTorch's in the reference."""
    if isinstance(run, TorchRun):
        named: Iterable[tuple[str, torch.Tensor]] = run.module.state_dict(keep_vars=True).items()
    else:
        named = ((name, variable.value) for name, variable in run.host.view.variables.items())
    return {tensor.untyped_storage().data_ptr(): name for name, tensor in named}

"""The first steps of either side, as readings of the rungs that look at them."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from birdplane_keras.parity.core.records import Reading, Tensors
from birdplane_keras.parity.pair import named_leaves
from birdplane_keras.parity.sides.arrays import to_numpy
from birdplane_keras.parity.sides.keras_run import KerasRun
from birdplane_keras.parity.sides.torch_run import TorchRun


def read_reference(run: TorchRun, plan: Sequence[np.ndarray]) -> Iterator[Reading]:
    """Makes the steps of a plan (row numbers of each batch) and yields what they compute, as soon as it is there."""
    first: dict[str, dict[str, np.ndarray]] = {}

    def on_gradients(outputs: Any) -> None:
        first["forward"] = run.to_port(outputs)
        first["gradients"] = run.gradients()

    yield from label("evaluation", run.predict(), "{} at the start")
    for step, rows in enumerate(plan):
        loss = to_numpy(run.step(rows, None if step else on_gradients))
        if step:
            yield "optimizer_state", f"loss of step {step}", loss
            continue
        yield from label("forward", first.pop("forward"))
        yield "loss", "loss", loss
        yield from label("gradients", first.pop("gradients"))
        for name in run.names(trainable=True):
            yield "first_update", name, run.read(name)
        yield from label("evaluation", run.weights(trainable=False), "{} after 1 step")
    for name in run.names(trainable=True):
        yield "optimizer_state", name, run.read(name)
    yield from label("optimizer_state", run.optimizer_state())
    yield from label("evaluation", run.weights(trainable=False))
    yield from label("evaluation", run.predict(), f"{{}} after {len(plan)} steps")


def read_port(run: KerasRun, plan: Sequence[np.ndarray], *, reorder: int | None = None) -> Iterator[Reading]:
    """Makes the steps of a plan (row numbers of each batch) from the start, and yields what they compute.

    With `reorder`, a seed, each batch has its examples in another order, and so its sums are made in another order.
    """
    run.reset()
    random = np.random.default_rng(reorder)
    orders = [np.arange(len(rows)) if reorder is None else random.permutation(len(rows)) for rows in plan]
    plan = [rows[order] for rows, order in zip(plan, orders, strict=True)]
    yield from label("evaluation", run.predict(), "{} at the start")
    for step, rows in enumerate(plan):
        predicted = run.outputs(rows) if step == 0 and run.replayed else None
        loss = as_array(run.step(rows))
        if step:
            yield "optimizer_state", f"loss of step {step}", loss
            continue
        outputs = predicted if run._heard is None else run._heard[0]
        back = np.argsort(orders[0])
        arrays = {n: as_array(v) for n, v in named_leaves(outputs, "outputs").items()}
        yield from label("forward", {n: a[back] if len(a) == len(back) else a for n, a in arrays.items()})
        yield "loss", "loss", loss
        yield from label("gradients", run.gradients())
        yield from label("first_update", run.weights(trainable=True))
        yield from label("evaluation", run.weights(trainable=False), "{} after 1 step")
    yield from label("optimizer_state", run.weights(trainable=True) | run.optimizer_state())
    yield from label("evaluation", run.weights(trainable=False))
    yield from label("evaluation", run.predict(), f"{{}} after {len(plan)} steps")


def as_array(value: Any) -> np.ndarray:
    """Returns a tensor, or what is an array already, as an array on the CPU."""
    return to_numpy(value) if isinstance(value, torch.Tensor) else np.asarray(value)


def label(rung: str, tensors: Tensors, name: str = "{}") -> Iterator[Reading]:
    """Yields tensors as readings of a rung."""
    yield from ((rung, name.format(key), value) for key, value in tensors.items())

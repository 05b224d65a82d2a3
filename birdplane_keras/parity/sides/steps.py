"""The first steps of either side, as readings of the rungs that look at them."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from birdplane_keras.parity.core.records import Reading, Role, States, Tensors
from birdplane_keras.parity.core.shelf import Shelf
from birdplane_keras.parity.sides.arrays import to_numpy
from birdplane_keras.parity.sides.examples import take, validation_inputs
from birdplane_keras.parity.sides.keras_run import KerasRun
from birdplane_keras.parity.sides.torch_run import TorchRun

EVALUATED = 256  # validation examples, at most, whose outputs `evaluation` compares
GLIMPSED = 16  # of these that a hypothesis predicts


def read_reference(run: TorchRun, plan: Sequence[np.ndarray], examples: int = EVALUATED) -> Iterator[Reading]:
    """Makes the steps of a plan and yields what they compute, as soon as it is there.

    Args:
        run: At its start.
        plan: The numbers of each batch's examples.
        examples: How many validation examples are predicted.
    """
    first: dict[str, Tensors] = {}
    inputs = take(validation_inputs(run.pair), slice(examples))

    def on_gradients(outputs: Any) -> None:
        first["forward"] = run.to_port(outputs)
        first["gradients"] = whole_gradients(run)

    yield from label("evaluation", run.predict(inputs), Role.OUTPUT, "{} at the start")
    for step, rows in enumerate(plan):
        loss = run.step(rows, None if step else on_gradients)
        if step:
            yield Reading("optimizer_state", f"loss of step {step}", loss, Role.LOSS)
            continue
        yield from label("forward", first.pop("forward"), Role.OUTPUT)
        yield Reading("loss", "loss", loss, Role.LOSS)
        yield from label("gradients", first.pop("gradients"), Role.GRADIENT)
        for name in run.names(trainable=True):
            yield Reading("first_update", name, run.read(name), Role.WEIGHT)
        yield from label("evaluation", run.weights(trainable=False), Role.STATISTIC, "{} after 1 step")
    for name in run.names(trainable=True):
        yield Reading("optimizer_state", name, run.read(name), Role.WEIGHT)
    yield from label_states(run.optimizer_state())
    yield from label("evaluation", run.weights(trainable=False), Role.STATISTIC)
    yield from label("evaluation", run.predict(inputs), Role.OUTPUT, f"{{}} after {len(plan)} steps")


def whole_gradients(run: TorchRun) -> Shelf:
    """Returns the gradients of a batch's whole loss, of which a run that adds up several takes a share."""
    every = run.accumulation_steps
    return Shelf((name, value if every == 1 else value * np.float32(every)) for name, value in run.gradients())


def read_rung(run: TorchRun, rows: np.ndarray, rung: str) -> Iterator[Reading]:
    """Yields what one of the rungs `forward` to `first_update` looks at, and no more of a step than that takes."""
    if rung in ("forward", "loss"):
        run.set_training()
        inputs, targets = run.examples.take(rows)
        with torch.no_grad():
            with run.patched():
                outputs = run.call(inputs)
            if rung == "forward":
                yield from label("forward", run.to_port(outputs), Role.OUTPUT)
            else:
                yield Reading("loss", "loss", to_numpy(run.compute_loss(outputs, targets)), Role.LOSS)
        return
    gradients: list[Shelf] = []
    run.step(rows, lambda outputs: gradients.append(whole_gradients(run)))
    if rung == "gradients":
        yield from label("gradients", gradients[0], Role.GRADIENT)
    else:
        yield from label("first_update", run.weights(trainable=True), Role.WEIGHT)


def read_port(run: KerasRun, plan: Sequence[np.ndarray], *, reorder: int | None = None) -> Iterator[Reading]:
    """Makes the steps of a plan and yields what they compute.

    With `reorder`, a seed, each batch has its examples in another order, and so its sums are made in another order.
    """
    random = np.random.default_rng(reorder)
    orders = [np.arange(len(rows)) if reorder is None else random.permutation(len(rows)) for rows in plan]
    plan = [rows[order] for rows, order in zip(plan, orders, strict=True)]
    inputs = take(run.host.validation, slice(EVALUATED))
    yield from label("evaluation", run.predict(inputs), Role.OUTPUT, "{} at the start")
    unheard: dict[str, np.ndarray] | None = run.outputs_in_training(plan[0]) if run.host.plugin is not None else None
    for step, rows in enumerate(plan):
        start = run.host.save() if step == 0 and unheard is None else None
        loss = run.step(rows)
        if step:
            yield Reading("optimizer_state", f"loss of step {step}", loss, Role.LOSS)
            continue
        if unheard is not None:
            outputs = unheard
        elif run.host.heard.outputs is not None:
            outputs = run.host.named(run.host.heard.outputs, rows)
        else:  # a step of the port's own, whose outputs nobody could hear
            outputs = outputs_before(run, start, rows)
        back = np.argsort(orders[0])
        sorted_back = {n: a[back] if len(a) == len(back) else a for n, a in outputs.items()}
        yield from label("forward", sorted_back, Role.OUTPUT)
        yield Reading("loss", "loss", loss, Role.LOSS)
        yield from (Reading("gradients", name, value, Role.GRADIENT) for name, value in run.gradients())
        yield from label("first_update", run.weights(trainable=True), Role.WEIGHT)
        yield from label("evaluation", run.weights(trainable=False), Role.STATISTIC, "{} after 1 step")
    yield from label("optimizer_state", run.weights(trainable=True), Role.WEIGHT)
    yield from label_states(run.optimizer_state())
    yield from label("evaluation", run.weights(trainable=False), Role.STATISTIC)
    yield from label("evaluation", run.predict(inputs), Role.OUTPUT, f"{{}} after {len(plan)} steps")


def outputs_before(run: KerasRun, start: Any, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the outputs in training mode that the port had before the step that it has just made."""
    after = run.host.save()
    run.host.restore(start)
    try:
        return run.outputs_in_training(rows)
    finally:
        run.host.restore(after)


def label(rung: str, tensors: Tensors, role: Role, name: str = "{}") -> Iterator[Reading]:
    """Yields tensors as readings of a rung."""
    yield from (Reading(rung, name.format(key), value, role) for key, value in tensors.items())


def label_states(states: States) -> Iterator[Reading]:
    """Yields what an optimizer keeps as readings of `optimizer_state`."""
    yield from (Reading("optimizer_state", f"{n}: {s}", v, Role.STATE) for (n, s), v in states.items())

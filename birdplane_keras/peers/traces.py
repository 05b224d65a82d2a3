"""What a side computes as it is trained for a few epochs: losses, gradients, weights, predictions."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import torch

from birdplane_keras.parity.sides.arrays import to_numpy
from birdplane_keras.parity.sides.keras_run import KerasRun, batch_of, call
from birdplane_keras.parity.sides.steps import whole_gradients
from birdplane_keras.parity.sides.torch_run import TorchRun

EPOCHS = 4  # as Lightning's parity test makes
STEPS = 10  # of which single steps are compared, as AlgoPerf and reprod_log's own loop make

Named = dict[str, np.ndarray]
Batches = Callable[[int], Sequence[np.ndarray]]


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """What a side has come to at the end of an epoch.

    Args:
        mean_loss: Of the epoch's examples, as `fit` reports it.
        last_loss: Of the epoch's last batch.
        weights: Name -> value of every matched tensor, moving statistics included.
        predictions: Name -> output in evaluation mode, for the examples to validate on.
    """

    mean_loss: float
    last_loss: float
    weights: Named
    predictions: Named


@dataclass(kw_only=True)
class Trace:
    """What a side computes, in the order of its steps.

    Args:
        losses: Of every step.
        rates: The learning rate of every step.
        norms: Of all gradients together, of the first `STEPS` steps, before clipping.
        evaluated: The loss of the first batch in evaluation mode, after each of these.
        gradients: Name -> gradient of the first step.
        updated: Name -> weight after the first step.
        epochs: What the side has come to after each.
    """

    losses: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    evaluated: list[float] = field(default_factory=list)
    gradients: Named = field(default_factory=dict)
    updated: Named = field(default_factory=dict)
    epochs: list[Epoch] = field(default_factory=list)


def rows_by_epoch(batches: Batches | None, size: int, epochs: int = EPOCHS) -> list[list[np.ndarray]]:
    """Returns the numbers of the examples of each batch of each epoch: row + N x epoch.

    Args:
        batches: From the epoch to the row numbers of its batches.
        size: N.
        epochs: How many.

    Raises:
        RuntimeError: The pair does not state its batches.
    """
    if batches is None:
        raise RuntimeError("expected batches, which build_batches has stated")
    return [[rows + epoch * size for rows in batches(epoch)] for epoch in range(epochs)]


def trace_reference(run: TorchRun, plan: Sequence[Sequence[np.ndarray]]) -> Trace:
    """Trains a copy of the reference; returns what it computes."""
    heard: dict[str, Named] = {}

    def step(rows: np.ndarray, looks: bool) -> tuple[float, Named]:
        listen = (lambda outputs: heard.update(last=copied(whole_gradients(run).items()))) if looks else None
        loss = run.step(rows, listen)
        return float(loss), heard.pop("last", {})

    return trace(run, step, lambda rows: evaluate_reference(run, rows), plan)


def trace_port(run: KerasRun, plan: Sequence[Sequence[np.ndarray]]) -> Trace:
    """Trains the port, as `fit` does; returns what it computes."""

    def step(rows: np.ndarray, looks: bool) -> tuple[float, Named]:
        loss = run.step(rows)
        return float(loss), copied(run.gradients()) if looks else {}

    return trace(run, step, lambda rows: evaluate_port(run, rows), plan)


def trace(
    run: TorchRun | KerasRun,
    step: Callable[[np.ndarray, bool], tuple[float, Named]],
    evaluate: Callable[[np.ndarray], float],
    plan: Sequence[Sequence[np.ndarray]],
) -> Trace:
    """Makes the steps of a plan and returns what a side computes.

    Args:
        run: At its start.
        step: Makes a step on some examples; returns the loss and, where they are asked for, the gradients.
        evaluate: Returns the loss of some examples in evaluation mode.
        plan: The numbers of the examples, by epoch and batch.
    """
    made = Trace()
    for epoch in plan:
        for rows in epoch:
            made.rates.append(run.learning_rate())
            loss, gradients = step(rows, len(made.losses) < STEPS)
            made.losses.append(loss)
            if len(made.losses) == 1:
                made.gradients, made.updated = gradients, copied(run.weights().items())
            if len(made.losses) <= STEPS:
                made.norms.append(norm(gradients))
                made.evaluated.append(evaluate(plan[0][0]))
        losses, sizes = np.array(made.losses[-len(epoch) :]), np.array([len(rows) for rows in epoch])
        made.epochs.append(
            Epoch(
                mean_loss=float((losses * sizes).sum() / sizes.sum()),
                last_loss=float(losses[-1]),
                weights=copied(run.weights().items()),
                predictions=copied(run.predict().items()),
            )
        )
    return made


def evaluate_reference(run: TorchRun, rows: np.ndarray) -> float:
    """Returns the reference's loss of some examples in evaluation mode."""
    inputs, targets = run.examples.take(rows)
    run.module.eval()
    with torch.no_grad(), run.patched(dropout=True):
        return float(to_numpy(run.compute_loss(run.call(inputs), targets)))


def evaluate_port(run: KerasRun, rows: np.ndarray) -> float:
    """Returns the port's loss of some examples in evaluation mode, weighted as it is in training."""
    host = run.host
    host.activate(run)
    x, y, *weights = batch_of(host, *host.examples.take(rows))
    with host.dropping(), torch.no_grad():
        outputs = call(host.model, x, False)
        loss: Any = host.model.compute_loss(
            x=x, y=y, y_pred=outputs, sample_weight=weights[0] if weights else None, training=False
        )
    return float(keras.ops.convert_to_numpy(loss))


def norm(gradients: Named) -> float:
    """Returns the norm of all gradients together."""
    return float(np.sqrt(sum(np.square(gradient.astype(np.float64)).sum() for gradient in gradients.values())))


def copied(named: Iterable[tuple[str, np.ndarray]]) -> Named:
    """Returns copies of arrays by name: what a side shows may share the memory of what it goes on with."""
    return {name: np.array(value) for name, value in named}

"""Runs a drawn training stock and attached, and says whether they are the same."""

import enum
import itertools
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import torch
from keras import tree

from birdplane_keras import torch_plugin
from birdplane_keras.hunt.changes import CHANGES, restore_settings
from birdplane_keras.hunt.trainings import Built, Training, build

ROWS = 8  # of a batch
UNEVEN = (8, 6, 9, 5, 7, 1, 8)  # of an epoch's batches, where they are
# Of the largest value: ten or so steps in which a product may round otherwise.
TOLERANCES = {"float32": 1e-3, "float64": 1e-5, "mixed_bfloat16": 1e-1}
# By how much an accuracy may differ: in half precision two classes are often equally likely, and a rounding decides.
ROW_COUNTED = {"mixed_bfloat16": 1 / ROWS}
Outcome = enum.Enum("Outcome", "BITS ROUNDING DECLINED NEITHER WRONG CRASHED")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What came of a training.

    Args:
        training: It.
        outcome: `NEITHER`: stock Keras cannot run it, and the attached model could not, either.
        on_engine: Whether a step of the training ran from a trace.
        words: What the plugin said, or what went wrong.
    """

    training: Training
    outcome: Outcome
    on_engine: bool
    words: tuple[str, ...]


class Dataset(keras.utils.PyDataset):
    """Batches.

    Args:
        x: Inputs.
        y: Targets.
        rows: Of all batches but the last; of each, where they are uneven.
    """

    def __init__(self, x: Any, y: np.ndarray, rows: Sequence[int] = ()) -> None:
        super().__init__()
        self._x, self._y = x, y
        self._starts = list(itertools.accumulate(rows, initial=0)) if rows else range(0, len(y) + ROWS, ROWS)

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, index: int) -> tuple:
        rows = slice(self._starts[index], self._starts[index + 1])
        return tree.map_structure(lambda each: each[rows], self._x), self._y[rows]


class At(keras.callbacks.Callback):
    """Makes a change after a training step.

    Args:
        built: The training.
        training: What was drawn.
    """

    def __init__(self, built: Built, training: Training) -> None:
        super().__init__()
        self.built, self.training, self.steps = built, training, 0

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1
        if self.steps == self.training.step:
            CHANGES[self.training.change](self.built)


def rows_of(x: Any, index: int) -> Any:
    """Returns the inputs of a batch."""
    if isinstance(x, tuple):
        return tuple(each[index * ROWS : (index + 1) * ROWS] for each in x)
    return x[index * ROWS : (index + 1) * ROWS]


def run(training: Training, attached: bool) -> tuple[list[np.ndarray], Built]:
    """Trains, evaluates and predicts; returns all numbers that are left."""
    built = build(training)
    model = built.model
    if attached:
        torch_plugin.attach(model, training.engine, audit=training.audit)
    keras.utils.set_random_seed(training.seed + 1)
    left: list[Any] = []
    at = At(built, training)
    if training.source == "batches":
        for index in list(range(6)) * 2:
            left.append(model.train_on_batch(rows_of(built.x, index), built.y[index * ROWS : (index + 1) * ROWS]))
            at.on_train_batch_end(index)
    else:
        history = model.fit(**fed(training, built), epochs=2, verbose=0, callbacks=[at])
        left += [each for _, each in sorted(history.history.items())]
    whole = built.x if not isinstance(built.x, tuple) else list(built.x)
    left.append(model.evaluate(whole, built.y, batch_size=44, verbose=0))
    left.append(model.predict(whole, batch_size=44, verbose=0))
    left += [float(sum(model.losses))] if model.losses else []
    variables = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
    left += [keras.ops.convert_to_numpy(keras.ops.cast(each, "float64")) for each in variables]
    return [np.asarray(each, dtype="float64") for each in left], built


def fed(training: Training, built: Built) -> dict[str, Any]:
    """Returns the data as `fit` takes them."""
    x, y = built.x, built.y
    if training.source == "arrays":
        return {"x": list(x) if isinstance(x, tuple) else x, "y": y, "batch_size": ROWS, "shuffle": True}
    if training.source == "dataset":
        return {"x": Dataset(x, y), "shuffle": False}
    if training.source == "uneven":
        return {"x": Dataset(x, y, UNEVEN), "shuffle": False}
    if training.source == "generator":

        def batches() -> Iterator[tuple]:
            while True:
                for index in range(6):
                    yield rows_of(x, index), y[index * ROWS : (index + 1) * ROWS]

        return {"x": batches(), "steps_per_epoch": 6}
    tensors = [torch.from_numpy(np.ascontiguousarray(each)) for each in (x if isinstance(x, tuple) else (x,))]
    if training.source == "loader" and not isinstance(x, tuple):
        pairs = torch.utils.data.TensorDataset(*tensors, torch.from_numpy(y))
        return {"x": torch.utils.data.DataLoader(pairs, batch_size=ROWS)}
    return {
        "x": tensors if len(tensors) > 1 else tensors[0],
        "y": torch.from_numpy(y),
        "batch_size": ROWS,
        "shuffle": False,
    }


def judge(training: Training) -> Finding:
    """Runs a training both ways, and compares."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            stock, _ = run(training, attached=False)
        except Exception as error:
            stock, failed = None, error
        finally:
            restore_settings()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            ours, built = run(training, attached=True)
        except Exception as error:
            words: tuple[str, ...] = (f"{type(error).__name__}: {str(error)[:300]}",)
            outcome = Outcome.NEITHER if stock is None else Outcome.CRASHED
            return Finding(training=training, outcome=outcome, on_engine=False, words=words)
        finally:
            restore_settings()
    said = tuple(str(each.message) for each in told if issubclass(each.category, torch_plugin.TorchPluginWarning))
    entries = torch_plugin.traces(built.model)
    on_engine = any(entry.kind == "train" and entry.step is not None for entry in entries)
    if stock is None:
        words = (f"stock Keras raised {type(failed).__name__}, and the attached model did not",)
        return Finding(training=training, outcome=Outcome.WRONG, on_engine=on_engine, words=words)
    apart = distance(stock, ours, ROW_COUNTED.get(training.policy, 0.0))
    if apart > TOLERANCES[training.policy]:
        words = (f"{apart:.2g} apart", *said)
        return Finding(training=training, outcome=Outcome.WRONG, on_engine=on_engine, words=words)
    outcome = Outcome.DECLINED if said else Outcome.BITS if apart == 0 else Outcome.ROUNDING
    return Finding(training=training, outcome=outcome, on_engine=on_engine, words=said)


def distance(stock: list[np.ndarray], ours: list[np.ndarray], row: float) -> float:
    """Returns the largest difference, relative to the largest value of each number's kind, or infinity.

    Args:
        stock: Numbers.
        ours: Numbers.
        row: Where both are shares of a batch's rows, a difference of that much counts as none.
    """
    if [each.shape for each in stock] != [each.shape for each in ours]:
        return float("inf")
    apart = 0.0
    for one, other in zip(stock, ours, strict=True):
        if not np.array_equal(np.isfinite(one), np.isfinite(other)):
            return float("inf")
        one, other = np.nan_to_num(one), np.nan_to_num(other)
        difference = np.abs(one - other)
        if row:
            shares = (one % row == 0) & (other % row == 0)
            difference = np.where(shares & (difference <= row), 0.0, difference)
        if one.size:
            apart = max(apart, float(difference.max() / max(1.0, np.abs(one).max())))
    return apart

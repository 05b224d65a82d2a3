"""Whether a mistake changes what a port computes, beyond rounding: one that does not is none."""

from pathlib import Path
from typing import Any

import keras
import numpy as np

from birdplane_keras.mutants.pairs import built
from birdplane_keras.mutants.plans import Plan

SAME = 1e-6  # relative to the largest number: rounding moves so much in any case
AS_FAR = 4.0  # times as far as what was trained from weights that are off by a rounding is within rounding
COPIES = 2  # of such weights
EPOCHS = 2


def changes_nothing(plan: Plan, port: Plan, folder: Path) -> bool:
    """Whether a port with a mistake computes what it does without, up to rounding, before a few steps and after them.

    What rounding alone does to it is measured: an optimizer that divides by the gradient's size makes a whole step of
    a gradient that is nothing but rounding.

    Args:
        plan: The port without the mistake.
        port: With it.
        folder: For the files.
    """
    before, after = trained(plan, plan, folder), trained(plan, port, folder)
    allowed = [SAME * max(np.abs(each).max(initial=0.0), 1e-30) for each in before]
    if within(before, after, allowed):
        return True
    for copy in range(1, COPIES + 1):
        moved = trained(plan, plan, folder, copy)
        furthest = [AS_FAR * np.abs(one - other).max(initial=0.0) for one, other in zip(before, moved, strict=True)]
        allowed = [max(pair) for pair in zip(allowed, furthest, strict=True)]
    return within(before, after, allowed)


def within(ours: list[np.ndarray], theirs: list[np.ndarray], allowed: list[float]) -> bool:
    """Whether each array is no further from another than it may be."""
    return all(
        np.abs(one - other).max(initial=0.0) <= far for one, other, far in zip(ours, theirs, allowed, strict=True)
    )


def trained(plan: Plan, port: Plan, folder: Path, copy: int = 0) -> list[np.ndarray]:
    """Returns a port's data, its outputs, and its weights after a step and after a few more.

    Args:
        plan: The reference's plan.
        port: Its own.
        folder: For the files.
        copy: 0 starts from weights that are the same each time, others from these but for a rounding.
    """
    with built(plan, port, folder) as (pair, _, _):
        model, size = pair.keras_model, pair.batch_size
        inputs, targets = pair.keras_data or pair.data
        random, roundings = np.random.default_rng(0), np.random.default_rng(copy)
        for variable in model.trainable_variables:
            drawn = random.normal(0, 0.3, variable.shape).astype(np.float32)
            off = roundings.choice([-1, 0, 1], variable.shape) if copy else 0
            variable.assign(drawn * (1 + off * np.finfo(np.float32).eps))
        data = [np.ravel(each).astype(np.float64) for each in keras.tree.flatten(inputs)]
        outputs = [np.ravel(each) for each in keras.tree.flatten(model.predict(inputs, verbose=0))]
        first = [keras.tree.map_structure(lambda each: each[:size], given) for given in (inputs, targets)]
        model.fit(*first, batch_size=size, verbose=0)
        weights = weights_of(model)
        model.fit(inputs, targets, batch_size=size, epochs=EPOCHS, shuffle=False, verbose=0)
        return [*data, *outputs, *weights, *weights_of(model)]


def weights_of(model: Any) -> list[np.ndarray]:
    """Returns the trainable weights of a model."""
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in model.trainable_variables]

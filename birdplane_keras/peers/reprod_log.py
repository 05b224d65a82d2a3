"""The ladder of PaddlePaddle's guide to reproducing a paper, with the check of its tool `reprod_log`."""

import numpy as np

from birdplane_keras.peers.comparing import by_step
from birdplane_keras.peers.method import Difference, Method
from birdplane_keras.peers.prepared import Named, Prepared
from birdplane_keras.peers.traces import STEPS

THRESHOLD = 1e-6  # of the mean absolute difference: the tool's defaults
BATCHES = 5


def climb(pair: Prepared) -> Difference | None:
    """Climbs the guide's steps: data, forward pass, loss, gradients, an update, learning rates, losses.

    Documents: each step saves tensors by name on both sides. The tool asks for the same names, and fails a tensor with
    a mean absolute difference above 1e-6. As it asks for "greater", a difference of NaN passes. A tensor of another
    shape is transposed if that helps. The guide asks for Dropout to be off, and for losses of two or more steps.
    Emulated: the first batches of both loaders; the outputs in evaluation mode; loss, gradients and updated weights of
    the first training step; the rate of every step; the losses of ten steps. Gradients and updates are what the guide
    looks at where losses part; here they are always compared.
    Limits: NaN passes, also where the port alone has it; differences that average to less than 1e-6 pass. It has a
    step for metrics, too, which these pairs have none of.
    """
    theirs, ours = pair.traces
    steps = (
        ("data", *pair.batches(BATCHES)),
        ("forward", *pair.outputs),
        ("loss", by_step(theirs.losses, 1, "loss"), by_step(ours.losses, 1, "loss")),
        ("gradients", theirs.gradients, ours.gradients),
        ("update", theirs.updated, ours.updated),
        ("rates", by_step(theirs.rates, len(theirs.rates), "rate"), by_step(ours.rates, len(theirs.rates), "rate")),
        ("losses", by_step(theirs.losses, STEPS, "loss"), by_step(ours.losses, STEPS, "loss")),
    )
    return next((found for step, *sides in steps if (found := compare(step, *sides)) is not None), None)


def compare(step: str, theirs: Named, ours: Named) -> Difference | None:
    """Returns the first tensor of a step that fails the tool's check."""
    for name in dict.fromkeys([*theirs, *ours]):
        place = f"{step}: {name}"
        if name not in theirs or name not in ours:
            return Difference(place=place, text=f"not found in the {'port' if name in theirs else 'reference'}")
        try:
            apart = mean_difference(theirs[name], ours[name])
        except ValueError as error:  # shapes that cannot be subtracted: NumPy's words name both
            return Difference(place=place, text=str(error))
        if apart > THRESHOLD:
            return Difference(place=place, text=f"{apart:.2g} apart in the mean")
    return None


def mean_difference(one: np.ndarray, other: np.ndarray) -> float:
    """Returns the mean absolute difference, NaN where a number is missing.

    Raises:
        ValueError: The shapes cannot be subtracted.
    """
    if one.shape != other.shape and one.T.shape == other.shape:
        one = one.T
    with np.errstate(invalid="ignore", over="ignore"):
        return float(np.abs(one - other).mean())


METHODS = (
    Method(
        name="reprod_log",
        title="PaddlePaddle's guide and `reprod_log`",
        compares="data, outputs, loss, gradients, an update, rates, ten losses: 1e-6 in the mean",
        tells="a step and a tensor",
        limits="NaN passes its check, and so does what averages to less than 1e-6. What differs later is not seen.",
        run=climb,
    ),
)

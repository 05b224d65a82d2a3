"""Keras' own integration test of two versions of Keras, `integration_tests/numerical_test.py`."""

from functools import partial

import numpy as np

from birdplane_keras.peers.comparing import asserts, first_apart
from birdplane_keras.peers.method import Difference, Method
from birdplane_keras.peers.prepared import Named, Prepared
from birdplane_keras.peers.traces import Epoch

IS_CLOSE = asserts(partial(np.testing.assert_allclose, atol=1e-3))


def compare_an_epoch(pair: Prepared) -> Difference | None:
    """Trains both for an epoch and compares history, weights and predictions.

    Documents: both models are given the same weights, which must be equal within a relative 1e-7. Both are trained by
    `fit` for one epoch without shuffling. Then history, weights and predictions must agree within an absolute 1e-3,
    and so must what `evaluate` returns.
    Emulated: each side makes an epoch of its own batches in its own order. The mean loss stands for the history, since
    the pairs have no metrics. Moving statistics are weights. `evaluate` is left out: it knows no weights of classes,
    and would accuse a right port.
    Limits: an absolute 1e-3 is large for small weights, small rates and few steps; an epoch is all that is seen.
    NumPy's check takes NaN in the same places for equal.
    """
    theirs, ours = (trace.epochs[0] for trace in pair.traces)
    return (
        first_apart(*pair.start, asserts(np.testing.assert_allclose), "{} at the start")
        or first_apart(history(theirs), history(ours), IS_CLOSE)
        or first_apart(theirs.weights, ours.weights, IS_CLOSE, "{} after an epoch")
        or first_apart(theirs.predictions, ours.predictions, IS_CLOSE, "{} after an epoch")
    )


def history(epoch: Epoch) -> Named:
    """Returns what `fit` reports of an epoch."""
    return {"loss of the epoch": np.asarray(epoch.mean_loss)}


METHODS = (
    Method(
        name="keras_numerical",
        title="Keras' numerical test",
        compares="the start, then mean loss, weights and predictions after an epoch: absolute 1e-3, relative 1e-7",
        tells="a weight, an output or the loss",
        limits="An epoch only, and 1e-3 is more than many mistakes move a weight in it. Dropout is off.",
        run=compare_an_epoch,
    ),
)

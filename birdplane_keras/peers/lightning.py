"""Lightning's parity tests, which hold its trainer against a plain loop of PyTorch."""

from collections.abc import Sequence

import numpy as np
import torch

from birdplane_keras.peers.comparing import IsClose, asserts, close_as_tensors, first_apart
from birdplane_keras.peers.method import Difference, Method
from birdplane_keras.peers.prepared import Named, Prepared
from birdplane_keras.peers.traces import EPOCHS, Epoch

DECIMALS = 5
LIMITS = (
    f"{EPOCHS} epochs, so what differs later is not seen; nor are outputs that no weight shows, or Dropout, which is "
    "off."
)


def compare_trainings(pair: Prepared, is_close: IsClose) -> Difference | None:
    """Trains both for a few epochs and compares losses and weights.

    Documents: `tests/parity_pytorch` trains both loops for four epochs and asks for last losses that agree to five
    decimals. `tests/parity_fabric` asks for weights that are equal bit by bit after training.
    Emulated: each side makes four epochs of its own batches; the last loss of each epoch must agree to five decimals,
    and all weights and moving statistics at the end by `is_close`. There are two rows: one with `assert_close` for the
    weights, and one with equal bits, as written; both sides of Lightning's own test are PyTorch.
    Limits: both need the same start, which one seed gives within PyTorch; here our transfer does.
    """
    theirs, ours = (trace.epochs for trace in pair.traces)
    almost_equal = asserts(lambda one, other: np.testing.assert_almost_equal(one, other, DECIMALS))
    return first_apart(last_losses(theirs), last_losses(ours), almost_equal) or first_apart(
        theirs[-1].weights, ours[-1].weights, is_close, "{} at the end"
    )


def last_losses(epochs: Sequence[Epoch]) -> Named:
    """Returns the last loss of every epoch by name."""
    return {f"last loss of epoch {number}": np.asarray(epoch.last_loss) for number, epoch in enumerate(epochs)}


def equal_as_tensors(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether `torch.equal` holds."""
    return torch.equal(torch.as_tensor(one), torch.as_tensor(other))


METHODS = (
    Method(
        name="lightning",
        title="Lightning's parity test",
        compares=f"losses of {EPOCHS} epochs to five decimals, then weights by `assert_close`",
        tells="an epoch or a weight",
        limits=LIMITS,
        run=lambda pair: compare_trainings(pair, close_as_tensors),
    ),
    Method(
        name="lightning_in_bits",
        title="Lightning's parity test, weights in bits",
        compares=f"losses of {EPOCHS} epochs to five decimals, then weights bit by bit, as Fabric's test does",
        tells="an epoch or a weight",
        limits=f"{LIMITS} Two frameworks round in ways of their own, so right ports fail.",
        together=False,
        run=lambda pair: compare_trainings(pair, equal_as_tensors),
    ),
)

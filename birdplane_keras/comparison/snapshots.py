"""The reference's weights after its epochs, kept on the disk until the other runs have been held against them."""

from pathlib import Path
from typing import Any

import numpy as np

from birdplane_keras.parity.records import Tensors

MOST_SNAPSHOTS = 100


class Snapshots:
    """Weights after (at most 100, evenly spread, always the last of) the epochs of a run.

    Args:
        folder: An existing folder for the files; epochs x parameters x 4 bytes, 1.5 GB for 100 epochs of `wide`.
        epochs: How many epochs the run has.
    """

    def __init__(self, folder: Path, epochs: int) -> None:
        self._folder = folder
        count = min(epochs, MOST_SNAPSHOTS)
        self.epochs = sorted({round((n + 1) * epochs / count) - 1 for n in range(count)})

    def save(self, epoch: int, weights: Tensors) -> None:
        """Keeps the weights of an epoch, if it is one of those that are kept."""
        if epoch in self.epochs:
            arrays: dict[str, Any] = dict(weights)
            np.savez(self._folder / f"{epoch}.npz", **arrays)

    def distances(self, epoch: int, weights: Tensors) -> dict[str, float] | None:
        """Returns name -> largest absolute difference from the kept weights; `None` for an epoch that was not kept."""
        if epoch not in self.epochs:
            return None
        with np.load(self._folder / f"{epoch}.npz") as kept:
            return {name: float(np.abs(weights[name] - kept[name]).max()) for name in kept.files}

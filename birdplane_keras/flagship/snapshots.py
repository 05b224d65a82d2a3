"""The reference's weights after its epochs, kept on the disk until the other runs have been held against them."""

import tempfile
from pathlib import Path

import numpy as np

from birdplane_keras.parity.core.records import Tensors

MOST_SNAPSHOTS = 100


class Snapshots:
    """Weights after (at most 100, evenly spread, always the last of) the epochs of a run.

    They lie in a temporary file without a name, which the system removes when the process ends, however it ends.

    Args:
        folder: The file system to use; epochs x parameters x 4 bytes, 1.5 GB for 100 epochs of `wide`.
        epochs: How many epochs the run has.
    """

    def __init__(self, folder: Path, epochs: int) -> None:
        count = min(epochs, MOST_SNAPSHOTS)
        self.epochs = sorted({round((n + 1) * epochs / count) - 1 for n in range(count)})
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed by __exit__)

    def __enter__(self) -> "Snapshots":
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def save(self, epoch: int, weights: Tensors) -> None:
        """Keeps the float32 weights of an epoch, if it is one of those that are kept."""
        if epoch in self.epochs:
            self._seek(epoch, weights)
            for tensor in weights.values():
                self._file.write(np.ascontiguousarray(tensor, np.float32).tobytes())

    def distances(self, epoch: int, weights: Tensors) -> dict[str, float] | None:
        """Returns name -> largest absolute difference from the kept weights; `None` for an epoch that was not kept.

        Args:
            epoch: An epoch whose weights were saved, if it is one of those that are kept.
            weights: The same names and shapes in the same order.
        """
        if epoch not in self.epochs:
            return None
        self._seek(epoch, weights)
        measured = {}
        for name, tensor in weights.items():
            kept = np.frombuffer(self._file.read(4 * tensor.size), np.float32).reshape(tensor.shape)
            measured[name] = float(np.abs(tensor - kept).max())
        return measured

    def _seek(self, epoch: int, weights: Tensors) -> None:
        size = sum(4 * tensor.size for tensor in weights.values())
        self._file.seek(self.epochs.index(epoch) * size)

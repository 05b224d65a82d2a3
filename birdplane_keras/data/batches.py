"""The mini-batches that `model.fit()` draws."""

from typing import Any

import keras
import numpy as np
import torch

from birdplane_keras.data.inputs import batch_order

Rows = np.ndarray | torch.Tensor


class EpochBatches(keras.utils.PyDataset):
    """Mini-batches in the order of (seed, epoch); the last one holds what is left. Call `fit` with `shuffle=False`.

    Keras calls a `PyDataset`'s own `on_epoch_begin` and `on_epoch_end` at other times, too, so the epoch comes from
    the callback that `follow_epochs` returns.

    Args:
        x: (N, ...) one row per example; an array, or a tensor on the device where it is used.
        y: (N,) labels, likewise.
        batch_size: Examples in a batch.
        seed: Fixes the orders of all epochs.
    """

    def __init__(self, x: Rows, y: Rows, *, batch_size: int, seed: int) -> None:
        super().__init__()
        self.x, self.y, self.batch_size, self.seed = x, y, batch_size, seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order of the next pass."""
        self.order: Rows = batch_order(len(self.x), seed=self.seed, epoch=epoch)
        if isinstance(self.x, torch.Tensor):
            self.order = torch.from_numpy(self.order).to(self.x.device)

    def follow_epochs(self) -> keras.callbacks.Callback:
        """Returns the callback that chooses the order at the beginning of every epoch of `fit`."""
        return keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: self.set_epoch(epoch))

    def __len__(self) -> int:
        return -(-len(self.x) // self.batch_size)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        rows = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        return self.x[rows], self.y[rows]

"""The mini-batches that `model.fit()` draws."""

from typing import Any

import keras
import numpy as np
import torch

from birdplane_keras.data.inputs import batch_order, epoch_shifts, shift_pixels

Rows = np.ndarray | torch.Tensor


class EpochBatches(keras.utils.PyDataset):
    """Mini-batches in the order of (seed, epoch); the last one holds what is left. Call `fit` with `shuffle=False`.

    Keras calls a `PyDataset`'s own `on_epoch_begin` and `on_epoch_end` at other times, too, so the epoch comes from
    the callback that `follow_epochs` returns.

    Args:
        x: (N, ...) one row per example; an array, or a tensor on the device where it is used.
        y: (N,) labels, likewise.
        sample_weight: (N,) what each example's loss counts, likewise; `None` for 1.
        batch_size: Examples in a batch.
        seed: Fixes the orders and the shifts of all epochs.
        shuffle: Whether each epoch has an order of its own; else it is that of the rows.
        largest_shift: Pixels by which each image is moved at most, again in each epoch; `x` is then a tensor (N, 3072).
    """

    def __init__(
        self,
        x: Rows,
        y: Rows,
        sample_weight: Rows | None = None,
        *,
        batch_size: int,
        seed: int,
        shuffle: bool = True,
        largest_shift: int = 0,
    ) -> None:
        super().__init__()
        self.x, self.y, self.sample_weight = x, y, sample_weight
        self.batch_size, self.seed = batch_size, seed
        self.reorder, self.largest_shift = shuffle, largest_shift
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order and the shifts of the next pass."""
        size = len(self.x)
        self.order: Any = batch_order(size, seed=self.seed, epoch=epoch) if self.reorder else np.arange(size)
        if isinstance(self.x, torch.Tensor):
            self.order = torch.from_numpy(self.order).to(self.x.device)
        if self.largest_shift:
            shifts = epoch_shifts(size, seed=self.seed, epoch=epoch, largest=self.largest_shift)
            self.shifts = torch.from_numpy(shifts).to(self.order.device)

    def follow_epochs(self) -> keras.callbacks.Callback:
        """Returns the callback that chooses order and shifts at the beginning of every epoch of `fit`."""
        return keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: self.set_epoch(epoch))

    def inputs(self, rows: Rows) -> Any:
        """Returns the inputs of some rows as the epoch shows them: (B, ...)."""
        x: Any = self.x[rows]
        return shift_pixels(x, self.shifts[rows]) if self.largest_shift else x

    def __len__(self) -> int:
        return -(-len(self.x) // self.batch_size)

    def rows(self, index: int) -> Rows:
        """Returns which rows a batch holds."""
        return self.order[index * self.batch_size : (index + 1) * self.batch_size]

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        rows = self.rows(index)
        batch = (self.inputs(rows), self.y[rows])
        return batch if self.sample_weight is None else (*batch, self.sample_weight[rows])

"""Batches of arrays and tensors in memory by their rows' numbers, in the order in which stock Keras draws them.

Stock Keras hands such data to a PyTorch `DataLoader`, which takes more time for each row than a small network for its
step. Here one call takes the rows of a batch; the loader's own sampler still says which they are.
"""

import contextlib
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import Any

import keras
import numpy as np
import torch
from keras import tree

from birdplane_keras.torch_plugin.batches import flatten, look_of, make_known, name_of, packed
from birdplane_keras.torch_plugin.private_keras import ArrayDataAdapter, get_device

MOST_AT_ONCE = 64  # batches
SHARE_AT_ONCE = 8  # of an epoch's batches no more than an eighth: their outputs are copied
LARGEST_AT_ONCE = 1 << 20  # bytes of them


def take_by_index(epoch_iterator: Any, may_take_several: Callable[[], bool]) -> None:
    """Makes an epoch iterator of Keras take its batches by index, where its data are arrays and tensors in memory.

    Small batches are handed over several at once where that shows nowhere: Keras' loop takes more time for each of
    them than a small network.

    Args:
        epoch_iterator: Of `fit`, `evaluate` or `predict`, before its first batch of an epoch; anything else stays.
        may_take_several: Asked as an epoch begins: whether nothing is to happen between one batch and the next.
    """
    adapter: Any = getattr(epoch_iterator, "data_adapter", None)
    if type(adapter) is not ArrayDataAdapter or "get_torch_dataloader" in vars(adapter):
        return
    if getattr(adapter, "_num_data_shards", 1) != 1:  # each process takes some of the batches
        return
    iterator, at_once = weakref.ref(epoch_iterator), epoch_iterator.steps_per_execution

    def get_torch_dataloader() -> Any:
        loader = ArrayDataAdapter.get_torch_dataloader(adapter)
        batches = IndexedBatches(loader, is_shuffled=bool(adapter._shuffle))
        # Within a batch, rows are drawn batch by batch: between two of them the step may draw.
        by_index = batches.leaves is not None and adapter._shuffle != "batch"
        asking: Any = iterator()
        if at_once == 1 and asking.steps_per_epoch is None:
            most = batches.most_at_once() if by_index else 1
            batches.at_once = most if most > 1 and may_take_several() else 1
            hand_over(asking, batches.at_once)
        return batches if by_index else loader

    adapter.get_torch_dataloader = get_torch_dataloader


def hand_over(epoch_iterator: Any, at_once: int) -> None:
    """Makes an epoch iterator, whose number of batches is known, hand over so many at once; of the last, those left."""
    epoch_iterator.steps_per_execution = at_once
    if at_once > 1:
        epoch_iterator.catch_stop_iteration = partial(contextlib.suppress, StopIteration)
    else:
        vars(epoch_iterator).pop("catch_stop_iteration", None)


class IndexedBatches:
    """The batches of one epoch.

    Args:
        loader: Stock Keras' own, over its array data set.
        is_shuffled: Whether the rows come in a drawn order.
    """

    def __init__(self, loader: Any, *, is_shuffled: bool) -> None:
        self._loader, self._is_shuffled = loader, is_shuffled
        self.at_once = 1  # batches that are made before the first of them goes to its step
        sliceables = tree.flatten(loader.dataset.array)
        self.leaves: list[torch.Tensor | None] | None = []
        for each in sliceables:
            whole = None if each is None else whole_tensor(each)
            if each is not None and whole is None:
                self.leaves = None
                return
            self.leaves.append(whole)

    def most_at_once(self) -> int:
        """Returns how many batches may be handed over at once."""
        rows = [leaf[:1] for leaf in self.leaves or () if leaf is not None]
        size = self._loader.batch_sampler.batch_size * sum(row.numel() * row.element_size() for row in rows)
        return max(1, min(MOST_AT_ONCE, LARGEST_AT_ONCE // max(size, 1), len(self._loader) // SHARE_AT_ONCE))

    def __iter__(self) -> Iterator[Any]:
        iter(self._loader)  # the loader's own iterator draws a number when it is made
        return self._batches()

    def _batches(self) -> Iterator[Any]:
        sampler, leaves = self._loader.batch_sampler, self.leaves
        assert leaves is not None
        structure = self._loader.dataset.array
        size, count = sampler.batch_size, next(len(leaf) for leaf in leaves if leaf is not None)
        order = torch.tensor([*chain.from_iterable(sampler)]) if self._is_shuffled else None
        looks: dict[int, tuple | None] = {}  # of batches of so many rows; None where tensors lie deeper
        make_known(None, None)  # what a step that failed has left
        try:
            for start in range(0, count, size):
                if order is None:
                    rows = [leaf if leaf is None else leaf[start : start + size].clone() for leaf in leaves]
                else:
                    numbers = order[start : start + size]
                    rows = [leaf if leaf is None else leaf.index_select(0, numbers.to(leaf.device)) for leaf in leaves]
                batch = packed(structure, rows)
                length = min(size, count - start)
                if length not in looks:
                    parts = batch if type(batch) is tuple else [batch]
                    is_flat = all(map(torch.is_tensor, parts))
                    looks[length] = look_of(flatten(batch, []), list(parts)) if is_flat else None
                make_known(batch, looks[length], most=self.at_once)
                yield batch
        finally:
            if self.at_once == 1:  # else the last ones still wait for their steps, which forget them
                make_known(None, None)


def whole_tensor(sliceable: Any) -> torch.Tensor | None:
    """Returns all rows as a tensor of whose rows stock Keras makes the same batches; `None` where there is none."""
    array = sliceable.array
    if isinstance(array, torch.Tensor):
        is_plain = array.layout == torch.strided and name_of(array.device) == get_device() and not array.requires_grad
        return array if is_plain and array.is_contiguous() else None
    if not isinstance(array, np.ndarray) or get_device() != "cpu" or not len(array):
        return None
    if not array.flags.writeable or not array.flags.c_contiguous:
        return None
    try:
        whole = torch.from_numpy(array)
    except TypeError:  # strings
        return None
    first: Any = keras.ops.convert_to_tensor(sliceable.convert_to_torch_compatible(array[:1]))
    return whole if (first.dtype, first.shape[1:]) == (whole.dtype, whole.shape[1:]) else None

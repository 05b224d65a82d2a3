"""Data as people have them: loaders, datasets and generators, of which as many batches are taken as the steps need."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import keras
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from birdplane_keras.errors import PairError
from birdplane_keras.parity.pair import Pair, count_examples
from birdplane_keras.parity.sides.arrays import to_numpy

TARGETS = ("labels", "targets")  # how batches in one dictionary call their targets


def with_arrays(pair: Pair, steps: int) -> Pair:
    """Returns a pair whose data are arrays, and whose batches are those of its loader, in its order.

    What a loader yields in its first pass is taken, no more than the steps need, and is every epoch's.

    Raises:
        PairError: The loader is empty, its batches do not fit together, or it is used up and not the port's.
    """
    if not is_loader(pair.data) and not is_loader(pair.keras_data):
        return pair
    theirs = sizes = None
    if is_loader(pair.data):
        if pair.batches is not None:
            raise PairError("expected data as arrays beside batches, received a loader, which has batches of its own")
        theirs, sizes = gathered(pair.data, steps, pair)
        pair = replace(pair, data=theirs, batches=in_order(sizes))
    if is_loader(pair.keras_data):
        ours, own = gathered(pair.keras_data, steps, pair)
        pair = replace(pair, keras_data=ours, keras_batches=in_order(own))
    return pair


def is_loader(data: Any) -> bool:
    """Whether data are yielded, and no arrays."""
    return isinstance(data, DataLoader | Dataset | keras.utils.PyDataset | Iterator)


def gathered(data: Any, steps: int, pair: Pair) -> tuple[tuple[Any, Any], list[int]]:
    """Returns the first batches of a loader as inputs and targets, and how many examples each has."""
    batches = [parts_of(batch, pair) for batch in islice(batches_of(data, pair.batch_size), steps)]
    if not batches:
        raise PairError(f"expected batches, received a {type(data).__name__} without any")
    sizes = [count_examples(inputs) for inputs, _ in batches]
    try:
        joined = keras.tree.map_structure(lambda *leaves: np.concatenate(leaves), *batches)
    except ValueError as error:
        raise PairError(
            f"expected batches that differ in the number of examples alone, received others ({error}): pad them alike"
        ) from error
    return joined, sizes


def batches_of(data: Any, batch_size: int) -> Iterable[Any]:
    """Returns the batches of a loader; those of a dataset without any are made."""
    if isinstance(data, keras.utils.PyDataset):
        count = data.num_batches
        return (data[index] for index in (range(count) if count is not None else iter(int, 1)))
    return DataLoader(data, batch_size=batch_size) if isinstance(data, Dataset) else data


def parts_of(batch: Any, pair: Pair) -> tuple[Any, Any]:
    """Returns inputs and targets of a batch as arrays; no targets where nothing is trained."""
    if isinstance(batch, Mapping):
        name = next((name for name in TARGETS if name in batch), None)
        targets = () if name is None else batch[name]
        inputs: Any = {key: value for key, value in batch.items() if key != name}
    elif isinstance(batch, Sequence) and len(batch) == 2:
        inputs, targets = batch
    else:
        inputs, targets = batch, ()
    inputs, targets = (keras.tree.map_structure(as_array, part) for part in (inputs, targets))
    return inputs, targets if pair.trains else ()


def as_array(leaf: Any) -> np.ndarray:
    """Returns a tensor, or what NumPy takes, as an array."""
    return to_numpy(leaf) if isinstance(leaf, torch.Tensor) else np.asarray(leaf)


def in_order(sizes: Sequence[int]) -> Callable[[int], Sequence[np.ndarray]]:
    """Returns the batches of every epoch: rows as they come, so many in each."""
    ends = np.cumsum(sizes)
    rows = [np.arange(end - size, end) for size, end in zip(sizes, ends, strict=True)]
    return lambda epoch: rows

"""The examples of both sides: what a pair's data are to each, and in which batches they come."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache, wraps
from typing import Any

import keras
import numpy as np

from birdplane_keras.errors import PairError, errors_of_pair
from birdplane_keras.parity.pair import Batches, Pair, count_examples, flatten, turn_of

VALIDATED = slice(256)  # of the data, where a pair has no validation data
FUNCTIONS = (  # of a pair, that are called with arrays or numbers
    "to_keras",
    "targets_to_keras",
    "outputs_to_keras",
    "output_mask",
    "inputs_by_epoch",
    "keras_inputs_by_epoch",
    "batches",
    "keras_batches",
)


class Epochs:
    """Where a run is: which batch of which epoch, whose lengths may differ.

    Args:
        batches: From the epoch to the row numbers of its batches.
        size: N, by which the numbers of the examples of an epoch are greater than those of the one before.
    """

    def __init__(self, batches: Batches, size: int) -> None:
        self._batches, self._size = batches, size
        self.epoch, self.batch, self._length = -1, 0, 0

    def begin(self, rows: np.ndarray) -> bool:
        """Takes note of a batch that begins; returns whether it is the first of an epoch."""
        epoch = int(rows[0]) // self._size
        first = epoch != self.epoch
        if first:
            self.epoch, self.batch, self._length = epoch, 0, len(self._batches(epoch))
        return first

    def end(self) -> bool:
        """Takes note that the batch has ended; returns whether it was the last of its epoch."""
        self.batch += 1
        return self.batch == self._length


def named_leaves(structure: Any, name: str) -> dict[str, Any]:
    """Returns name -> leaf: one leaf keeps the name, several are numbered or keyed."""
    if isinstance(structure, Mapping):
        return {f"{name}[{key}]": leaf for key in sorted(structure) for leaf in flatten(structure[key])}
    leaves = flatten(structure)
    return {name: leaves[0]} if len(leaves) == 1 else {f"{name}[{index}]": leaf for index, leaf in enumerate(leaves)}


def mapped(function: Callable[[Any], Any], structure: Any) -> Any:
    """Returns what a function makes of each array of a structure: most are one array, which is quickly told."""
    return function(structure) if isinstance(structure, np.ndarray) else keras.tree.map_structure(function, structure)


def take(structure: Any, rows: np.ndarray | slice) -> Any:
    """Returns the rows of every array of a structure."""
    return mapped(lambda array: array[rows], structure)


class Examples:
    """The examples of a side by their numbers in a run: row number + N x epoch.

    Args:
        data: Inputs and targets, arrays (N, ...) or structures of them.
        size: N of the reference.
        inputs_by_epoch: From the epoch to its inputs; `None` where every epoch shows the same.
    """

    def __init__(self, data: tuple[Any, Any], size: int, inputs_by_epoch: Callable[[int], Any] | None) -> None:
        self.data, self.size, self._by_epoch = data, size, inputs_by_epoch

    def take(self, numbers: np.ndarray) -> tuple[Any, Any]:
        """Returns inputs and targets of some examples of one epoch."""
        rows, epoch = numbers % self.size, int(numbers[0]) // self.size if len(numbers) else 0
        inputs = self.data[0] if self._by_epoch is None else self._by_epoch(epoch)
        return take(inputs, rows), take(self.data[1], rows)


def reference_examples(pair: Pair) -> Examples:
    """Returns the reference's examples."""
    return Examples(pair.data, count_examples(pair.data), pair.inputs_by_epoch)


def port_examples(pair: Pair) -> Examples:
    """Returns the port's examples: its own, or the reference's, turned."""
    data = pair.keras_data or keras_view(pair, pair.data)
    return Examples(data, count_examples(pair.data), pair.keras_inputs_by_epoch)


def plan_batches(pair: Pair, steps: int) -> list[np.ndarray]:
    """Returns the numbers, as `Examples` has them, of the reference's first batches, over as many epochs as it takes.

    Raises:
        PairError: An epoch has no batches, or a batch names an example that is not there.
    """
    examples = count_examples(pair.data)
    planned: list[np.ndarray] = []
    epoch = 0
    while len(planned) < steps:
        batches = pair.batches(epoch)[: steps - len(planned)] if pair.batches else []
        if not batches:
            raise PairError(f"expected batches in epoch {epoch}, received none")
        for batch in batches:
            if not len(batch) or batch.min() < 0 or batch.max() >= examples:
                raise PairError(f"expected batches of row numbers from 0 to {examples - 1}, received {list(batch)[:8]}")
        planned += [batch + epoch * examples for batch in batches]
        epoch += 1
    return planned


def keras_view(pair: Pair, data: tuple[Any, Any]) -> tuple[Any, Any]:
    """Returns data of the reference as the port is to be fed: turned by the pair's two functions."""
    inputs, targets = data
    return (
        turn_of(pair)(inputs),
        targets if pair.targets_to_keras is None else pair.targets_to_keras(targets),
    )


def validation_inputs(pair: Pair) -> Any:
    """Returns the inputs to predict, in the reference's layout."""
    return take(pair.data[0], VALIDATED) if pair.validation_data is None else pair.validation_data[0]


def port_validation_inputs(pair: Pair, examples: Examples) -> Any:
    """Returns the same in the port's layout; `examples` are the port's."""
    if pair.validation_data is None:
        return take(examples.data[0], VALIDATED)
    return keras_view(pair, pair.validation_data)[0]


def build_batches(pair: Pair, seed: int) -> Pair:
    """Returns the pair with both sides stated in full; where it has no batches, (seed, epoch) shuffles each epoch.

    Raises:
        PairError: The data are empty or of unequal lengths.
    """
    examples = count_examples(pair.data)
    pair = replace(pair, to_keras=turn_of(pair) if pair.to_keras is not None else None)
    functions: dict[str, Any] = {n: named(n, function) for n in FUNCTIONS if (function := getattr(pair, n))}
    pair = replace(pair, **functions)

    def shuffled(epoch: int) -> list[np.ndarray]:
        rows = np.random.default_rng((seed, epoch)).permutation(examples)
        return [rows[start : start + pair.batch_size] for start in range(0, examples, pair.batch_size)]

    batches = shuffled if pair.batches is None else as_rows(pair.batches)
    theirs, ours = (None if inputs is None else lru_cache(maxsize=1)(inputs) for inputs in augmentations(pair))
    return replace(
        pair,
        batches=batches,
        keras_batches=batches if pair.keras_batches is None else as_rows(pair.keras_batches),
        inputs_by_epoch=theirs,
        keras_inputs_by_epoch=ours,
    )


def as_rows(batches: Batches) -> Batches:
    """Returns a function that gives batches as arrays (B,) of row numbers, which a person may give as lists."""
    return lambda epoch: [np.asarray(batch) for batch in batches(epoch)]


def named(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function of a pair whose errors say which one it is."""

    @wraps(function)
    def called(*args: Any) -> Any:
        with errors_of_pair(f"{name} of the pair failed"):
            return function(*args)

    return called


def describe_shapes(structure: Any) -> str:
    """Returns shapes and types of arrays in words."""
    leaves: dict[str, np.ndarray] = named_leaves(structure, "inputs")
    return ", ".join(f"{tuple(leaf.shape)} {leaf.dtype}" for leaf in leaves.values())


def augmentations(pair: Pair) -> tuple[Callable[[int], Any] | None, Callable[[int], Any] | None]:
    """Returns the functions from the epoch to its inputs, the reference's and the port's."""
    theirs, ours = pair.inputs_by_epoch, pair.keras_inputs_by_epoch
    if theirs is not None and ours is None:
        turn = turn_of(pair)
        return theirs, lambda epoch: turn(theirs(epoch))
    return theirs, ours

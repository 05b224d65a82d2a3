"""How far nudged copies of the reference came from it: what a whole training run is allowed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from birdplane_keras.parity.core.noise import largest_difference
from birdplane_keras.parity.core.records import Tensors

AS_ONE = 0.25  # examples move as one where what each moves by itself is no more than this share of what all move


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """How far copies of the reference, nudged by one ULP, drifted from it.

    Args:
        weights: Name -> the largest difference of a copy's tensor, at any checkpoint.
        outputs: Name -> (N,) for each validation example, the largest difference of its output at the end.
        largest: Name -> the largest of these.
        churn: Name of an output that is scores -> the most validation examples that a copy names otherwise; all of
            them where a copy's examples move as one, as they are named otherwise together or not at all.
    """

    weights: Mapping[str, float]
    outputs: Mapping[str, np.ndarray]
    largest: Mapping[str, float]
    churn: Mapping[str, int]


def measure_outputs(copies: Sequence[Tensors], theirs: Tensors) -> tuple[dict[str, np.ndarray], dict[str, float], dict]:
    """Returns `outputs`, `largest` and `churn` of an `Envelope`, from what the copies and the reference predict."""
    outputs = {n: np.max([row_differences(copy[n], value) for copy in copies], axis=0) for n, value in theirs.items()}
    largest = {n: max(largest_difference(copy[n], value) for copy in copies) for n, value in theirs.items()}
    scored = [name for name, value in theirs.items() if is_scores(value)]
    return outputs, largest, {n: max(possible_churn(copy[n], theirs[n]) for copy in copies) for n in scored}


def is_scores(output: np.ndarray) -> bool:
    """Whether an output is scores of classes, (N, C) with C > 1."""
    return output.ndim == 2 and output.shape[1] > 1


def churn(ours: np.ndarray, theirs: np.ndarray) -> int:
    """Counts the examples, rows of scores (N, C), that the two name differently."""
    return int((ours.argmax(axis=1) != theirs.argmax(axis=1)).sum())


def possible_churn(ours: np.ndarray, theirs: np.ndarray) -> int:
    """Returns the churn; that of all examples where they move as one, and further than two classes are apart."""
    moved = np.subtract(ours, theirs, dtype=np.float64)
    common = moved.mean(axis=0)
    best = np.sort(theirs.astype(np.float64), axis=1)
    apart = np.median(best[:, -1] - best[:, -2])
    as_one = np.square(moved - common).mean() <= AS_ONE**2 * np.square(common).mean()
    return len(theirs) if as_one and np.abs(common).max(initial=0.0) > apart else churn(ours, theirs)


def total_churn(ours: Tensors, theirs: Tensors) -> int:
    """Counts them over all outputs that are scores."""
    return sum(churn(ours[name], value) for name, value in theirs.items() if is_scores(value))


def row_differences(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Returns, for each example, the largest difference of its outputs: (N,) float64."""
    difference = np.abs(np.subtract(ours, theirs, dtype=np.float64))
    return difference.reshape(len(difference), -1).max(axis=1)

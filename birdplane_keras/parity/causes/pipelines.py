"""What a pipeline may have done to its arrays: tried on the reference's, until one of them makes them the port's."""

from collections.abc import Callable, Iterator
from itertools import combinations, permutations
from typing import NamedTuple

import numpy as np

from birdplane_keras.parity.causes.normalisation import in_normalisation
from birdplane_keras.parity.causes.reading import near, read_off
from birdplane_keras.parity.core.finding import Finding

FURTHEST = 4  # places along an axis that something is moved by
MOST_AXES = 4
MOVES = ("flipped", "axes_exchanged", "shifted")
FEW = 0.05  # share of the examples that are called a few


class Guess(NamedTuple):
    """What may have been done: a cause, in words, in code, and the reference's array after it."""

    cause: str
    text: str
    code: str
    made: Callable[[np.ndarray], np.ndarray]


def in_inputs(name: str, ours: np.ndarray, theirs: np.ndarray) -> Iterator[Finding]:
    """Reads what makes the port's inputs of the reference's, of one shape; nothing where nothing tried does.

    Args:
        name: Of the input.
        ours: The port's, (N, ...).
        theirs: The reference's, in the port's layout.
    """
    for guess in guesses(theirs):
        made = guess.made(theirs)
        if made.shape == ours.shape and near(made, ours):
            told = f"every value of {name} is the reference's after {guess.code}"
            yield read_off(guess.cause, "data", guess.text, told, f"leave out {guess.code} in the port's pipeline")
            return
    found = [*in_shifts(name, ours, theirs), *in_padding(name, ours, theirs)]
    yield from found[:1]
    if not found:
        yield from list(in_two(name, ours, theirs)) or in_examples(name, ours, theirs)


def in_two(name: str, ours: np.ndarray, theirs: np.ndarray) -> Iterator[Finding]:
    """Reads what was moved, and normalised with other constants, too."""
    for guess in guesses(theirs):
        made = guess.made(theirs)
        if made.shape == ours.shape and guess.cause in MOVES:
            found = list(in_normalisation(name, ours, made))
            if found:
                told = f"{name} is the reference's after {guess.code}, but for its constants"
                yield read_off(guess.cause, "data", guess.text, told, f"leave out {guess.code} in the port's pipeline")
                yield from found
                return


def guesses(theirs: np.ndarray) -> Iterator[Guess]:
    """Yields what may have been done to an array (N, ...) without a loss, the simplest first."""
    axes = range(1, min(theirs.ndim, MOST_AXES + 1))
    for count in (1, 2):
        for flipped in combinations(axes, count):
            yield Guess(
                "flipped",
                f"the port's inputs are turned round along axis {' and '.join(map(str, flipped))}",
                f"np.flip(x, {flipped})",
                lambda x, flipped=flipped: np.flip(x, flipped),
            )
    for order in permutations(axes):
        if order != tuple(axes) and [theirs.shape[axis] for axis in order] == list(theirs.shape[1 : len(order) + 1]):
            rest = tuple(range(len(order) + 1, theirs.ndim))
            yield Guess(
                "axes_exchanged",
                "the port's inputs have axes of one size exchanged",
                f"np.transpose(x, {(0, *order, *rest)})",
                lambda x, order=order, rest=rest: np.transpose(x, (0, *order, *rest)),
            )
    for axis in axes:
        for step in (step for step in range(-FURTHEST, FURTHEST + 1) if step and abs(step) < theirs.shape[axis]):
            yield Guess(
                "shifted",
                f"the port's inputs are rolled by {step} along axis {axis}",
                f"np.roll(x, {step}, {axis})",
                lambda x, step=step, axis=axis: np.roll(x, step, axis),
            )
    yield Guess("truncated", "the port's inputs lost what comes after the point", "np.trunc(x)", np.trunc)
    yield Guess("truncated", "the port's inputs are rounded to whole numbers", "np.round(x)", np.round)
    yield Guess(
        "standardised",
        "the port standardises each example by its own mean and deviation",
        "(x - mean of each example) / its deviation",
        standardised,
    )


def standardised(x: np.ndarray) -> np.ndarray:
    """Returns each example less its mean, over its deviation."""
    axes = tuple(range(1, x.ndim))
    deviation = x.std(axes, keepdims=True, dtype=np.float64)
    centred = x - x.mean(axes, keepdims=True, dtype=np.float64)
    return (centred / np.where(deviation == 0, 1, deviation)).astype(x.dtype)


def in_shifts(name: str, ours: np.ndarray, theirs: np.ndarray) -> Iterator[Finding]:
    """What is moved along an axis and filled from outside; whole numbers that are all so many too large."""
    for axis in range(1, min(theirs.ndim, MOST_AXES + 1)):
        for step in range(1, min(FURTHEST, theirs.shape[axis] // 2) + 1):
            back = near(cut(ours, axis, None, -step), cut(theirs, axis, step, None))
            if back or near(cut(ours, axis, step, None), cut(theirs, axis, None, -step)):
                way = -step if back else step
                yield read_off(
                    "shifted",
                    "data",
                    f"the port's inputs are moved by {way} along axis {axis}, and filled from outside",
                    f"what is left of {name} is the reference's, value for value",
                    "crop and pad in the port's pipeline as in the reference's",
                )
                return
    apart = np.unique(ours.astype(np.float64) - theirs) if np.array_equal(theirs, np.rint(theirs)) else np.zeros(2)
    if len(apart) == 1:
        yield read_off(
            "index_offset",
            "data",
            f"the port's numbers are all {apart[0]:+g} from the reference's",
            f"in every one of {ours.size} values of {name}",
            f"{name} {'-' if apart[0] > 0 else '+'} {abs(apart[0]):g} in the port's pipeline",
        )


def cut(array: np.ndarray, axis: int, start: int | None, stop: int | None) -> np.ndarray:
    """Returns a span of an array along an axis."""
    return array[(slice(None),) * axis + (slice(start, stop),)]


def in_padding(name: str, ours: np.ndarray, theirs: np.ndarray) -> Iterator[Finding]:
    """Rows that are padded on the other side: what is not the filling is the same, in order."""
    if ours.ndim != 2 or not len(ours):
        return
    for filling in {float(theirs[0, 0]), float(theirs[0, -1])}:
        rows = zip(ours, theirs, strict=True)
        if all(np.array_equal(mine[mine != filling], yours[yours != filling]) for mine, yours in rows):
            side = "left" if (ours[:, 0] == filling).sum() > (theirs[:, 0] == filling).sum() else "right"
            yield read_off(
                "padding_side",
                "data",
                f"the port pads its rows on the {side}, the reference on the other side",
                f"without the filling, {filling:g}, every row of {name} is the reference's",
                f'padding="{"post" if side == "left" else "pre"}" in the port\'s pipeline',
            )
            return


def in_examples(name: str, ours: np.ndarray, theirs: np.ndarray) -> Iterator[Finding]:
    """Examples in another order, or a few of them that differ."""
    mine, yours = (array.reshape(len(array), -1) for array in (ours, theirs))
    differing = (mine != yours).any(axis=1)
    count = int(differing.sum())
    order = [np.lexsort(np.ascontiguousarray(array.T)) for array in (mine, yours)]
    if count and near(mine[order[0]], yours[order[1]], 0):
        yield read_off(
            "example_order",
            "data",
            "the port has the reference's examples in another order",
            f"{count} of {len(ours)} examples of {name} lie elsewhere, and all are there",
            "load the files in one order on both sides: sorted(paths)",
        )
    elif 0 < count <= max(1, FEW * len(ours)):
        places = np.flatnonzero(differing)[:5].tolist()
        yield read_off(
            "few_examples",
            "data",
            f"{count} of {len(ours)} examples differ, the others are equal",
            f"in {name}, examples {places}{' and others' if count > len(places) else ''}",
            "look at these examples: how they are read, or what was damaged",
        )

"""Inputs that are an affine function of the reference's: normalised otherwise, twice, or not at all."""

from collections.abc import Iterator, Sequence

import numpy as np

from birdplane_keras.parity.causes.reading import read_off
from birdplane_keras.parity.core.compare import one_ulp
from birdplane_keras.parity.core.finding import Finding
from birdplane_keras.parity.core.tolerances import NORMALISED

DIGITS = (2, 4, 6, 8)  # as few of these as make the inputs equal are reported


def in_normalisation(name: str, ours: np.ndarray, theirs: np.ndarray) -> Iterator[Finding]:
    """Looks for one map for each channel (the last axis), or one for all."""
    pairs = [fit_line(theirs[..., c], ours[..., c]) for c in range(theirs.shape[-1])] if theirs.ndim > 2 else []
    if not pairs or any(pair is None for pair in pairs):
        whole = fit_line(theirs, ours)
        pairs = [] if whole is None else [whole]
    if not pairs:
        return
    slope, offset = (np.array(values) for values in zip(*[p for p in pairs if p is not None], strict=True))
    factor, shift, tried = undone(slope, offset, ours, theirs)
    evidence = (
        f"{name} = {factor} x the reference's + {shift} in every value; the port's lie within "
        f"[{ours.min():.3g}, {ours.max():.3g}], the reference's within [{theirs.min():.3g}, {theirs.max():.3g}]"
    )
    raw = ours.min() >= 0 and (ours.max() <= 1 or np.array_equal(ours, np.rint(ours)))
    if raw and theirs.min() < 0:
        cause, text = "not_normalised", "the port's inputs are not normalised"
        fix = f"subtract {shift} and divide by {factor} in the port's pipeline"
    elif applied_twice(slope, offset, theirs):
        cause, text, fix = "normalised_twice", "the port's inputs are normalised twice", "normalise once, in one place"
    else:
        cause, text = "normalisation_constants", "the port normalises its inputs with other constants"
        fix = f"use the reference's mean and standard deviation: (x - {shift}) / {factor} of the port's x fixes it"
    yield read_off(cause, "data", text, evidence, fix, tried=tried)


def undone(
    slope: np.ndarray, offset: np.ndarray, ours: np.ndarray, theirs: np.ndarray
) -> tuple[Sequence[float], Sequence[float], bool]:
    """Returns factor and shift with as few digits as undo the map, and whether the inputs are equal then."""
    allowed = NORMALISED.factor * one_ulp(theirs)
    factor, shift = slope, offset
    for digits in DIGITS:
        factor, shift = np.round(slope, digits), np.round(offset, digits)
        with np.errstate(divide="ignore", invalid="ignore"):
            made = ((ours - shift) / factor).astype(theirs.dtype)
        if np.abs(made.astype(np.float64) - theirs).max() <= allowed:
            return factor.tolist(), shift.tolist(), True
    return np.round(slope, 4).tolist(), np.round(offset, 4).tolist(), False


def applied_twice(slope: np.ndarray, offset: np.ndarray, theirs: np.ndarray) -> bool:
    """Whether the map is the one that made the reference's values from [0, 1]: its fixed 0 and 1 give it away."""
    axes = tuple(range(theirs.ndim - 1)) if len(slope) > 1 else None
    lowest, highest = theirs.min(axis=axes), theirs.max(axis=axes)
    return bool(
        np.allclose(offset, lowest, atol=0.05 * np.abs(slope).max())
        and np.allclose(slope + offset, highest, atol=0.05 * np.abs(slope).max())
    )


def fit_line(given: np.ndarray, made: np.ndarray) -> tuple[float, float] | None:
    """Returns (slope, offset) with made = slope x given + offset to rounding, or `None`."""
    x, y = given.astype(np.float64).ravel(), made.astype(np.float64).ravel()
    low, high = int(x.argmin()), int(x.argmax())
    if x[low] == x[high]:
        return None
    slope = (y[high] - y[low]) / (x[high] - x[low])
    offset = y[low] - slope * x[low]
    scale = max(float(np.abs(y).max()), float(np.abs(slope * x).max()), abs(offset))
    if slope == 0 or float(np.abs(slope * x + offset - y).max()) > 16 * scale * float(np.finfo(np.float32).eps):
        return None
    return float(slope), float(offset)

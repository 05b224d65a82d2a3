"""Compares named arrays of two sides by a method's own measure."""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch

from birdplane_keras.peers.method import Difference

IsClose = Callable[[np.ndarray, np.ndarray], bool]  # (reference, port), of one shape


def first_apart(
    theirs: Mapping[str, np.ndarray], ours: Mapping[str, np.ndarray], is_close: IsClose, where: str = "{}"
) -> Difference | None:
    """Returns the first array that one side lacks, or that is not close; `None` where all are.

    Args:
        theirs: Name -> array of the reference.
        ours: Likewise of the port.
        is_close: The method's own measure, for arrays of one shape.
        where: What the place is called, with `{}` for the name.
    """
    for name in dict.fromkeys([*theirs, *ours]):
        place = where.format(name)
        if name not in ours or name not in theirs:
            return Difference(place=place, text=f"the {'port' if name in theirs else 'reference'} lacks it")
        one, other = np.asarray(theirs[name]), np.asarray(ours[name])
        if one.shape != other.shape:
            return Difference(place=place, text=f"shape {other.shape} for {one.shape}")
        if not is_close(one, other):
            return Difference(place=place, text=describe(one, other))
    return None


def describe(one: np.ndarray, other: np.ndarray) -> str:
    """Returns in words how far two arrays of one shape are apart."""
    with np.errstate(invalid="ignore", over="ignore"):
        far = np.abs(one.astype(np.float64) - other.astype(np.float64)).max(initial=0.0)
    return f"{far:.2g} apart"


def allclose(atol: float) -> IsClose:
    """Returns `numpy.allclose` with an absolute tolerance and its own relative one of 1e-5; NaN is close to nothing."""
    return partial(np.allclose, atol=atol)


def asserts(check: Callable[..., None]) -> IsClose:
    """Returns whether an assertion of NumPy or PyTorch holds for (port, reference)."""

    def is_close(one: np.ndarray, other: np.ndarray) -> bool:
        try:
            check(other, one)
        except AssertionError:
            return False
        return True

    return is_close


def close_as_tensors(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether `torch.testing.assert_close` passes for (reference, port) at its defaults."""
    return asserts(lambda ours, theirs: torch.testing.assert_close(torch.as_tensor(ours), torch.as_tensor(theirs)))(
        one, other
    )


def by_step(values: list[float], count: int, what: str) -> dict[str, np.ndarray]:
    """Returns the first numbers of a series by the names of their steps."""
    return {f"{what} of step {step}": np.asarray(value) for step, value in enumerate(values[:count])}

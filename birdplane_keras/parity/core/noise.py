"""How large "only rounding" is, measured on the reference itself."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from birdplane_keras.parity.core.compare import BLOCK
from birdplane_keras.parity.core.records import Probe, Reading, Role

LEAST = 48  # numbers of a tensor from which on what they have in common says something
Noise = Mapping[str, Mapping[str, float]]  # rung -> name of the tensor -> noise, in the tensor's unit


def measure_noise(side: Probe, draws: Iterable[Reading], before: Noise | None = None) -> Noise:
    """Measures how far a side's first steps are from the same steps rounded otherwise.

    The noise of a tensor is its largest distance from any of the draws, and never less than one part in 2**23 of its
    largest entry: a tensor can be right by luck.

    Args:
        side: The steps as they are.
        draws: What the same steps compute in float64, say, or summed in another order. None of it is held.
        before: What earlier draws showed; the result is nowhere less.

    Returns:
        rung -> name of the tensor -> noise, in the tensor's unit.
    """
    tiny, share = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).eps)
    if before is not None:
        noise = {rung: dict(tensors) for rung, tensors in before.items()}
    else:
        noise = {
            rung: {name: max(tiny, share * largest(value)) for name, value in tensors.items()}
            for rung, tensors in side.tensors.items()
        }
    for rung, name, value, _ in draws:
        apart = largest_difference(value, side.tensors[rung][name])
        noise[rung][name] = max(noise[rung][name], apart)
    return noise


@dataclass(frozen=True, kw_only=True)
class Rounded:
    """An output in a half type: what a port is expected to compute, and how far rounding puts it from the truth.

    Args:
        expected: What the reference computes where it rounds as the port does.
        usual: The root mean square of what that rounding does to it.
    """

    expected: np.ndarray
    usual: float

    def apart(self, value: np.ndarray) -> tuple[float, float]:
        """Returns how far a value is from what is expected, over all its numbers, in units of what rounding does.

        The root mean square of the difference; and the part of it that is the expected value itself, times a number,
        in units of what independent roundings of so many numbers add up to: a scale, however small, shows there.
        """
        wide = self.expected.astype(np.float64)
        difference, size = value.astype(np.float64) - wide, float(np.sqrt(np.mean(np.square(wide))))
        if not self.usual or not size:
            return (0.0, 0.0) if not difference.any() else (np.inf, np.inf)
        along = float(np.mean(difference * wide)) / size
        return float(np.sqrt(np.mean(np.square(difference)))) / self.usual, abs(along) * wide.size**0.5 / self.usual


def measure_rounded(side: Probe, draw: Iterable[Reading], *, own: bool) -> dict[str, dict[str, Rounded]]:
    """Measures what rounding to a half type does to a side's outputs; to those of few numbers nothing is measured.

    Args:
        side: The reference's first steps.
        draw: The same steps, where only one of both rounds to the half type.
        own: Whether the reference itself does; else the draw does.

    Returns:
        rung -> output -> what is expected of the port.
    """
    found: dict[str, dict[str, Rounded]] = {}
    for rung, name, value, role in draw:
        if role is Role.OUTPUT and value.size >= LEAST:
            itself = side.tensors[rung][name]
            usual = float(np.sqrt(np.mean(np.square(np.subtract(itself, value, dtype=np.float64)))))
            found.setdefault(rung, {})[name] = Rounded(expected=itself if own else value, usual=usual)
    return found


def widen_noise(noise: Noise, other: Noise, *, share: float = 1.0, at_most: float = np.inf) -> Noise:
    """Returns a noise that is nowhere less than a share of another, nor widened more than so many times."""

    def widen(rung: str, name: str, value: float) -> float:
        return max(value, min(share * other[rung].get(name, 0.0), at_most * value))

    return {rung: {n: widen(rung, n, value) for n, value in tensors.items()} for rung, tensors in noise.items()}


def largest(value: np.ndarray) -> float:
    """Returns the largest absolute value of a tensor, 0 where it is empty, NaN where there is one."""
    return max(abs(float(value.max())), abs(float(value.min()))) if value.size else 0.0


def largest_difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Returns the largest absolute difference of two tensors, NaN where there is one."""
    mine, yours = np.broadcast_arrays(ours, theirs)
    mine, yours = mine.reshape(-1), yours.reshape(-1)
    blocks = range(0, mine.size, BLOCK)  # the memory of a block, not of the tensor
    with np.errstate(invalid="ignore"):  # the difference of two infinities
        apart = [np.abs(np.subtract(mine[i : i + BLOCK], yours[i : i + BLOCK], dtype=np.float64)).max() for i in blocks]
    return float(np.max(apart, initial=0.0))

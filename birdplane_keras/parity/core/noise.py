"""How large "only rounding" is, measured on the reference itself."""

from collections.abc import Iterable, Mapping

import numpy as np

from birdplane_keras.parity.core.compare import BLOCK
from birdplane_keras.parity.core.records import Probe, Reading

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
    noise = {
        rung: {
            name: before[rung][name] if before else max(tiny, share * float(np.abs(value).max(initial=0.0)))
            for name, value in tensors.items()
        }
        for rung, tensors in side.tensors.items()
    }
    for rung, name, value, _ in draws:
        apart = largest_difference(value, side.tensors[rung][name])
        noise[rung][name] = max(noise[rung][name], apart)
    return noise


def widen_noise(noise: Noise, other: Noise, *, share: float = 1.0, at_most: float = np.inf) -> Noise:
    """Returns a noise that is nowhere less than a share of another, nor widened more than so many times."""

    def widen(rung: str, name: str, value: float) -> float:
        return max(value, min(share * other[rung].get(name, 0.0), at_most * value))

    return {rung: {n: widen(rung, n, value) for n, value in tensors.items()} for rung, tensors in noise.items()}


def largest_difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Returns the largest absolute difference of two tensors, NaN where there is one."""
    mine, yours = np.broadcast_arrays(ours, theirs)
    mine, yours = mine.reshape(-1), yours.reshape(-1)
    blocks = range(0, mine.size, BLOCK)  # the memory of a block, not of the tensor
    with np.errstate(invalid="ignore"):  # the difference of two infinities
        apart = [np.abs(np.subtract(mine[i : i + BLOCK], yours[i : i + BLOCK], dtype=np.float64)).max() for i in blocks]
    return float(np.max(apart, initial=0.0))

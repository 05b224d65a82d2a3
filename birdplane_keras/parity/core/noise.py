"""How large "only rounding" is, measured on the reference itself."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from birdplane_keras.parity.core.compare import BLOCK
from birdplane_keras.parity.core.records import Probe, Reading, Tensors

Noise = Mapping[str, Mapping[str, float]]  # rung -> name of the tensor -> noise, in the tensor's unit


def nudge_one_ulp(weights: Tensors) -> tuple[dict[str, np.ndarray], str]:
    """Moves the weight of largest magnitude to the next float32 away from zero.

    Returns:
        a copy of the weights with that one change, and what was changed, in words.
    """
    name = max(weights, key=lambda key: float(np.abs(weights[key]).max()))
    nudged = {key: np.array(value) for key, value in weights.items()}
    index = np.unravel_index(int(np.abs(weights[name]).argmax()), weights[name].shape)
    before = weights[name][index]
    after = np.nextafter(before, np.copysign(np.float32(np.inf), before), dtype=np.float32)
    nudged[name][index] = after
    return nudged, f"{name}{[int(i) for i in index]} from {before!s} to {after!s}"


def nudge_all(weights: Tensors, seed: int) -> tuple[dict[str, np.ndarray], str]:
    """Moves every weight to a next float32, up or down at random.

    Returns:
        a copy of the weights with these changes, and what was changed, in words.
    """
    rng = np.random.default_rng(seed)
    nudged = {
        name: np.nextafter(value, np.where(rng.random(value.shape) < 0.5, -np.inf, np.inf), dtype=value.dtype)
        for name, value in weights.items()
    }
    return nudged, f"every weight by one ULP at random (draw {seed})"


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
    for rung, name, value in draws:
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


@dataclass(frozen=True, kw_only=True)
class NoiseEnvelope:
    """How far the reference drifts from copies of itself with weights moved by one ULP.

    Args:
        nudge: What was moved, in words.
        step_losses: (steps,) absolute differences of the loss of every step.
        epochs: The epochs after which the weights were compared, from 0.
        weights: For each of those epochs, name -> largest absolute difference in that tensor.
        image_differences: (N,) for each validation image, the largest absolute difference of its final logits.
        churn: Validation images that the two predict differently at the end.
        samples: (kept steps,) largest absolute difference of a few weights; empty where none were kept.
    """

    nudge: str
    step_losses: np.ndarray
    epochs: Sequence[int]
    weights: Sequence[Mapping[str, float]]
    image_differences: np.ndarray
    churn: int
    samples: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def widened(self, other: "NoiseEnvelope") -> "NoiseEnvelope":
        """Returns the envelope of the copies of both: nowhere less than either."""
        return NoiseEnvelope(
            nudge=f"{self.nudge}; {other.nudge}",
            step_losses=np.maximum(self.step_losses, other.step_losses),
            epochs=self.epochs,
            weights=[
                {name: max(mine[name], yours[name]) for name in mine}
                for mine, yours in zip(self.weights, other.weights, strict=True)
            ],
            image_differences=np.maximum(self.image_differences, other.image_differences),
            churn=max(self.churn, other.churn),
            samples=np.maximum(self.samples, other.samples),
        )

    def largest_weight_difference(self) -> dict[str, float]:
        """Returns name -> the largest difference met in that tensor after any epoch."""
        return {name: float(np.max([epoch[name] for epoch in self.weights])) for name in self.weights[-1]}


def largest_of_all(distances: Sequence[Mapping[str, float]]) -> list[float]:
    """Returns, for each epoch, the largest difference over all tensors."""
    return [float(np.max(list(epoch.values()))) for epoch in distances]

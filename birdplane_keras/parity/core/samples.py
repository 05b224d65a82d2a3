"""How far runs are apart after every step, seen on a few weights of every tensor: to keep all would take gigabytes."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from birdplane_keras.parity.core.records import Tensors

MOST_WEIGHTS = 4096
MOST_STEPS = 2000
MOST_POINTS = 400  # of a line over all steps

Places = tuple[np.ndarray, ...]  # of some of a tensor's values, an array for each axis
Read = Callable[[str, Places], np.ndarray]  # some values of a tensor, by the reference's name and layout


class WeightSamples:
    """The same places of every tensor, kept after a run's steps, so that other runs can be held against it.

    Args:
        weights: Name -> tensor; each has an equal share of the sample, or all of itself where it is smaller.
        steps: How many the run makes. Where there are more than 2,000, every n-th is kept, and the last.
    """

    def __init__(self, weights: Tensors, steps: int) -> None:
        random = np.random.default_rng(0)
        share = max(1, MOST_WEIGHTS // max(1, len(weights)))
        self.places: dict[str, Places] = {}
        for name, value in weights.items():
            chosen = np.sort(random.choice(value.size, min(value.size, share), replace=False))
            self.places[name] = np.unravel_index(chosen, value.shape) if value.ndim else ()
        self.every = max(1, -(-steps // MOST_STEPS))
        self.steps = sorted({*range(self.every - 1, steps, self.every), steps - 1})
        self._rows = {step: row for row, step in enumerate(self.steps)}
        self._kept = np.zeros((len(self.steps), self.count), np.float32)

    def __contains__(self, step: int) -> bool:
        """Whether the weights after a step, counted from 0, are kept."""
        return step in self._rows

    @property
    def count(self) -> int:
        """How many weights are in the sample."""
        return sum(len(places[0]) if places else 1 for places in self.places.values())

    def keep(self, step: int, read: Read) -> None:
        """Keeps the sample of the run after a step, if it is one of those that are kept."""
        if step in self:
            self._kept[self._rows[step]] = self._take(read)

    def distance(self, step: int, read: Read) -> float:
        """Returns another run's largest absolute difference from what was kept after a step; infinite for a NaN."""
        with np.errstate(invalid="ignore"):  # the difference of two infinities
            apart = float(np.abs(self._take(read) - self._kept[self._rows[step]]).max(initial=0.0))
        return apart if np.isfinite(apart) else float("inf")

    def describe(self, sides: Sequence[float], envelope: Sequence[float] | None) -> dict[str, Any]:
        """Returns the distances for a report, with few points.

        Args:
            sides: One for each kept step, between the sides.
            envelope: The same for the noise; `None` where it was not measured.
        """
        ends, distances, width = largest_per_bin(np.array(sides))
        return {
            "weights": self.count,
            "every": self.every,
            "steps": [self.steps[end - 1] + 1 for end in ends],
            "steps_per_point": self.every * width,
            "sides": distances,
            "envelope": None if envelope is None else largest_per_bin(np.array(envelope))[1],
        }

    def _take(self, read: Read) -> np.ndarray:
        return np.concatenate([np.zeros(0, np.float32), *(read(*item).reshape(-1) for item in self.places.items())])


def bins(count: int) -> list[tuple[int, int]]:
    """Returns the bounds of at most 400 stretches of equal width, the last of which may be shorter."""
    width = max(1, -(-count // MOST_POINTS))
    return list(itertools.pairwise([*range(0, count, width), count]))


def largest_per_bin(values: np.ndarray) -> tuple[list[int], list[float], int]:
    """Returns a long line with few points: the last place of each bin, counted from 1, its largest value, its width."""
    edges = bins(len(values))
    width = edges[0][1] - edges[0][0] if edges else 1
    return [high for _, high in edges], [float(values[low:high].max()) for low, high in edges], width

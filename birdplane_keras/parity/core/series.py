"""A training run in lockstep as long series of numbers, for the page and for whoever asks again."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from birdplane_keras.parity.core.samples import bins, largest_per_bin
from birdplane_keras.parity.core.tolerances import ENVELOPE
from birdplane_keras.parity.core.trajectory import NUDGE, Lockstep


def describe_trajectory(together: Lockstep) -> dict[str, Any]:
    """Returns the losses by step, and how far losses and weights were apart, with the noise of both if it was measured.

    Returns:
        `losses`: `steps`, and for each side the loss of these steps; of a long run the mean of a few steps each.
        `loss_distances` and `weight_distances.sampled`: `steps`, `steps_per_point`, `sides`, and the `envelope`, `None`
        where no bit differs. `weight_distances`: likewise of all weights, after the `steps` of the checkpoints.
    """
    made = together.made
    ours, theirs = (together.losses[side][:made].astype(np.float64) for side in ("keras", "torch"))
    measured = bool(together.copies)
    ends, sides, width = largest_per_bin(np.abs(ours - theirs))
    return {
        "losses": {"steps": ends, "torch": mean_per_bin(theirs), "keras": mean_per_bin(ours)},
        "loss_distances": {
            "steps": ends,
            "steps_per_point": width,
            "sides": sides,
            "envelope": largest_per_bin(together.loss_drift())[1] if measured else None,
        },
        "weight_distances": {
            "steps": [step + 1 for step in together.compared],
            "sides": largest_of_all(together.distances),
            "envelope": largest_of_all(together.drift) if measured else None,
            "factor": ENVELOPE.factor,
            "nudge": NUDGE if measured else None,
            "sampled": together.samples.describe(together.step_distances, together.step_drift if measured else None),
        },
    }


def mean_per_bin(values: np.ndarray) -> list[float]:
    """Returns a long line with few points, each the mean of its bin."""
    return [float(values[low:high].mean()) for low, high in bins(len(values))]


def largest_of_all(distances: Sequence[Mapping[str, float]]) -> list[float]:
    """Returns, for each checkpoint, the largest difference over all tensors."""
    return [float(np.max(list(point.values()))) for point in distances]

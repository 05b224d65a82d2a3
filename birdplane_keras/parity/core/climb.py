"""A pair on its way up the ladder: what was asked, and what has been measured so far."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from birdplane_keras.parity.core.bench import Bench
from birdplane_keras.parity.core.disk import sha256_of
from birdplane_keras.parity.core.noise import Noise, Rounded
from birdplane_keras.parity.core.records import Layers, Probe, Tensors

if TYPE_CHECKING:
    from birdplane_keras.parity.core.training import Training


PROBE_STEPS = 5  # enough for an optimizer's state, a schedule's first rates and moving statistics to show


@dataclass(kw_only=True)
class Climb:
    """What the rungs share. A rung leaves here what those above it, the diagnosis or the report need.

    Args:
        bench: Both sides.
        steps: How many training steps the trajectory has.
        port: The port's first steps, once they are made.
        reference: The reference's.
        noise: rung -> tensor -> noise, in the tensor's unit.
        rounded: rung -> output -> what rounding to a half type does to it; empty where the port has none.
        draws: Nudged copies of the reference that made the first steps so far.
        furthest: What they showed, where more of them were made than usual.
        layers: Of the forward pass, where it differs.
        start: Both sides' weights at the start, while they are compared.
        as_built: Both sides' weights before the transfer, while they are compared.
        training: The runs of the trajectory, once they are made.
        hashes: SHA-256 sums of both sides' data, and weights at the start and at the end.
        notes: What the judge could not do, or did beside the rungs, in words.
    """

    bench: Bench
    steps: int
    port: Probe | None = None
    reference: Probe | None = None
    noise: Noise = field(default_factory=dict)
    rounded: Mapping[str, Mapping[str, Rounded]] = field(default_factory=dict)
    draws: int = 0
    furthest: Noise = field(default_factory=dict)
    layers: Layers = field(default_factory=Layers)
    start: tuple[Tensors, Tensors] | None = None
    as_built: tuple[Tensors, Tensors] | None = None
    training: "Training | None" = None
    hashes: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @cached_property
    def plan(self) -> list[np.ndarray]:
        """The batches of the first steps, (B,) numbers of examples each; of a large model not more than asked for."""
        return self.bench.plan(min(PROBE_STEPS, max(self.steps, 1)) if self.bench.large else PROBE_STEPS)

    def first_steps(self) -> tuple[Probe, Probe]:
        """Returns both sides' first steps, the port's first.

        Raises:
            RuntimeError: A rung that needs them was taken before `forward`.
        """
        if self.port is None or self.reference is None:
            raise RuntimeError("expected the rung `forward` to have been taken")
        return self.port, self.reference

    def locate(self, step: int) -> tuple[int, int]:
        """Returns the epoch of a step, from 0, and the batch of that epoch; epochs may have unequal numbers of them."""
        batch = step
        for epoch, batches in enumerate(self.bench.batches(step + 1)[1]):
            if batch < len(batches):
                return epoch, batch
            batch -= len(batches)
        return 0, step

    def keep_hashes(self, what: str, keras: Tensors, torch: Tensors) -> None:
        """Notes the sums of both sides' tensors, in the order of the reference's names."""
        for side, tensors in (("keras", keras), ("torch", torch)):
            self.hashes[f"{side}_{what}"] = sha256_of(tensors.values())


def differing_names(ours: Mapping[str, object], theirs: Mapping[str, object]) -> Sequence[str]:
    """Returns the names of what is on one side only, or another value there."""
    return [n for n in dict.fromkeys([*theirs, *ours]) if n not in ours or n not in theirs or ours[n] != theirs[n]]

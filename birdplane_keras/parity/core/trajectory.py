"""Both sides and nudged copies of the reference, trained side by side over the same batches."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from birdplane_keras.parity.core.bench import Bench, Run, synchronise
from birdplane_keras.parity.core.compare import one_ulp
from birdplane_keras.parity.core.noise import largest_difference
from birdplane_keras.parity.core.records import Rows
from birdplane_keras.parity.core.samples import WeightSamples
from birdplane_keras.parity.core.shelf import Shelf
from birdplane_keras.parity.core.tolerances import ENVELOPE

COPIES = 2  # nudged copies that run beside the two sides
NUDGE = f"weights, inputs and settings by one ULP at random, at the start and after each step ({COPIES} copies)"
NO_FLOOR: Mapping[str, float] = {}


class Lockstep:
    """Trains both sides, and nudged copies of the reference, over the same batches, one step of each at a time.

    Args:
        bench: Both sides.
        plan: The numbers of each batch's examples.
        checkpoints: After which steps, from 0, all weights are compared.
        copies: How many nudged copies run beside them; without any, nothing is known of the noise.
        loss_noise: How far the reference's first loss is from itself, rounded otherwise.
        floor: Tensor -> the noise of its first few steps, below which no drift is taken to be.
        synchronised: Before and after which steps the port is given the reference's state.

    Attributes:
        made: How many steps were made so far.
        losses: Side -> (steps,) float32.
        compared: The checkpoints met so far.
        distances: For each of those, tensor -> largest difference between the sides; infinite where it is no number.
        drift: For each of those, tensor -> the larger of the copies' differences from the reference, and at least one
            ULP of the tensor's largest entry, and the floor.
        samples: Which few weights were compared after which steps.
        step_distances: For each of those steps so far, the largest difference between the sides.
        step_drift: Likewise, of a copy from the reference.
    """

    def __init__(
        self,
        bench: Bench,
        plan: Rows,
        *,
        checkpoints: Sequence[int],
        copies: int = COPIES,
        loss_noise: float = 0.0,
        floor: Mapping[str, float] = NO_FLOOR,
        synchronised: Sequence[int] = (),
    ) -> None:
        self.plan, self.checkpoints = plan, frozenset(checkpoints)
        self.loss_noise, self.floor, self.synchronised = loss_noise, floor, synchronised
        self.port, self.reference = bench.programs()
        self.copies: list[Run] = [bench.beside(100 + index) for index in range(copies)]
        self.samples = WeightSamples(Shelf.of(self.reference.names(), self.reference.read), len(plan))
        self.losses = {side: np.zeros(len(plan), np.float32) for side in ("keras", "torch")}
        self._copied_losses = np.zeros((copies, len(plan)), np.float32)
        self.made = 0
        self.compared: list[int] = []
        self.distances: list[dict[str, float]] = []
        self.drift: list[dict[str, float]] = []
        self.step_distances: list[float] = []
        self.step_drift: list[float] = []
        self._widest = loss_noise  # that the copies' losses showed so far
        self._allowed: dict[str, float] = {}  # to the weights, by what the copies showed so far

    def advance(self, broken: Callable[["Lockstep"], bool]) -> bool:
        """Makes steps until the run is `broken`, or until the plan ends; returns whether it broke."""
        while self.made < len(self.plan):
            self._step()
            if broken(self):
                return True
        return False

    def _step(self) -> None:
        step, rows = self.made, self.plan[self.made]
        meets = step in self.synchronised
        if meets:
            synchronise(self.port, self.reference)
        self.losses["keras"][step] = self.port.step(rows)
        self.losses["torch"][step] = self.reference.step(rows)
        for index, copy in enumerate(self.copies):
            self._copied_losses[index, step] = copy.step(rows)
        if meets:
            synchronise(self.port, self.reference)
        self.made += 1
        self._widest = float(np.maximum(self._widest, self.loss_drift(step, step + 1).max(initial=0.0)))
        if step in self.samples:
            self.samples.keep(step, self.reference.read_some)
            self.step_distances.append(self.samples.distance(step, self.port.read_some))
            apart = [self.samples.distance(step, copy.read_some) for copy in self.copies]
            self.step_drift.append(max(apart, default=0.0))
        if step in self.checkpoints:
            self._compare_weights(step)

    def _compare_weights(self, step: int) -> None:
        distances, drift = weight_distances(self.port, self.reference, self.copies, self.floor)
        self.compared.append(step)
        self.distances.append(distances)
        self.drift.append(drift)
        self.allow(drift)

    def allow(self, drift: Mapping[str, float]) -> None:
        """Allows the weights, from now on, what copies were seen to drift."""
        for name, value in drift.items():
            self._allowed[name] = float(np.maximum(self._allowed.get(name, 0.0), value))

    def loss_drift(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Returns, for each step made, the larger difference of a copy's loss from the reference's: float64."""
        made = slice(start, self.made if stop is None else stop)
        apart = np.abs(self._copied_losses[:, made].astype(np.float64) - self.losses["torch"][made])
        return apart.max(axis=0, initial=0.0)

    def differs(self) -> bool:
        """Whether anything that was looked at after the last step differs in value."""
        step = self.made - 1
        if self.losses["keras"][step].tobytes() != self.losses["torch"][step].tobytes():
            return True
        sampled = step in self.samples and self.step_distances[-1] != 0
        return sampled or (self.compared[-1:] == [step] and any(self.distances[-1].values()))

    def beyond(self) -> str | None:
        """Returns what is further apart after the last step than the copies came so far: `loss`, or a tensor."""
        step = self.made - 1
        apart = abs(float(self.losses["keras"][step]) - float(self.losses["torch"][step]))
        if not apart <= ENVELOPE.factor * self._widest:
            return "loss"
        if self.compared[-1:] != [step]:
            return None
        for name, distance in self.distances[-1].items():
            if not distance <= ENVELOPE.factor * self._allowed[name]:
                return name
        return None

    @property
    def runs(self) -> list[Run]:
        """All runs: the port, the reference, its copies."""
        return [self.port, self.reference, *self.copies]

    def close(self) -> None:
        """Ends all runs."""
        for run in self.runs:
            run.close()


def weight_distances(
    port: Run, reference: Run, copies: Sequence[Run], floor: Mapping[str, float]
) -> tuple[dict[str, float], dict[str, float]]:
    """Returns, tensor by tensor, how far the sides are apart, and how far the copies are from the reference."""
    distances, drift = {}, {}
    for name in reference.names():
        theirs = reference.read(name)
        distance = largest_difference(port.read(name), theirs)
        distances[name] = distance if np.isfinite(distance) else np.inf
        apart = [largest_difference(copy.read(name), theirs) for copy in copies]
        drift[name] = float(np.max([*apart, one_ulp(theirs), floor.get(name, 0.0)]))
    return distances, drift

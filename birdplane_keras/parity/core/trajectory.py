"""Both sides and nudged copies of the reference, trained side by side over the same batches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from birdplane_keras.parity.core import rungs as ladder
from birdplane_keras.parity.core.bench import Bench, Rows, Run
from birdplane_keras.parity.core.compare import Check, one_ulp
from birdplane_keras.parity.core.noise import NoiseEnvelope, largest_difference, largest_of_all
from birdplane_keras.parity.core.samples import WeightSamples
from birdplane_keras.parity.core.tolerances import TOLERANCES

COPIES = 2  # nudged copies that run beside the two sides
NUDGE = f"weights, inputs and settings by one ULP at random, at the start and after each step ({COPIES} copies)"
DRAWS = 6  # nudged copies that make one step from the same state
NO_FLOOR: Mapping[str, float] = {}


@dataclass(kw_only=True)
class Lockstep:
    """What runs driven side by side left.

    Args:
        runs: The runs, trained: `keras`, `torch`, and the copies of `torch`.
        losses: Run -> (steps,) float32.
        checkpoints: The steps after which all weights were compared.
        distances: For each of those, tensor -> largest difference between the sides.
        drift: For each of those, tensor -> the larger of the copies' differences from the reference, and at least one
            ULP of the tensor's largest entry, and the noise of the first few steps.
        samples: Which few weights were compared after which steps.
        step_distances: For each of those steps, the largest difference between the sides.
        step_drift: Likewise, of a copy from the reference.
    """

    runs: Mapping[str, Run]
    losses: dict[str, np.ndarray]
    checkpoints: list[int]
    distances: list[dict[str, float]]
    drift: list[dict[str, float]]
    samples: WeightSamples
    step_distances: list[float] = field(default_factory=list)
    step_drift: list[float] = field(default_factory=list)

    def loss_drift(self) -> np.ndarray:
        """Returns, for each step, the larger difference of a copy's loss from the reference's."""
        copies = [losses for name, losses in self.losses.items() if name.startswith("copy")]
        return np.max([np.abs(copy.astype(np.float64) - self.losses["torch"]) for copy in copies], axis=0)

    def describe(self) -> dict[str, Any]:
        """Returns the losses by step, and how far losses and weights were apart, with the noise of both."""
        ours, theirs = (self.losses[side].astype(np.float64) for side in ("keras", "torch"))
        return {
            "losses": {"torch": theirs.tolist(), "keras": ours.tolist()},
            "loss_distances": {
                "steps": list(range(1, len(ours) + 1)),
                "steps_per_point": 1,
                "sides": np.abs(ours - theirs).tolist(),
                "envelope": self.loss_drift().tolist(),
            },
            "weight_distances": {
                "steps": [step + 1 for step in self.checkpoints],
                "sides": largest_of_all(self.distances),
                "envelope": largest_of_all(self.drift),
                "factor": TOLERANCES["final_weights"].factor,
                "nudge": NUDGE,
                "sampled": self.samples.describe(self.step_distances, self.step_drift),
            },
        }

    def first_beyond(self, checkpoint: int) -> str | None:
        """Returns the first tensor that is further away than the copies came up to a checkpoint, by its index."""
        factor = TOLERANCES["final_weights"].factor
        for name, measured in self.distances[checkpoint].items():
            if not measured <= factor * max(drift[name] for drift in self.drift[: checkpoint + 1]):
                return name
        return None


def train_in_lockstep(
    bench: Bench,
    plan: Rows,
    checkpoints: Sequence[int],
    synchronised: Sequence[int] = (),
    floor: Mapping[str, float] = NO_FLOOR,
) -> Lockstep:
    """Trains the port, the reference and its nudged copies over the same batches, from the start.

    Args:
        bench: Both sides.
        plan: The row numbers of each batch.
        checkpoints: After which steps, from 0, all weights are compared.
        synchronised: Before and after which steps the port is given the reference's state.
        floor: Tensor -> the noise of its first few steps, below which no drift is taken to be.
    """
    runs: dict[str, Run] = {"keras": bench.port(), "torch": bench.reference()}
    runs |= {f"copy {index}": bench.reference(nudge=100 + index) for index in range(COPIES)}
    reference = runs["torch"]
    samples = WeightSamples({name: reference.read(name) for name in reference.names()}, len(plan))
    together = Lockstep(
        runs=runs,
        samples=samples,
        losses={name: np.zeros(len(plan), np.float32) for name in runs},
        checkpoints=sorted(checkpoints),
        distances=[],
        drift=[],
    )
    for step, rows in enumerate(plan):
        if step in synchronised:
            bench.synchronise(runs["keras"], runs["torch"])
        for name, run in runs.items():
            together.losses[name][step] = bench.to_loss(run.step(rows))
        if step in synchronised:
            bench.synchronise(runs["keras"], runs["torch"])
        if step in samples:
            samples.keep(step, reference.read_some)
            apart = {name: samples.distance(step, run.read_some) for name, run in runs.items()}
            together.step_distances.append(apart.pop("keras"))
            together.step_drift.append(max(apart.values()))
        if step in checkpoints:
            distances, drift = weight_distances(runs, floor)
            together.distances.append(distances)
            together.drift.append(drift)
    return together


def makes_the_same_step(
    bench: Bench,
    plan: Rows,
    step: int,
    synchronised: Sequence[int],
    loss_noise: float,
    floor: Mapping[str, float] = NO_FLOOR,
) -> bool:
    """Whether both sides make the same step, to within rounding, once they stand in the same state.

    A difference of rounding can be amplified within a single step, where an activation is on one side of a kink here
    and on the other there. It is gone when both start from the same state, or, if that very state is at the kink, from
    a state near by; a difference of the programs is not.

    Args:
        bench: Both sides.
        plan: The row numbers of each batch.
        step: The one in question.
        synchronised: Before and after which earlier steps the port was given the reference's state.
        loss_noise: How far the reference's first loss is from itself, rounded otherwise.
        floor: Tensor -> the noise of its first few steps.
    """
    return any(steps_agree(bench, plan, step, synchronised, loss_noise, floor, moved) for moved in (None, 0, 1))


def steps_agree(
    bench: Bench,
    plan: Rows,
    step: int,
    synchronised: Sequence[int],
    loss_noise: float,
    floor: Mapping[str, float],
    moved: int | None,
) -> bool:
    """Whether both sides make the same step from one state: the reference's at that step, or one moved by a seed."""
    port, reference = bench.port(), bench.reference()
    for earlier, rows in enumerate(plan[:step]):
        if earlier in synchronised:
            bench.synchronise(port, reference)
        port.step(rows)
        reference.step(rows)
        if earlier in synchronised:
            bench.synchronise(port, reference)
    if not bench.synchronise(port, reference, moved=moved):
        return False
    runs: dict[str, Run] = {"keras": port, "torch": reference}
    runs |= {f"copy {index}": bench.fork(reference, nudge=200 + index) for index in range(DRAWS)}
    losses = {name: bench.to_loss(run.step(plan[step])) for name, run in runs.items()}
    spread = max([loss_noise, *(abs(losses[name] - losses["torch"]) for name in runs if name.startswith("copy"))])
    factor = TOLERANCES["first_update"].factor
    if not abs(losses["keras"] - losses["torch"]) <= factor * spread:
        return False
    distances, drift = weight_distances(runs, floor)
    return all(distances[name] <= factor * drift[name] for name in distances)


def weight_distances(runs: Mapping[str, Run], floor: Mapping[str, float]) -> tuple[dict[str, float], dict[str, float]]:
    """Returns, tensor by tensor, how far the sides are apart, and how far the copies are from the reference."""
    distances, drift = {}, {}
    for tensor in runs["torch"].names():
        theirs = runs["torch"].read(tensor)
        distance = largest_difference(runs["keras"].read(tensor), theirs)
        distances[tensor] = distance if np.isfinite(distance) else np.inf
        copies = [largest_difference(runs[name].read(tensor), theirs) for name in runs if name.startswith("copy")]
        drift[tensor] = max(*copies, one_ulp(theirs), floor.get(tensor, 0.0))
    return distances, drift


def build_envelope(together: Lockstep, predictions: Mapping[str, Mapping[str, np.ndarray]]) -> NoiseEnvelope:
    """Returns the noise of a run: how far its nudged copies came.

    Args:
        together: The runs.
        predictions: Run -> name of the output -> its value on the validation inputs at the end.
    """
    theirs = predictions["torch"]
    copies = [outputs for name, outputs in predictions.items() if name.startswith("copy")]
    apart = [row_differences(copy[name], value) for copy in copies for name, value in theirs.items()]
    return NoiseEnvelope(
        nudge=NUDGE,
        step_losses=together.loss_drift(),
        epochs=range(len(together.checkpoints)),
        weights=together.drift,
        image_differences=np.max(apart, axis=0),
        churn=max(count_churn(copy, theirs) for copy in copies),
    )


def find_exact_break(
    bench: Bench,
    plan: Rows,
    check: Check,
    *,
    agreed: int,
    last: int,
    loss_noise: float,
    synchronised: Sequence[int] = (),
    checkpoints: Sequence[int] = (),
    floor: Mapping[str, float] = NO_FLOOR,
) -> tuple[Check, Lockstep]:
    """Goes back to the last checkpoint at which both sides agreed, and finds the step and the tensor that broke.

    Every run is deterministic, so the steps up to that checkpoint are made again, and those after it one by one.

    Args:
        bench: Both sides.
        plan: The row numbers of each batch of the run.
        check: The check of the trajectory's losses.
        agreed: The step of that checkpoint; -1 for the start.
        last: The step at which they were first seen to disagree.
        loss_noise: How far the reference's first loss is from itself, rounded otherwise.
        synchronised: Before and after which steps the port was given the reference's state.
        checkpoints: At which the weights were compared before; what the copies had drifted by then is allowed after.
        floor: Tensor -> the noise of its first few steps.

    Returns:
        the failed check with the place, or the check as it was where every step is within what the copies did; and
        the runs that were made for it.
    """
    kept = [step for step in checkpoints if step <= agreed]
    again = train_in_lockstep(bench, plan[: last + 1], [*kept, *range(agreed + 1, last + 1)], synchronised, floor)
    allowed = TOLERANCES["trajectory"].factor * np.maximum(np.maximum.accumulate(again.loss_drift()), loss_noise)
    apart = ~(np.abs(again.losses["keras"].astype(np.float64) - again.losses["torch"]) <= allowed)
    where: dict[str, Any] | None = None
    for index, step in enumerate(again.checkpoints):
        if step <= agreed:
            continue
        tensor = "loss" if apart[step] else again.first_beyond(index)
        if tensor is not None:
            where = {"tensor": tensor, "step": step}
            break
    if where is None:
        return check, again
    told = f"all agreed after step {agreed}" if agreed >= 0 else "from the start"
    reason = f"{where['tensor']} is beyond at step {where['step']} ({told}): {ladder.describe('trajectory')}"
    return replace(check, passed=False, where={**(check.where or {}), **where}, reason=reason), again


def count_churn(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> int:
    """Counts the examples whose largest score is another class's; 0 where the output is not scores (N, C), C > 1."""
    return sum(
        ladder.churn(ours[name], tensor) for name, tensor in theirs.items() if tensor.ndim == 2 and tensor.shape[1] > 1
    )


def row_differences(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Returns, for each example, the largest difference of its outputs: (N,) float64."""
    difference = np.abs(np.subtract(ours, theirs, dtype=np.float64))
    return difference.reshape(len(difference), -1).max(axis=1)

"""Where a trajectory broke, to the step and the tensor, and whether it was rounding that had been amplified."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from birdplane_keras.parity.core.bench import Bench, Run, synchronise
from birdplane_keras.parity.core.records import Rows
from birdplane_keras.parity.core.tolerances import ROUNDING
from birdplane_keras.parity.core.trajectory import Lockstep, weight_distances

DRAWS = 6  # nudged copies that make one step from the same state
NEAR_BY = (None, 0, 1)  # the very state, and two that are near by, from which both sides may make the same step
STEPS_PER_KINK = 100  # one amplified difference of rounding in so many steps is put down to chance


@dataclass(frozen=True, kw_only=True)
class Break:
    """The first step at which something was beyond what the copies did, what it was, and the last that was looked at.

    `agreed` is the last step before it after which all weights were compared and agreed; -1 for the start.
    """

    step: int
    tensor: str
    agreed: int


def train_to_break(bench: Bench, together: Lockstep) -> Break | None:
    """Trains until something is beyond what the copies did; returns what was, `None` where nothing is to the end."""
    while together.advance(lambda run: run.beyond() is not None):
        found = find_break(bench, together)
        if isinstance(found, Break):
            return found
        # Between two checkpoints the copies had drifted further than at either: that counts as well.
        for drift in found.drift:
            together.allow(drift)
        together.drift[-1] = {name: max(point[name] for point in found.drift) for name in together.drift[-1]}
    return None


def find_break(bench: Bench, together: Lockstep) -> Break | Lockstep:
    """Goes back to the last checkpoint at which both sides agreed, and finds the step and the tensor that broke.

    Every run is deterministic, so the steps up to that checkpoint are made again, and those after it looked at one by
    one.

    Returns:
        the break; or the runs that were made for it, where every step is within what the copies did.
    """
    last = together.made - 1
    agreed = max((step for step in together.compared if step < last), default=-1)
    kept = [step for step in together.compared if step <= agreed]
    again = Lockstep(
        bench,
        together.plan[: last + 1],
        checkpoints=[*kept, *range(agreed + 1, last + 1)],
        copies=len(together.copies),
        loss_noise=together.loss_noise,
        floor=together.floor,
        synchronised=together.synchronised,
    )
    try:
        if again.advance(lambda run: run.made > agreed + 1 and run.beyond() is not None):
            return Break(step=again.made - 1, tensor=again.beyond() or "loss", agreed=agreed)
    finally:
        again.close()
    if together.beyond() == "loss":
        return Break(step=last, tensor="loss", agreed=agreed)
    return again


def makes_the_same_step(
    bench: Bench,
    plan: Rows,
    step: int,
    *,
    loss_noise: float,
    floor: Mapping[str, float],
    synchronised: Sequence[int] = (),
) -> bool:
    """Whether both sides make the same step, to within rounding, once they stand in the same state.

    A difference of rounding can be amplified within a single step, where an activation is on one side of a kink here
    and on the other there. It is gone when both start from the same state, or, if that very state is at the kink, from
    a state near by; a difference of the programs is not.

    Args:
        bench: Both sides.
        plan: The numbers of each batch's examples.
        step: The one in question.
        loss_noise: How far the reference's first loss is from itself, rounded otherwise.
        floor: Tensor -> the noise of its first few steps.
        synchronised: Before and after which earlier steps the port was given the reference's state.
    """
    return any(steps_agree(bench, plan, step, synchronised, loss_noise, floor, moved) for moved in NEAR_BY)


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
            synchronise(port, reference)
        port.step(rows)
        reference.step(rows)
        if earlier in synchronised:
            synchronise(port, reference)
    if moved is not None:
        reference.move(moved)
    if not synchronise(port, reference):
        return False
    copies: list[Run] = [reference.fork(200 + index) for index in range(DRAWS)]
    ours, theirs, *others = (float(run.step(plan[step])) for run in (port, reference, *copies))
    spread = max([loss_noise, *(abs(other - theirs) for other in others)])
    if not abs(ours - theirs) <= ROUNDING.factor * spread:
        return False
    distances, drift = weight_distances(port, reference, copies, floor)
    return all(distances[name] <= ROUNDING.factor * drift[name] for name in distances)

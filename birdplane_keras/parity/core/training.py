"""The rungs of a whole training run: `trajectory` to `accuracy`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from birdplane_keras.parity.core.breaks import STEPS_PER_KINK, Break, makes_the_same_step, train_to_break
from birdplane_keras.parity.core.check import Check, Place, State, left_out
from birdplane_keras.parity.core.climb import Climb
from birdplane_keras.parity.core.compare import (
    TensorDifference,
    check_from_differences,
    compare_tensor,
    compare_tensors,
    one_ulp,
)
from birdplane_keras.parity.core.envelope import (
    Envelope,
    churn,
    is_scores,
    measure_outputs,
    row_differences,
    total_churn,
)
from birdplane_keras.parity.core.first_steps import floor_of
from birdplane_keras.parity.core.records import Scores, Tensors
from birdplane_keras.parity.core.shelf import Shelf
from birdplane_keras.parity.core.tolerances import EITHER_WAY, ENVELOPE, UNMEASURED
from birdplane_keras.parity.core.trajectory import Lockstep


@dataclass(frozen=True, kw_only=True)
class Training:
    """The runs of the trajectory, as they stand at its end or where it broke.

    Args:
        together: Both sides, and the copies if any bit differs.
        broken: Where it broke, `None` where it did not.
        weights: Both sides' weights then, the port's first.
        predictions: Likewise, what they predict.
        envelope: The measured noise; `None` where no bit differs, or the trajectory broke.
        synchronised: The steps before and after which the port was given the reference's state.
    """

    together: Lockstep
    broken: Break | None = None
    weights: tuple[Tensors, Tensors]
    predictions: tuple[Tensors, Tensors]
    envelope: Envelope | None = None
    synchronised: list[int] = field(default_factory=list)

    @property
    def churn(self) -> int:
        """Validation examples that the sides name differently."""
        return total_churn(*self.predictions)


def trajectory(climb: Climb) -> Check:
    """`trajectory`: the loss of every step, and all weights at the checkpoints; the exact step where one broke."""
    climb.training = training = train_alone(climb) or train_with_copies(climb)
    climb.keep_hashes("final_weights", *training.weights)
    losses = training.together.losses
    made = training.together.made
    check = compare_losses(losses["keras"][:made], losses["torch"][:made], training)
    if training.broken is not None:
        return place_break(climb, check, training.broken)
    if training.synchronised:
        told = (
            f"rounding had grown by steps {training.synchronised}; from one state, given to both, they make the same "
            "steps"
        )
        climb.notes.append(told)
        return replace(check, reason=f"{check.reason}; {told}")
    return check


def final_weights(climb: Climb) -> Check:
    """`final_weights`: every tensor, against the largest difference of the copies in that tensor."""
    training = taken(climb)
    return compare_final_weights(*training.weights, training.envelope)


def predictions(climb: Climb) -> Check:
    """`predictions`: every output on the validation inputs at the end, against what the copies predict."""
    training = taken(climb)
    return compare_predictions(*training.predictions, training.envelope)


def accuracy(climb: Climb) -> Check:
    """`accuracy`: the examples named correctly, as each framework's own metric reported them after the last epoch."""
    training = taken(climb)
    scores = climb.bench.accuracies(training.together.port, training.together.reference)
    if scores is None:
        return left_out("accuracy", "not_reported", "the pair is made of models, which report no accuracy")
    return compare_accuracies(*scores, training.churn)


def taken(climb: Climb) -> Training:
    """Returns the runs of the trajectory.

    Raises:
        RuntimeError: A rung that needs them was taken before `trajectory`.
    """
    if climb.training is None:
        raise RuntimeError("expected the rung `trajectory` to have been taken")
    return climb.training


def train_alone(climb: Climb) -> Training | None:
    """Trains both sides without copies: enough where no bit differs. `None` as soon as one does."""
    bench = climb.bench
    plan = bench.plan(climb.steps)
    together = Lockstep(bench, plan, checkpoints=bench.checkpoints(climb.steps), copies=0)
    if not together.advance(Lockstep.differs):
        training = state_of(together)
        pairs = (training.weights, training.predictions)
        if all(compare_tensors("all", *both, reason="").bits_differing == 0 for both in pairs):
            return training
    together.close()
    return None


def train_with_copies(climb: Climb) -> Training:
    """Trains both sides and nudged copies of the reference, to the end or until the trajectory breaks.

    Where both sides make the same step from one state, at which it broke, rounding had been amplified: the port is
    given the reference's state there, and the run goes on.
    """
    bench, plan = climb.bench, climb.bench.plan(climb.steps)
    noise: dict[str, Any] = {"loss_noise": climb.noise["loss"]["loss"], "floor": floor_of(climb.noise)}
    synchronised: list[int] = []
    while True:
        together = Lockstep(bench, plan, checkpoints=bench.checkpoints(climb.steps), synchronised=synchronised, **noise)
        broken = train_to_break(bench, together)
        if broken is None or len(synchronised) > climb.steps // STEPS_PER_KINK:
            break
        if not makes_the_same_step(bench, plan, broken.step, synchronised=synchronised, **noise):
            break
        together.close()
        synchronised = [*synchronised, broken.step]
    return state_of(together, broken=broken, synchronised=synchronised)


def state_of(together: Lockstep, **known: Any) -> Training:
    """Returns the runs with their weights and what they predict; those that have not ended are closed."""
    ours, theirs, *others = (run.predict() for run in together.runs)
    ours_at_the_end, theirs_at_the_end = (
        Shelf((name, run.read(name)) for name in run.names()) for run in (together.port, together.reference)
    )
    broken = known.get("broken")
    envelope = None
    if others and broken is None:
        outputs, largest, flipped = measure_outputs(others, theirs)
        allowed = {name: max(point[name] for point in together.drift) for name in together.drift[-1]}
        envelope = Envelope(weights=allowed, outputs=outputs, largest=largest, churn=flipped)
    together.close()
    return Training(
        together=together,
        weights=(ours_at_the_end, theirs_at_the_end),
        predictions=(ours, theirs),
        envelope=envelope,
        **known,
    )


def compare_losses(keras: np.ndarray, torch: np.ndarray, training: Training) -> Check:
    """Compares the losses of the steps that were made.

    A step may differ by a multiple of the largest difference that the copies met up to that step. Before their first
    difference the rounding of the first loss counts in its place. Without copies every bit counts.
    """
    whole = compare_tensor("step_losses", keras, torch)
    if whole.problem is not None or not training.together.copies:
        check = check_from_differences("trajectory", [whole], str(UNMEASURED))
        step = None if whole.index is None else whole.index[0]
        return check if check.place is None else replace(check, place=Place(tensor="loss", step=step))
    noise = np.maximum(np.maximum.accumulate(training.together.loss_drift()), training.together.loss_noise)
    allowed = ENVELOPE.factor * noise
    difference = np.abs(keras.astype(np.float64) - torch)
    beyond = np.flatnonzero(~(difference <= allowed))  # so that a NaN in what was measured allows nothing
    step = int(beyond[0]) if len(beyond) else int((difference / allowed).argmax())
    return Check(
        name="trajectory",
        state=State.FAILED if len(beyond) else State.PASSED,
        code="beyond" if len(beyond) else "",
        max_abs_difference=float(difference[step]),
        bits_differing=whole.bits_differing,
        tolerance=float(allowed[step]),
        times_noise=float((difference / noise).max()),
        reason=f"step {step} is beyond: {ENVELOPE}" if len(beyond) else str(ENVELOPE),
        place=Place(tensor="loss", step=step) if len(beyond) else None,
    )


def place_break(climb: Climb, check: Check, broken: Break) -> Check:
    """Returns the failed check of a trajectory with its exact place."""
    epoch, batch = climb.locate(broken.step)
    place = Place(tensor=broken.tensor, step=broken.step, epoch=epoch, batch=batch)
    told = f"all agreed after step {broken.agreed}" if broken.agreed >= 0 else "from the start"
    reason = f"{broken.tensor} is beyond at step {broken.step} ({told}): {ENVELOPE}"
    return replace(check, state=State.FAILED, code=check.code or "beyond", place=place, reason=reason)


def compare_final_weights(keras: Tensors, torch: Tensors, envelope: Envelope | None) -> Check:
    """Compares the weights at the end. Where the copies met less, one ULP of a tensor's largest entry counts."""
    if envelope is None:
        return compare_tensors("final_weights", keras, torch, reason=str(UNMEASURED))
    noise = {name: float(np.maximum(envelope.weights[name], one_ulp(torch[name]))) for name in torch}
    allowed = {name: ENVELOPE.factor * value for name, value in noise.items()}
    return compare_tensors("final_weights", keras, torch, tolerances=allowed, noise=noise, reason=str(ENVELOPE))


def compare_predictions(keras: Tensors, torch: Tensors, envelope: Envelope | None) -> Check:
    """Compares the outputs for all validation examples.

    Of each output the example that differs most, and the middle one of all; of scores the churn, too: each is held
    against the copies'.
    """
    if envelope is None:
        return compare_tensors("predictions", keras, torch, reason=str(UNMEASURED))
    differences = []
    for name, theirs in torch.items():
        ours, ulp = keras.get(name), one_ulp(theirs)
        if ours is None:
            differences.append(TensorDifference(name=name, code="missing", problem="missing in Keras"))
            continue
        noise = float(np.maximum(envelope.largest[name], ulp))
        differences.append(compare_tensor(name, ours, theirs, ENVELOPE.factor * noise, noise))
        if differences[-1].problem is not None:
            continue
        middle = float(np.median(row_differences(ours, theirs)))
        usual = float(np.maximum(np.median(envelope.outputs[name]), ulp))
        differences.append(held_against(f"{name}, the middle example", middle, usual))
        if is_scores(theirs):
            flipped = float(np.maximum(envelope.churn[name], 1))
            differences.append(held_against(f"{name}, the churn", churn(ours, theirs), flipped))
    return check_from_differences("predictions", differences, str(ENVELOPE))


def held_against(name: str, value: float, noise: float) -> TensorDifference:
    """Returns a number of the sides against that of the copies."""
    return TensorDifference(
        name=name, max_abs_difference=float(value), bits_differing=0, tolerance=ENVELOPE.factor * noise
    )


def compare_accuracies(keras: Scores, torch: Scores, churned: int) -> Check:
    """Compares the examples named correctly.

    Each side's count must be the recount from its own scores, over all examples. Examples that flip by rounding flip
    either way, so between the sides a multiple of the square root of the churn is allowed.
    """
    sides: Mapping[str, Scores] = {"Keras": keras, "PyTorch": torch}
    own = {f"{s}'s metric against the recount": (v.reported, v.recounted) for s, v in sides.items()}
    differences = [compare_tensor(name, np.array(a), np.array(b)) for name, (a, b) in own.items()]
    allowed = EITHER_WAY.factor * churned**0.5
    between = np.array(keras.reported), np.array(torch.reported)
    differences.append(compare_tensor("Keras against PyTorch", *between, allowed))
    return replace(check_from_differences("accuracy", differences, str(EITHER_WAY)), unit="images")

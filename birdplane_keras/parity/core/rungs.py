"""The rungs, cheapest first: each compares one thing that the two sides did. NumPy only.

`climb` in `checks` takes them in order; this module knows what each of them compares.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any

import numpy as np

from birdplane_keras.parity.core.compare import (
    Check,
    TensorDifference,
    check_from_differences,
    compare_tensor,
    compare_tensors,
    one_ulp,
)
from birdplane_keras.parity.core.noise import NoiseEnvelope
from birdplane_keras.parity.core.records import Tensors, TrainingRun
from birdplane_keras.parity.core.tolerances import PAIR_RUNGS, TOLERANCES

NO_ENVELOPE = "no noise was measured, so every bit counts"


def compare_recipes(keras: Mapping[str, object], torch: Mapping[str, object]) -> Check:
    """`recipe`: the hyperparameters, field by field, as the two programs state them."""
    fields = list(dict.fromkeys([*torch, *keras]))
    differing = [field for field in fields if keras.get(field, "absent") != torch.get(field, "absent")]
    if not fields or differing:
        told = [f"{f}: {keras.get(f, 'absent')} in Keras, {torch.get(f, 'absent')} in PyTorch" for f in differing]
        return Check(
            name="recipe",
            passed=False,
            reason="; ".join(told) or "nothing was compared",
            where={"field": differing[0]} if differing else None,
        )
    return exact_check("recipe", f"{len(fields)} fields agree")


def compare_batch_order(keras: Iterable[Sequence[np.ndarray]], torch: Iterable[Sequence[np.ndarray]]) -> Check:
    """`batch_order`: the images of every batch of every epoch, and so the number of batches and their sizes."""
    batches = 0
    for epoch, (ours, theirs) in enumerate(zip_longest(keras, torch)):
        if ours is None or theirs is None:
            side = "Keras" if ours is None else "PyTorch"
            return broken_order(f"{side} has no epoch {epoch}", epoch, 0)
        for step, (mine, yours) in enumerate(zip_longest(ours, theirs)):
            if mine is None or yours is None:
                counts = f"{len(ours)} batches in Keras, {len(theirs)} in PyTorch"
                return broken_order(f"epoch {epoch} has {counts}", epoch, step)
            if len(mine) != len(yours):
                sizes = f"{len(mine)} images in Keras, {len(yours)} in PyTorch"
                return broken_order(f"batch {step} of epoch {epoch} has {sizes}", epoch, step)
            if not np.array_equal(mine, yours):
                return broken_order(f"batch {step} of epoch {epoch} holds other images or another order", epoch, step)
            batches += 1
    if batches == 0:
        return Check(name="batch_order", passed=False, reason="nothing was compared")
    return exact_check("batch_order", f"{batches} batches hold the same images in the same order")


def broken_order(reason: str, epoch: int, step: int) -> Check:
    """Returns the failed check of the batch order."""
    return Check(name="batch_order", passed=False, reason=reason, where={"epoch": epoch, "step": step})


def exact_check(name: str, reason: str) -> Check:
    """Returns the passed check of things that are not tensors."""
    return Check(name=name, passed=True, max_abs_difference=0.0, bits_differing=0, tolerance=0.0, reason=reason)


def compare_exactly(rung: str, keras: Tensors, torch: Tensors) -> Check:
    """`data`, `initial_weights`: tensors in which every bit counts."""
    return compare_tensors(rung, keras, torch, reason=TOLERANCES[rung].reason)


def compare_within(rung: str, keras: Tensors, torch: Tensors, noise: Mapping[str, float]) -> Check:
    """`forward` to `evaluation`: tensors of the first steps, which may differ by the measured rounding."""
    factor = TOLERANCES[rung].factor
    allowed = {name: factor * value for name, value in noise.items()}
    return compare_tensors(rung, keras, torch, tolerances=allowed, noise=noise, reason=describe(rung))


def describe(rung: str) -> str:
    """Returns a rung's tolerance and its reason in words."""
    tolerance = TOLERANCES[rung]
    return f"{tolerance.factor:g} x {tolerance.noise}: {tolerance.reason}"


def compare_trajectories(
    keras: np.ndarray,
    torch: np.ndarray,
    *,
    steps_per_epoch: int,
    drift: np.ndarray | None,
    first_loss_noise: float,
    envelope: NoiseEnvelope | None = None,
    distances: Sequence[Mapping[str, float]] = (),
) -> Check:
    """`trajectory`: the loss of every step.

    A step may differ by a multiple of the largest difference that the envelope met up to that step. Before the first
    difference of the envelope the rounding of the first loss counts in its place.

    Args:
        keras: (steps,) float32.
        torch: (steps,) float32.
        steps_per_epoch: To name the epoch of a step.
        drift: (steps,) how far copies of the reference came from its losses; `None` where every bit agrees.
        first_loss_noise: How far the reference's first loss is from its float64 answer.
        envelope: What the weights were allowed, where `distances` is given.
        distances: For each epoch of the envelope, tensor -> largest difference between the sides' weights. They tell
            which weight was out of bounds first, at the end of the epoch in which the loss broke.
    """
    whole = compare_tensor("step_losses", keras, torch)
    if whole.problem is not None:
        where = None if whole.index is None else locate(whole.index[0], steps_per_epoch)
        return Check(name="trajectory", passed=False, reason=f"the losses of the steps: {whole.problem}", where=where)
    if drift is None:
        return check_from_differences("trajectory", [whole], NO_ENVELOPE)
    noise = np.maximum(np.maximum.accumulate(drift), first_loss_noise)
    allowed = TOLERANCES["trajectory"].factor * noise
    difference = np.abs(keras.astype(np.float64) - torch)
    beyond = np.flatnonzero(~(difference <= allowed))  # so that a NaN in what was measured allows nothing
    step = int(beyond[0]) if len(beyond) else int((difference / allowed).argmax())
    reason = describe("trajectory")
    where = None
    if len(beyond):
        where = locate(step, steps_per_epoch)
        if envelope is not None:
            where["tensor"] = first_weight_beyond(distances, envelope, int(where["epoch"])) or "loss"
    return Check(
        name="trajectory",
        passed=not len(beyond),
        max_abs_difference=float(difference[step]),
        bits_differing=whole.bits_differing,
        tolerance=float(allowed[step]),
        times_noise=float((difference / noise).max()),
        reason=f"step {step} is beyond: {reason}" if len(beyond) else reason,
        where=where,
    )


def first_weight_beyond(distances: Sequence[Mapping[str, float]], envelope: NoiseEnvelope, epoch: int) -> str | None:
    """Returns the first tensor, in the order of the layers, that had left the envelope by the end of an epoch."""
    for index, (measured, kept) in enumerate(zip(distances, envelope.epochs, strict=False)):
        if kept >= epoch:
            factor = TOLERANCES["final_weights"].factor
            drift = {name: max(earlier[name] for earlier in envelope.weights[: index + 1]) for name in measured}
            return next((name for name in measured if not measured[name] <= factor * drift[name]), None)
    return None


def locate(step: int, steps_per_epoch: int) -> dict[str, Any]:
    """Names a step, counted from 0 over the whole run."""
    return {"tensor": "loss", "step": step, "epoch": step // steps_per_epoch, "batch": step % steps_per_epoch}


def compare_final_weights(keras: Tensors, torch: Tensors, envelope: NoiseEnvelope | None) -> Check:
    """`final_weights`: every trained tensor, against the largest difference of the envelope in that tensor.

    Where the envelope met less, one ULP of the tensor's largest entry counts in its place.
    """
    if envelope is None:
        return compare_tensors("final_weights", keras, torch, reason=NO_ENVELOPE)
    factor = TOLERANCES["final_weights"].factor
    drift = envelope.largest_weight_difference()
    noise = {name: float(np.maximum(drift[name], one_ulp(torch[name]))) for name in torch}
    allowed = {name: factor * value for name, value in noise.items()}
    return compare_tensors(
        "final_weights", keras, torch, tolerances=allowed, noise=noise, reason=describe("final_weights")
    )


def compare_predictions(keras: np.ndarray, torch: np.ndarray, envelope: NoiseEnvelope | None) -> Check:
    """`predictions`: the final logits (N, 2) of every validation image.

    The image that differs most, the middle one of all images, and the churn are each held against the envelope's.
    """
    logits = compare_tensor("logits", keras, torch)
    if envelope is None or logits.problem is not None:
        return check_from_differences("predictions", [logits], NO_ENVELOPE)
    factor, ulp = TOLERANCES["predictions"].factor, one_ulp(torch)
    differences = [replace(logits, tolerance=factor * float(np.maximum(envelope.image_differences.max(), ulp)))]
    for name, ours, noise in (
        ("the middle image", np.median(image_differences(keras, torch)), np.median(envelope.image_differences)),
        ("churn", churn(keras, torch), envelope.churn),
    ):
        allowed = factor * float(np.maximum(noise, 1 if name == "churn" else ulp))
        differences.append(
            TensorDifference(name=name, max_abs_difference=float(ours), bits_differing=0, tolerance=allowed)
        )
    return check_from_differences("predictions", differences, describe("predictions"))


def image_differences(keras: np.ndarray, torch: np.ndarray) -> np.ndarray:
    """Returns, for each image, the largest difference between its logits (N, C): (N,) float64."""
    return np.abs(keras.astype(np.float64) - torch).max(axis=1)


def churn(keras: np.ndarray, torch: np.ndarray) -> int:
    """Counts the images, rows of logits (N, C), on which the two sides predict different classes."""
    return int((keras.argmax(axis=1) != torch.argmax(axis=1)).sum())


def compare_accuracies(keras: TrainingRun, torch: TrainingRun, labels: np.ndarray) -> Check:
    """`accuracy`: the right images, as each framework's own metric reported them after the last epoch.

    Each count must be the recount from that side's logits, over all images. Images that flip by rounding flip either
    way, so between the sides a multiple of the square root of the churn is allowed.
    """
    recounts, reports = {}, {}
    for side, run in (("Keras", keras), ("PyTorch", torch)):
        recounts[side] = float((run.validation_logits.argmax(axis=1) == labels).sum())
        reports[side] = count_images(run.history["validation_accuracy"][-1], len(labels))
    differences = [
        *(compare_tensor(f"{s}'s metric against the recount", reports[s], np.array(recounts[s])) for s in reports),
        compare_tensor(
            "Keras against PyTorch",
            reports["Keras"],
            reports["PyTorch"],
            TOLERANCES["accuracy"].factor * churn(keras.validation_logits, torch.validation_logits) ** 0.5,
        ),
    ]
    return replace(check_from_differences("accuracy", differences, TOLERANCES["accuracy"].reason), unit="images")


def count_images(accuracy: float, images: int) -> np.ndarray:
    """Returns the whole number of images behind a float32 accuracy, () float64; NaN where there is none."""
    count = accuracy * images
    return np.array(float(np.rint(count)) if abs(count - np.rint(count)) < 0.01 else np.nan)


def bits_differ(keras: TrainingRun, torch: TrainingRun) -> bool:
    """Whether two runs that can be compared at all differ in a loss, a trained weight or a logit."""
    ours, theirs = (
        {"step_losses": run.step_losses, "validation_logits": run.validation_logits, **run.weights}
        for run in (keras, torch)
    )
    whole = compare_tensors("all", ours, theirs, reason="")
    return whole.bits_differing is not None and whole.bits_differing > 0


def verdict(
    checks: Sequence[Check], *, rungs: Sequence[str] = PAIR_RUNGS, left_out: Mapping[str, str] | None = None
) -> str:
    """Sums up the ladder: `bit-exact`, `rounding-only` or `diverged`.

    Args:
        checks: One per rung.
        rungs: What should have been asked.
        left_out: Rungs that the pair does not ask for.
    """
    expected = tuple(name for name in rungs if name not in (left_out or {}))
    if not expected or tuple(check.name for check in checks) != expected or not all(check.passed for check in checks):
        return "diverged"
    return "bit-exact" if all(check.bits_differing == 0 for check in checks) else "rounding-only"

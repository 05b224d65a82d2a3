"""Whether two tensors were drawn from the same distribution: how the models' initial weights are compared."""

import math
from statistics import NormalDist
from typing import Any

import numpy as np

from birdplane_keras.parity.core.check import Check, Place, State, failed
from birdplane_keras.parity.core.records import Tensors
from birdplane_keras.parity.core.tolerances import DISTRIBUTION

LARGEST_SAMPLE = 1 << 16


def compare_distributions(keras: Tensors, torch: Tensors) -> Check:
    """`initialisation`: each tensor's entries as two samples; constants must be equal, the rest is a KS test.

    Source: the two-sample Kolmogorov-Smirnov test with its asymptotic distribution, and the delta method for the ratio
    of the standard deviations, at a level of one false alarm in a million comparisons over the number of tensors.
    """
    level = DISTRIBUTION.factor / max(1, len(torch))
    rows = [compare_samples(name, keras.get(name), torch.get(name), level) for name in dict.fromkeys([*torch, *keras])]
    if not rows:
        return failed("initialisation", "nothing", "nothing was compared")
    wrong = [row for row in rows if not row["passed"]]
    shown = wrong[0] if wrong else max(rows, key=lambda row: row["max_abs_difference"] / row["tolerance"])
    told = f"{shown['name']}: {shown['text']}" if wrong else ""
    if len(wrong) > 1:
        told += f"; and {len(wrong) - 1} more of {len(rows)} tensors"
    return Check(
        name="initialisation",
        state=State.FAILED if wrong else State.PASSED,
        code="distribution" if wrong else "",
        max_abs_difference=shown["max_abs_difference"],
        tolerance=shown["tolerance"],
        bits_differing=0 if not wrong else None,
        reason=told or f"{len(rows)} tensors as built have the same distributions ({DISTRIBUTION.reason})",
        place=Place(tensor=shown["name"]) if wrong else None,
        tensors=tuple(rows),
    )


def compare_samples(name: str, keras: np.ndarray | None, torch: np.ndarray | None, level: float) -> dict[str, Any]:
    """Compares two samples; returns a row for the report, with the ratio of their standard deviations."""
    for side, tensor in (("Keras", keras), ("PyTorch", torch)):
        if tensor is None or not np.isfinite(tensor).all():
            text = f"missing in {side}" if tensor is None else f"not finite in {side}"
            apart = {"passed": False, "max_abs_difference": 1.0, "tolerance": 1.0, "text": text}
            return {"name": name, "scale_ratio": None, "bits_differing": None} | apart
    if keras is None or torch is None:
        raise ValueError("expected two tensors")
    ours, theirs = (np.sort(sample(array), axis=None) for array in (keras, torch))
    row: dict[str, Any] = {"name": name, "scale_ratio": None, "bits_differing": None}
    spreads = (float(ours.std()), float(theirs.std()))
    if ours.size < 2 or 0.0 in spreads:
        passed = ours.size < 2 or bool(spreads == (0.0, 0.0) and ours[0] == theirs[0])
        text = f"{describe_sample(ours)} in Keras, {describe_sample(theirs)} in PyTorch"
        return row | {"passed": passed, "max_abs_difference": float(not passed), "tolerance": 1.0, "text": text}
    steps = np.concatenate([ours, theirs])
    statistic = np.abs(
        np.searchsorted(ours, steps, side="right") / ours.size
        - np.searchsorted(theirs, steps, side="right") / theirs.size
    ).max()
    effective = ours.size * theirs.size / (ours.size + theirs.size)
    allowed = math.sqrt(-math.log(level / 2) / (2 * effective))  # P(D > d) = 2 exp(-2 n d^2), to first order
    ratio = spreads[0] / spreads[1]
    scale, scale_allowed = compare_scales(ours, theirs, level)
    passed = bool(statistic <= allowed) and scale <= scale_allowed
    by_scale = not passed and bool(statistic <= allowed)
    return row | {
        "passed": passed,
        "max_abs_difference": scale if by_scale else float(statistic),
        "tolerance": scale_allowed if by_scale else allowed,
        "scale_ratio": float(f"{ratio:.3g}"),
        "text": f"{describe_sample(ours)} in Keras, {describe_sample(theirs)} in PyTorch, scale ratio {ratio:.3g}",
    }


def compare_scales(ours: np.ndarray, theirs: np.ndarray, level: float) -> tuple[float, float]:
    """Returns the logarithm of the ratio of two standard deviations, and how much of it is allowed.

    A sharper test of scale than KS, for 64 entries and more; fewer are allowed anything.

    The logarithm of their ratio is normal with the variance (kurtosis - 1) / 4 x (1/n + 1/m), to first order.
    """
    if min(ours.size, theirs.size) < 64:
        return 0.0, math.inf
    pooled = np.concatenate([(values - values.mean()) / values.std() for values in (ours, theirs)])
    variance = float((pooled**4).mean() - 1) / 4 * (1 / ours.size + 1 / theirs.size)
    allowed = NormalDist().inv_cdf(1 - level / 2) * math.sqrt(variance)
    return abs(math.log(ours.std() / theirs.std())), allowed


def sample(tensor: np.ndarray) -> np.ndarray:
    """Returns at most 65,536 entries, evenly spaced: enough to tell scales apart that differ by a hundredth."""
    return tensor.reshape(-1)[:: -(-tensor.size // LARGEST_SAMPLE) or 1].astype(np.float64)


def describe_sample(values: np.ndarray) -> str:
    """Returns a sorted sample in words."""
    if values[0] == values[-1]:
        return f"all {values[0]:g}"
    return f"within [{values[0]:.3g}, {values[-1]:.3g}], standard deviation {values.std():.3g}"

"""The comparison of tensors that most checks are made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from birdplane_keras.parity.core.check import Check, Place, State, failed
from birdplane_keras.parity.core.records import Tensors

BLOCK = 1 << 20  # elements that are compared at a time


@dataclass(frozen=True, kw_only=True)
class TensorDifference:
    """How far apart a tensor is on the two sides; `problem` says why it cannot be compared at all, `code` in a word."""

    name: str
    max_abs_difference: float | None = None
    bits_differing: int | None = None
    tolerance: float = 0.0
    noise: float | None = None
    ulps: float | None = None
    index: tuple[int, ...] | None = None
    code: str = ""
    problem: str | None = None

    @property
    def times_noise(self) -> float | None:
        """The difference over the measured noise; `None` where either is unknown."""
        return None if self.max_abs_difference is None or not self.noise else self.max_abs_difference / self.noise

    @property
    def passed(self) -> bool:
        """Whether it was compared and is within its tolerance; without a tolerance every bit counts."""
        if self.problem is not None or self.max_abs_difference is None:
            return False
        if self.tolerance == 0:
            return self.bits_differing == 0
        return self.max_abs_difference <= self.tolerance

    @property
    def closeness(self) -> float:
        """Difference over tolerance: above 1 has failed; what cannot be compared is infinitely far."""
        if self.problem is not None or self.max_abs_difference is None:
            return np.inf
        if self.tolerance == 0:
            return np.inf if self.bits_differing else 0.0
        return self.max_abs_difference / self.tolerance


def count_differing_bits(keras: np.ndarray, torch: np.ndarray) -> int:
    """Counts the bits in which two arrays of the same shape and dtype differ."""
    ours, theirs = (np.ascontiguousarray(array).reshape(-1).view(np.uint8) for array in (keras, torch))
    return int(np.bitwise_count(ours ^ theirs).sum())


def compare_tensor(
    name: str, keras: np.ndarray, torch: np.ndarray, tolerance: float = 0.0, noise: float | None = None
) -> TensorDifference:
    """Compares a tensor of the two sides, element by element.

    Nothing compared, unequal shapes or dtypes, and any number that is not finite on either side is a problem, never a
    difference of zero.
    """
    keras, torch = np.asarray(keras), np.asarray(torch)
    if keras.shape != torch.shape:
        text = f"shape {keras.shape} in Keras, {torch.shape} in PyTorch"
        return TensorDifference(name=name, code="shape", problem=text)
    if keras.dtype != torch.dtype:
        text = f"dtype {keras.dtype} in Keras, {torch.dtype} in PyTorch"
        return TensorDifference(name=name, code="type", problem=text)
    if keras.size == 0:
        return TensorDifference(name=name, code="nothing", problem="nothing was compared: the tensor is empty")
    for side, array in (("Keras", keras), ("PyTorch", torch)):
        if not np.isfinite(array).all():
            index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
            text = f"{array[index]} in {side} at {list(index)}"
            return TensorDifference(name=name, code="not_finite", problem=text, index=index)
    largest, place, bits = 0.0, 0, 0
    ours, theirs = np.ascontiguousarray(keras).reshape(-1), np.ascontiguousarray(torch).reshape(-1)
    wide = np.float64 if np.issubdtype(keras.dtype, np.floating) else np.int64
    for start in range(0, 1 if keras is torch else keras.size, BLOCK):  # the memory of a block, not of the tensor
        mine, yours = ours[start : start + BLOCK], theirs[start : start + BLOCK]
        difference = np.abs(np.subtract(mine, yours, dtype=wide))
        bits += count_differing_bits(mine, yours)
        furthest = int(difference.argmax())
        if difference[furthest] > largest or start == 0:
            largest, place = float(difference[furthest]), start + furthest
    return TensorDifference(
        name=name,
        max_abs_difference=largest,
        bits_differing=bits,
        tolerance=tolerance,
        noise=noise,
        ulps=largest / one_ulp(torch),
        index=tuple(int(i) for i in np.unravel_index(place, keras.shape)),
    )


def one_ulp(tensor: np.ndarray) -> float:
    """Returns the distance from the largest magnitude in a tensor to the next number; 1 for integers."""
    return (
        float(np.spacing(tensor.dtype.type(max(abs(tensor.max()), abs(tensor.min())))))
        if np.issubdtype(tensor.dtype, np.floating)
        else 1.0
    )


def compare_tensors(
    rung: str,
    keras: Tensors,
    torch: Tensors,
    *,
    tolerances: Mapping[str, float] | None = None,
    noise: Mapping[str, float] | None = None,
    reason: str,
) -> Check:
    """Compares the tensors of the two sides by name.

    Args:
        rung: The name of the check.
        keras: Name -> tensor on the Keras side.
        torch: Name -> tensor on the PyTorch side.
        tolerances: Name -> largest difference allowed; `None` where every bit counts.
        noise: Name -> the measured noise that the tolerances are multiples of.
        reason: Why these tolerances.
    """
    noise = noise or {}
    differences = []
    for name in dict.fromkeys([*torch, *keras]):
        if name not in keras or name not in torch:
            missing = "Keras" if name not in keras else "PyTorch"
            differences.append(TensorDifference(name=name, code="missing", problem=f"missing in {missing}"))
        else:
            tolerance = 0.0 if tolerances is None else tolerances[name]
            differences.append(compare_tensor(name, keras[name], torch[name], tolerance, noise.get(name)))
    return check_from_differences(rung, differences, reason)


def check_from_differences(rung: str, differences: Sequence[TensorDifference], reason: str) -> Check:
    """Sums up the differences of a rung; the first tensor that failed is the one that the check names."""
    if not differences:
        return failed(rung, "nothing", "nothing was compared")
    wrong = [difference for difference in differences if not difference.passed]
    shown = wrong[0] if wrong else max(differences, key=lambda difference: difference.closeness)
    if wrong:
        reason = f"{shown.name}: {shown.problem}" if shown.problem else f"{describe_distance(shown)}: {reason}"
    bits = [difference.bits_differing for difference in differences]
    ratios = [difference.times_noise for difference in differences if difference.times_noise is not None]
    return Check(
        name=rung,
        state=State.FAILED if wrong else State.PASSED,
        code=(shown.code or "beyond") if wrong else "",
        max_abs_difference=shown.max_abs_difference,
        bits_differing=None if None in bits else sum(bit for bit in bits if bit is not None),
        tolerance=shown.tolerance,
        reason=reason,
        place=Place(tensor=shown.name, index=shown.index) if wrong else None,
        ulps=shown.ulps,
        times_noise=max(ratios, default=None),
        tensors=tuple(
            {
                "name": difference.name,
                "passed": difference.passed,
                "max_abs_difference": difference.max_abs_difference,
                "bits_differing": difference.bits_differing,
                "tolerance": difference.tolerance,
                "ulps": difference.ulps,
                "times_noise": difference.times_noise,
            }
            for difference in differences
        ),
    )


def describe_distance(difference: TensorDifference) -> str:
    """Returns how far apart a tensor is, in words."""
    if not difference.tolerance:
        return f"{difference.name} differs in {difference.bits_differing:,} bits"
    told = f"{difference.name} is {difference.max_abs_difference:.3g} apart, {difference.tolerance:.3g} allowed"
    return told if difference.times_noise is None else f"{told} ({difference.times_noise:.3g} times the noise)"

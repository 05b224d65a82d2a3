"""One check of the ladder: its outcome, the numbers behind it, and where it broke."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """What became of a rung."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_REACHED = "not reached"
    LEFT_OUT = "left out"


@dataclass(frozen=True, kw_only=True)
class Place:
    """The first thing that broke. What does not apply is `None`.

    Args:
        tensor: By the reference's name.
        index: Of the element that is furthest away, or not finite.
        side: `keras` or `torch`, where the tensor is of one of them.
        layer: The first layer that differs, by the reference's name.
        field: Of a recipe.
        step: Of training, from 0.
        epoch: From 0.
        batch: Of the epoch, from 0.
    """

    tensor: str | None = None
    index: tuple[int, ...] | None = None
    side: str | None = None
    layer: str | None = None
    field: str | None = None
    step: int | None = None
    epoch: int | None = None
    batch: int | None = None

    def content(self) -> dict[str, Any]:
        """Returns what is known, by name."""
        known = {name: value for name, value in asdict(self).items() if value is not None}
        return known | ({"index": list(self.index)} if self.index is not None else {})

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.content().items())


@dataclass(frozen=True, kw_only=True)
class Check:
    """The outcome of one rung.

    Args:
        name: The rung.
        state: What became of it.
        code: What is wrong, in a word that programs can rely on: `beyond` (a tensor beyond its tolerance),
            `not_finite`, `shape`, `type`, `missing`, `nothing` (was compared), or one of the rung's own. Of a rung that
            was left out, why. Empty where it passed.
        max_abs_difference: The largest difference in the tensor that is nearest to its tolerance, or furthest
            beyond it; `None` where nothing numeric was compared.
        bits_differing: Over all tensors of the rung, the number of bits that differ.
        tolerance: What that tensor was allowed.
        reason: Why this tolerance, or what went wrong, in words.
        place: The first thing that broke, `None` where nothing did.
        unit: Of the difference and the tolerance, where it is not that of the tensor.
        ulps: That difference in units of the last place of the tensor's largest entry.
        times_noise: The largest ratio of a difference to the noise measured in its tensor, over all tensors of the
            rung: the smallest factor on the noise that would pass. `None` where no noise was measured.
        tensors: One row per tensor compared: name, passed, max_abs_difference, tolerance, bits_differing, ulps,
            times_noise.
    """

    name: str
    state: State
    code: str = ""
    max_abs_difference: float | None = None
    bits_differing: int | None = None
    tolerance: float | None = None
    reason: str
    place: Place | None = None
    unit: str = ""
    ulps: float | None = None
    times_noise: float | None = None
    tensors: tuple[Mapping[str, Any], ...] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against the port here: the rung passed, or was left out; `state` says which."""
        return self.state in (State.PASSED, State.LEFT_OUT)

    def content(self) -> dict[str, Any]:
        """Returns the check as plain data, with the keys of the contract: `passed`, and the place as `where`."""
        plain = asdict(self) | {"state": str(self.state), "passed": self.passed, "tensors": list(self.tensors)}
        place = plain.pop("place")
        return plain | {"where": None if place is None or self.place is None else self.place.content()}


def passed(name: str, reason: str) -> Check:
    """Returns the passed check of things that are not tensors."""
    return Check(name=name, state=State.PASSED, reason=reason, max_abs_difference=0.0, bits_differing=0, tolerance=0.0)


def failed(name: str, code: str, reason: str, place: Place | None = None) -> Check:
    """Returns the failed check of things that are not tensors."""
    return Check(name=name, state=State.FAILED, code=code, reason=reason, place=place)


def not_reached(name: str, broken: str) -> Check:
    """Returns the check of a rung above the one that broke."""
    return Check(name=name, state=State.NOT_REACHED, reason=f"{broken} failed first")


def left_out(name: str, code: str, reason: str) -> Check:
    """Returns the check of a rung that was not asked for."""
    return Check(name=name, state=State.LEFT_OUT, code=code, reason=reason)


def first_failure(checks: Sequence[Check]) -> Check | None:
    """Returns the check of the rung that broke, `None` where none did."""
    return next((check for check in checks if check.state is State.FAILED), None)

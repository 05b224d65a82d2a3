"""What a step leaves, stock or traced, and whether two of them differ by more than rounding."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from keras import tree

from birdplane_keras.torch_plugin.agreement import (
    NOISE_ULPS,
    REWRITTEN_ULPS,
    UNORDERED_TOLERANCE,
    further_apart,
    is_float,
    largest_of,
    ulp_of,
)
from birdplane_keras.torch_plugin.noise import Spread
from birdplane_keras.torch_plugin.steps import Step

HALF_PRECISION = 5e-4  # the relative step between numbers of it is larger
Values = dict[int, torch.Tensor]  # id of a tensor -> a copy of what it held


@dataclass(frozen=True)
class Outcome:
    """What a step returned, its gradients where they are compared, and what it wrote."""

    returned: Any
    gradients: list
    values: Values

    def copied(self) -> "Outcome":
        """The same, where what was written stays as it is now."""
        return replace(self, values={key: value.clone() for key, value in self.values.items()})


@dataclass(frozen=True)
class Part:
    """Tensors of an outcome that are compared alike.

    Args:
        name: What they are.
        tensors: Tensors, numbers or `None`.
        units: In the last place, that they may be apart relative to the largest number of a tensor.
        alike: Whether they are of one kind.
    """

    name: str
    tensors: list
    units: int
    alike: bool


def parts(step: Step, outcome: Outcome, *, bits: bool = False) -> list[Part]:
    """Returns an outcome in the parts in which it is compared."""
    weights = {id(value) for value in [*step.values, *step.update_state()]}
    trained = [value for key, value in outcome.values.items() if key in weights]
    others = [value for key, value in outcome.values.items() if key not in weights]
    units = 0 if bits else REWRITTEN_ULPS
    if bits:
        last = Part("a weight", [], 0, True)
    elif compares_weights(step):
        last = Part("a weight", trained, NOISE_ULPS, True)
    else:
        last = Part("a gradient", outcome.gradients, units, True)
    return [
        Part("what it returns", tree.flatten(outcome.returned), units, False),
        Part("another tensor that it writes", others, units, False),
        last,
    ]


def difference(
    step: Step,
    ours: Outcome,
    theirs: Outcome,
    rows: int,
    spreads: list[Spread] | None = None,
    *,
    bits: bool = False,
) -> str | None:
    """Returns what differs by more than rounding, in words; `None` where nothing does.

    Args:
        step: The traced step.
        ours: Of it.
        theirs: Of the stock step.
        rows: Of the batch.
        spreads: For each part, how far rounding takes it, where that was measured.
        bits: Whether a difference in any bit counts; the update is looked at by itself.
    """
    for number, (one, other) in enumerate(
        zip(parts(step, ours, bits=bits), parts(step, theirs, bits=bits), strict=True)
    ):
        if len(one.tensors) != len(other.tensors):
            return "it returns something else"
        pairs = list(zip(one.tensors, other.tensors, strict=True))
        found = apart(pairs, one.units, step, one.alike, rows, spreads[number] if spreads else None)
        if found is not None:
            return f"{one.name} is {found} what stock Keras makes"
    return None


def difference_of_update(step: Step, ours: Values, theirs: Values) -> str | None:
    """Returns how an update of the step's own, by stock Keras' gradients, ends elsewhere; `None` where it does not."""
    # Keras 3.16 multiplies a gradient by the rate before it takes it from a weight, which may round otherwise.
    units = NOISE_ULPS if step.update_rounds or step.is_plain_sgd else 0
    keys = {id(value) for value in [*step.values, *step.update_state()]}
    pairs = [(value, theirs[key]) for key, value in ours.items() if key in keys]
    found = max((further_apart(one, other, units * ulp_of(one), 0.0) for one, other in pairs), default=0.0)
    return f"a weight is {found:.1e} away from what stock Keras makes of the same gradients" if found else None


def compares_weights(step: Step) -> bool:
    """Tells whether the weights are compared after a step, or else their gradients.

    An update is small beside a weight, so a tighter bound on it is as good as one on the gradient. An adaptive update
    may make much of a rounding.
    """
    return step.is_plain_sgd or not step.rounds


def apart(
    pairs: list[tuple], units: int, step: Step, alike: bool, rows: int, spread: Spread | None = None
) -> str | None:
    """Returns how far a pair of values is apart, in words, where that is more than rounding.

    Args:
        pairs: Tensors, numbers or `None`.
        units: In the last place of the coarsest type of the step, relative to the largest value of a tensor; with 0, a
            difference in any bit counts.
        step: The traced step.
        alike: Whether they are of one kind. What is zero but for rounding, as a bias's gradient before a normalisation
            is, is then held against the largest of all; elsewhere against one, and a row may be counted otherwise.
        rows: Of the batch.
        spread: How far rounding takes them, where that was measured.
    """
    ulp = step.ulp if step.rounds and units else 0.0
    noise = 0.0 if alike else ulp
    for number, (one, other) in enumerate(pairs):
        if not isinstance(one, torch.Tensor) or not isinstance(other, torch.Tensor):
            both_nan = one != one and other != other
            if one is not other and not both_nan and one != other:
                return "another one than"
            continue
        allowed = max(min(units * ulp, 0.1), UNORDERED_TOLERANCE if one.is_cuda else 0.0)
        row = 0.0 if alike or ulp < HALF_PRECISION or one.numel() > 1 else share_of_a_row(one, other, rows)
        bend = spread.of(number) if spread else 0.0
        found = further_apart(one, other, allowed, max(NOISE_ULPS * noise, row, bend))
        if found and alike and not noise:  # which takes a look at all of them
            noise = ulp * max((largest_of(each) for each, _ in pairs if is_number(each)), default=0.0)
            found = further_apart(one, other, allowed, max(NOISE_ULPS * noise, bend))
        if found:
            return f"{found:.1e} away from"
    return None


def share_of_a_row(one: torch.Tensor, other: torch.Tensor, rows: int) -> float:
    """Returns by how much a count, or a share, moves with one row.

    Numbers of half precision are often equal; which one is the largest is then decided by a rounding, and so is whether
    an accuracy counts the row.
    """
    return 1.0 if float(one).is_integer() and float(other).is_integer() else 1.0 / rows


def is_number(value: Any) -> bool:
    """Tells whether a value is a tensor of floating-point numbers, and has any."""
    return isinstance(value, torch.Tensor) and is_float(value)

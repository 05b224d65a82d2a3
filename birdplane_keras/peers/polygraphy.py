"""The comparison function of NVIDIA's Polygraphy, which compares what two runners return."""

import numpy as np

from birdplane_keras.peers.comparing import describe
from birdplane_keras.peers.forward import FORWARD_ONLY
from birdplane_keras.peers.method import Difference, Method
from birdplane_keras.peers.prepared import Named, Prepared

TOLERANCE = 1e-5  # absolute, and relative: its defaults
EPSILON = float(np.finfo(np.float64).eps)  # stands for a zero that would be divided by


def compare_runners(pair: Prepared) -> Difference | None:
    """Compares outputs as `CompareFunc.simple` does at its defaults.

    Documents: shapes must match; an element fails where it is further than 1e-5 from the other absolutely and
    relatively, NaN included. Outputs of the first runner are looked up in the second by name, by a part of a name, and
    by their place; one that is not found is skipped with a warning.
    Emulated: the same rules on the same outputs; the reference is the first runner. Outputs in a tuple have no names
    of their own, so their place decides.
    Limits: a forward pass only; an output that the port lacks is skipped; the place is an output.
    """
    theirs, ours = pair.outputs
    for place, (name, value) in enumerate(theirs.items()):
        found = counterpart(name, place, theirs, ours)
        if found is None:
            continue
        if value.shape != ours[found].shape:
            return Difference(place=name, text=f"shape {ours[found].shape} for {value.shape}")
        if not matches(value, ours[found]):
            return Difference(place=name, text=describe(value, ours[found]))
    return None


def counterpart(name: str, place: int, theirs: Named, ours: Named) -> str | None:
    """Returns the output that one is compared with: of the same name, else in the same place, else none."""
    if name in ours:
        return name
    others = list(ours)
    at_place = others[place] if place < len(others) else None
    return None if at_place in theirs else at_place


def matches(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether every element is close enough, absolutely or relatively.

    Args:
        one: Of the first runner.
        other: Of the second, to which relative differences are.
    """
    wide = other.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        far = np.abs(one.astype(np.float64) - wide)
        relative = far / np.abs(np.where(wide == 0, EPSILON, wide))
        return bool(np.all((far <= TOLERANCE) | (relative <= TOLERANCE)))


METHODS = (
    Method(
        name="polygraphy",
        title="Polygraphy's comparator",
        compares="the outputs, element by element: within 1e-5 absolutely or relatively",
        tells="an output",
        limits=f"{FORWARD_ONLY} An output that the port lacks is skipped with a warning.",
        run=compare_runners,
    ),
)

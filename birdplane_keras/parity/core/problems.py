"""Weights that do not fit, counted."""

from collections.abc import Sequence

from birdplane_keras.parity.core.records import Problem

KINDS_OF_PROBLEMS = {
    ("no_counterpart", "keras"): "in Keras without a counterpart",
    ("no_counterpart", "torch"): "in PyTorch without a counterpart",
    ("missing", "keras"): "that a PyTorch module lacks",
    ("missing", "torch"): "that a Keras layer lacks",
    ("shape", "torch"): "of another shape",
    ("refused", "torch"): "in modules that Keras cannot mirror",
    ("mapping", "keras"): "in the mapping that cannot be followed",
}


def counted(problems: Sequence[Problem]) -> str:
    """Returns how many problems there are of each kind, in words."""
    kinds: dict[str, int] = {}
    for problem in problems:
        kind = KINDS_OF_PROBLEMS.get((problem.code, problem.side), f"otherwise ({problem.code})")
        kinds[kind] = kinds.get(kind, 0) + 1
    return ", ".join(f"{number} {kind}" for kind, number in kinds.items())

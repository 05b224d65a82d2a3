"""A cause, with what speaks for it and what mends it."""

from dataclasses import dataclass

import numpy as np

UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One cause that explains a failed rung.

    Args:
        cause: A short identifier, such as `learning_rate`; `unknown` where nothing explained the difference.
        rung: The rung that it explains.
        text: The cause in a sentence.
        evidence: The numbers that speak for it.
        fix: What to change, in code where it can be said in code.
    """

    cause: str
    rung: str
    text: str
    evidence: str
    fix: str


def near(ours: np.ndarray, theirs: np.ndarray, ulps: float = 4) -> bool:
    """Whether two arrays agree to a few ULPs of the largest entry."""
    if ours.shape != theirs.shape or not np.isfinite(ours).all():
        return False
    scale = float(np.abs(theirs).max(initial=0.0)) * float(np.finfo(np.float32).eps)
    return bool(np.abs(ours.astype(np.float64) - theirs).max(initial=0.0) <= ulps * scale)


def not_a_number(rung: str, name: str, values: np.ndarray) -> Finding:
    """Returns the finding that a tensor of the port has a number that is not finite."""
    index = [int(i) for i in np.argwhere(~np.isfinite(values))[0]]
    return finding(
        "not_a_number",
        rung,
        f"{name} of the port has a number that is not finite",
        f"{values[tuple(index)]} at {index}, in {int((~np.isfinite(values)).sum())} of {values.size} entries",
        "find what made it: look at this tensor just before",
    )


def finding(cause: str, rung: str, text: str, evidence: str, fix: str) -> Finding:
    """Returns a finding, by position."""
    return Finding(cause=cause, rung=rung, text=text, evidence=evidence, fix=fix)

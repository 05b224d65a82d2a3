"""What the files that read causes off the numbers share."""

from collections.abc import Sequence

import numpy as np

from birdplane_keras.parity.core.finding import Finding, Fix


def near(ours: np.ndarray, theirs: np.ndarray, ulps: float = 4) -> bool:
    """Whether two arrays agree to a few ULPs of the largest entry."""
    if ours.shape != theirs.shape or not np.isfinite(ours).all():
        return False
    scale = float(np.abs(theirs).max(initial=0.0)) * float(np.finfo(np.float32).eps)
    return bool(np.abs(ours.astype(np.float64) - theirs).max(initial=0.0) <= ulps * scale)


def not_a_number(rung: str, name: str, values: np.ndarray) -> Finding:
    """Returns the finding that a tensor of the port has a number that is not finite."""
    index = [int(i) for i in np.argwhere(~np.isfinite(values))[0]]
    return read_off(
        "not_a_number",
        rung,
        f"{name} of the port has a number that is not finite",
        f"{values[tuple(index)]} at {index}, in {int((~np.isfinite(values)).sum())} of {values.size} entries",
        "find what made it: look at this tensor just before",
    )


def read_off(
    cause: str, rung: str, text: str, evidence: str, fix: str | Sequence[str], *, tried: bool = False
) -> Finding:
    """Returns a finding; `tried` says whether its fixes were made, and the rung passed."""
    fixes = [fix] if isinstance(fix, str) else fix
    return Finding(
        cause=cause,
        rung=rung,
        text=text,
        evidence=evidence,
        fixes=tuple(Fix(text=line, tried=tried) for line in fixes),
        proved=True,
    )

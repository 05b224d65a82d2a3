"""The one table of tolerances: how much each rung allows, and why."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How much a rung allows.

    Args:
        factor: Multiple of the measured noise that is allowed; 0 where every bit counts.
        noise: What is measured, in words.
        reason: Why this much.
    """

    factor: float
    noise: str
    reason: str


EXACT = "nothing is computed here, so every bit must agree"
ROUNDING = "the reference against itself in float64, and with every operation rounded otherwise, the larger of these"
THREE_TIMES_TWO = (
    "each side may be that far from the true answer (x2), few draws of it were made (x2), and the sides add up in "
    "orders of their own (x2)"
)
AT_A_KINK = 2  # times the furthest of many draws, where a gradient jumps: see `judge.MOST_DRAWS`
ENVELOPE = "the reference against copies of itself with weights moved by one ULP"
ONE_DRAW = (
    "a copy's drift is one draw of what rounding does; three copies nudged at other weights, and one that multiplies "
    "and adds as Keras does, came at most 3.9 times as far in weights, logits and epoch losses (both presets, seed 0, "
    "100 epochs); more than twice that, for draws not seen"
)
EITHER_WAY = "images that flip by rounding flip either way, so n of them move the count by about sqrt(n): 4 of these"
FALSE_ALARMS = "equal distributions are told apart once in a million comparisons"


def exact() -> Tolerance:
    """Returns the tolerance of what must agree in every bit."""
    return Tolerance(factor=0, noise="none", reason=EXACT)


def rounding() -> Tolerance:
    """Returns the tolerance of the first steps."""
    return Tolerance(factor=8, noise=ROUNDING, reason=THREE_TIMES_TWO)


def envelope() -> Tolerance:
    """Returns the tolerance of a whole training run."""
    return Tolerance(factor=10, noise=ENVELOPE, reason=ONE_DRAW)


TOLERANCES = {
    "recipe": exact(),
    "data": exact(),
    "batch_order": exact(),
    "determinism": exact(),
    "structure": exact(),
    "parameter_counts": exact(),
    "initial_weights": exact(),
    "initialisation": Tolerance(factor=1e-6, noise="the Kolmogorov-Smirnov statistic", reason=FALSE_ALARMS),
    "forward": rounding(),
    "loss": rounding(),
    "gradients": rounding(),
    "first_update": rounding(),
    "optimizer_state": rounding(),
    "evaluation": rounding(),
    "trajectory": envelope(),
    "final_weights": envelope(),
    "predictions": envelope(),
    "accuracy": Tolerance(factor=4, noise="the square root of the churn", reason=EITHER_WAY),
}
RUNGS = tuple(TOLERANCES)
PAIR_RUNGS = tuple(name for name in RUNGS if name not in ("recipe", "accuracy"))  # what any pair can be asked

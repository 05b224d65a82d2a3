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
FLOAT64 = "the reference's distance from its own float64 answer"
TWO_ROUNDINGS = "each side may be that far from the float64 answer (x2), and one batch is one draw of it (x2)"
ENVELOPE = "the reference against a copy with one weight moved by one ULP"
ONE_DRAW = (
    "the copy's drift is one draw of what rounding does; three copies nudged at other weights, and one that multiplies "
    "and adds as Keras does, came at most 3.9 times as far in weights, logits and epoch losses (both presets, seed 0, "
    "100 epochs); more than twice that, for draws not seen"
)

EITHER_WAY = "images that flip by rounding flip either way, so n of them move the count by about sqrt(n): 4 of these"

TOLERANCES = {
    "recipe": Tolerance(factor=0, noise="none", reason=EXACT),
    "data": Tolerance(factor=0, noise="none", reason=EXACT),
    "batch_order": Tolerance(factor=0, noise="none", reason=EXACT),
    "parameter_counts": Tolerance(factor=0, noise="none", reason=EXACT),
    "initial_weights": Tolerance(factor=0, noise="none", reason=EXACT),
    "forward": Tolerance(factor=4, noise=FLOAT64, reason=TWO_ROUNDINGS),
    "loss": Tolerance(factor=4, noise=FLOAT64, reason=TWO_ROUNDINGS),
    "gradients": Tolerance(factor=4, noise=FLOAT64, reason=TWO_ROUNDINGS),
    "first_update": Tolerance(factor=4, noise=FLOAT64, reason=TWO_ROUNDINGS),
    "trajectory": Tolerance(factor=10, noise=ENVELOPE, reason=ONE_DRAW),
    "final_weights": Tolerance(factor=10, noise=ENVELOPE, reason=ONE_DRAW),
    "predictions": Tolerance(factor=10, noise=ENVELOPE, reason=ONE_DRAW),
    "accuracy": Tolerance(factor=4, noise="the square root of the churn", reason=EITHER_WAY),
}
RUNGS = tuple(TOLERANCES)

"""The one table of tolerances: how much is allowed, and why. Each rung names one of them."""

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

    def __str__(self) -> str:
        return f"{self.factor:g} x {self.noise}: {self.reason}" if self.factor else self.reason


EXACT = Tolerance(factor=0, noise="none", reason="nothing is computed here, so every bit must agree")
UNMEASURED = Tolerance(factor=0, noise="none", reason="no bit differs, so no noise was measured: every bit counts")
NORMALISED = Tolerance(
    factor=2,
    noise="one ULP of the tensor's largest entry",
    reason="two roundings, as a normalisation has; whole numbers must be equal",
)
DISTRIBUTION = Tolerance(
    factor=1e-6,
    noise="the Kolmogorov-Smirnov statistic",
    reason="equal distributions are found different once in a million comparisons",
)
ROUNDING = Tolerance(
    factor=8,
    noise="the reference against itself in float64, and with every operation rounded otherwise, the larger of these",
    reason="each side may be that far from the true answer (x2), few draws of it were made (x2), and the sides add up "
    "in orders of their own (x2)",
)
AS_A_WHOLE = Tolerance(
    factor=2.5,
    noise="what the rounding of the half type does to the reference, in the root mean square",
    reason="both sides round, in ways of their own (x1.4), and in few outputs some round further than others (x1.8)",
)
ALONG = Tolerance(
    factor=8,
    noise="what independent roundings leave of a common scale",
    reason="both sides round (x1.4), few outputs are independent of each other (x2), and chance hardly comes to "
    "three standard deviations of the rest; right ports came to 4.6 (48 networks, seeds 0 to 11), a scale of 1 % to 10",
)
AT_A_KINK = 2  # times the furthest of many draws, where a gradient jumps: see `first_steps.MOST_DRAWS`
ENVELOPE = Tolerance(
    factor=10,
    noise="the reference against copies of itself with weights, inputs and settings moved by one ULP",
    reason="a copy's drift is one draw of what rounding does; three copies nudged at other weights, and one that "
    "multiplies and adds as Keras does, came at most 3.9 times as far in weights, logits and epoch losses (both "
    "presets, seed 0, 100 epochs); more than twice that, for draws not seen",
)
EITHER_WAY = Tolerance(
    factor=4,
    noise="the square root of the churn",
    reason="images that flip by rounding flip either way, so n of them move the count by about sqrt(n): 4 of these",
)

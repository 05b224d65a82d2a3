"""Takes a pair up the ladder: the only way up. What trains the models is behind the protocols of `bench`."""

from birdplane_keras.parity.core.bench import Bench
from birdplane_keras.parity.core.check import Check, State, first_failure, left_out, not_reached
from birdplane_keras.parity.core.climb import Climb
from birdplane_keras.parity.core.rungs import LADDER

MATCHES = ("bit-exact", "rounding-only")  # the verdicts of sides that are the same


def judge(bench: Bench, *, steps: int) -> tuple[list[Check], Climb]:
    """Takes a pair up the whole ladder, to the first rung that fails.

    Args:
        bench: Both sides.
        steps: How many training steps the trajectory has.

    Returns:
        a check for every rung, and what was measured for them.
    """
    climb = Climb(bench=bench, steps=steps)
    checks: list[Check] = []
    for rung in LADDER:
        broken = first_failure(checks)
        if rung.trains and bench.forward_only:
            checks.append(left_out(rung.name, "forward_only", "the pair states no loss and no optimizer"))
        else:
            checks.append(rung.take(climb) if broken is None else not_reached(rung.name, broken.name))
    return checks, climb


def verdict(checks: list[Check]) -> str:
    """Sums up the ladder: `bit-exact`, `rounding-only` or `diverged`; a check that is missing is a divergence."""
    taken = [check for check in checks if check.state is State.PASSED]
    complete = [check.name for check in checks] == [rung.name for rung in LADDER]
    if not complete or not taken or not all(check.passed for check in checks):
        return "diverged"
    return "bit-exact" if all(check.bits_differing == 0 for check in taken) else "rounding-only"

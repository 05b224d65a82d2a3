"""Time that may be spent on a search."""

import time


class Budget:
    """Seconds that are spent once.

    Args:
        seconds: How many, from now.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds, self._end = seconds, time.monotonic() + seconds

    def part(self, share: float) -> "Budget":
        """Returns a share of what is left."""
        return Budget(share * max(0.0, self._end - time.monotonic()))

    @property
    def spent(self) -> bool:
        """Whether none are left."""
        return time.monotonic() >= self._end

"""Time that may be spent on a search."""

import time


class Budget:
    """Seconds that are spent once.

    Args:
        seconds: How many, from now.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds, self._end = seconds, time.monotonic() + seconds

    @property
    def spent(self) -> bool:
        """Whether none are left."""
        return time.monotonic() >= self._end

"""When a step is traced: at once, once it can pay back, or not at all."""

from collections.abc import Hashable

from birdplane_keras.torch_plugin.entries import Entries, Entry
from birdplane_keras.torch_plugin.errors import NotTraceableError, TooEarlyError, TooLargeError

# ATen calls of a step from which on it is traced only once that can pay back.
LARGE = 1500
# What a trial takes at most: so long for each ATen call, and as long as so many stock steps. The second is less where
# PyTorch's own operation takes the place of many calls, as in a recurrent layer.
SECONDS_PER_CALL = 0.006
STEPS_PER_TRIAL = 100
AT_ONCE = 4  # shapes of a kind of step that are traced when they are first seen
SAVED = 0.3  # share of a stock step's time that a trace is taken to save, before anything is measured
MOST_TRIES = 3  # of a step that makes what it keeps at its first call


class Patience:
    """What an attachment knows of the costs of tracing.

    Args:
        entries: All traces, and how many there may be.
        waits: Whether a trace may wait until it can pay back.
    """

    def __init__(self, entries: Entries, waits: bool) -> None:
        self._entries, self._waits = entries, waits
        self._waited: set[Hashable] = set()
        self._large: set[Hashable] = set()
        self._tries: dict[Hashable, int] = {}

    def require_room(self, kind: str, key: Hashable) -> None:
        """Makes sure that one more trace of a kind may be held.

        Raises:
            NotTraceableError: There are too many.
        """
        if self._entries.traced(kind) < self._entries.most:
            return
        last = self._entries.last_of(key)
        if last is not None and last.step is not None:
            changed = last.step.first_change() or "Python state"
            raise NotTraceableError(
                f"{changed} has changed {self._entries.traced(kind)} times, and each value needs its own trace"
            )
        raise NotTraceableError(
            f"{self._entries.most} traces of other shapes and states are held, the most that "
            f"`attach(..., traces={self._entries.most})` allows"
        )

    def require_time(self, kind: str, key: Hashable) -> None:
        """Makes sure that a shape is one of the first, or was seen so often that its trace can pay back.

        Raises:
            TooEarlyError: It was not.
        """
        traced = [entry for entry in self._entries if entry.kind == kind and entry.step is not None]
        if not self._waits or self._entries.traced(kind) < AT_ONCE or key in self._waited or self._entries.last_of(key):
            return
        self._waited.add(key)
        raise TooEarlyError(sum(entry.seconds for entry in traced) / self._entries.traced(kind))

    def most_calls(self, key: Hashable) -> float:
        """Returns the ATen calls beyond which a step is not traced yet."""
        return LARGE if self._waits and key not in self._large else float("inf")

    def wait_for(self, key: Hashable, waits: TooEarlyError | TooLargeError) -> float:
        """Returns the seconds that tracing a step is expected to take; the next try makes it."""
        if isinstance(waits, TooEarlyError):
            return waits.seconds
        self._large.add(key)
        return waits.calls * SECONDS_PER_CALL

    def pays_back(self, entry: Entry) -> bool:
        """Tells whether the stock steps that were timed took so long that a trace would have paid for itself by now."""
        expected = min(entry.wait, STEPS_PER_TRIAL * entry.stock_seconds / max(1, entry.steps - 1))
        return entry.stock_seconds * SAVED >= expected

    def may_try_again(self, key: Hashable) -> bool:
        """Tells whether a step that made what it keeps may be tried once more."""
        self._tries[key] = self._tries.get(key, 0) + 1
        return self._tries[key] <= MOST_TRIES

"""When a step is audited."""

from collections import Counter

STEPS_PER_AUDIT = 100
SHARE_OF_TIME, MOST_STEPS_PER_AUDIT = 0.03, 500  # audits take so much of the time, but never come more rarely


class AuditSchedule:
    """Which steps are audited.

    Args:
        wanted: `auto`, `epoch`, `step` or `never`.
    """

    def __init__(self, wanted: str) -> None:
        self.wanted = wanted
        self._due: set[str] = set()  # kinds whose next step is the first of an epoch, or of an evaluation
        self._steps: Counter[str] = Counter()  # since the last audit
        self._gaps: dict[str, int] = {}  # kind -> steps from one audit to the next, where one has been timed

    def begin(self, *kinds: str) -> None:
        """Notes that an epoch of steps of these kinds begins."""
        self._due.update(kind for kind in kinds if self.wanted == "epoch" or self._is_time_for(kind))

    def begin_single_batch(self, kind: str) -> None:
        """Notes that a batch is trained, tested or predicted by itself."""
        if self._is_time_for(kind):
            self._due.add(kind)

    def takes(self, kind: str, seconds: float, step_seconds: float) -> None:
        """Notes what an audit took, in place of a traced step, so that dear ones come more rarely."""
        gap = (seconds / step_seconds - 1) / SHARE_OF_TIME if step_seconds else 0
        self._gaps[kind] = round(min(max(gap, STEPS_PER_AUDIT), MOST_STEPS_PER_AUDIT))

    def _is_time_for(self, kind: str) -> bool:
        return self._steps[kind] >= self._gaps.get(kind, STEPS_PER_AUDIT)

    def passes(self, kind: str) -> None:
        """Notes that a step was compared otherwise."""
        self._due.discard(kind)
        self._steps[kind] = 0

    def asks_for(self, kind: str) -> bool:
        """Tells whether the next step is to be audited; it then counts as that."""
        if self.wanted == "step":
            return True
        self._steps[kind] += 1
        if not self._due or kind not in self._due:
            return False
        self.passes(kind)
        return self.wanted != "never"

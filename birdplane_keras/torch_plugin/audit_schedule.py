"""When a step is audited."""

from collections import Counter

STEPS_PER_AUDIT = 100


class AuditSchedule:
    """Which steps are audited.

    Args:
        wanted: `auto`, `epoch`, `step` or `never`.
    """

    def __init__(self, wanted: str) -> None:
        self.wanted = wanted
        self._due: set[str] = set()  # kinds whose next step is the first of an epoch, or of an evaluation
        self._steps: Counter[str] = Counter()  # since the last audit

    def begin(self, *kinds: str) -> None:
        """Notes that an epoch of steps of these kinds begins."""
        self._due.update(kind for kind in kinds if self.wanted == "epoch" or self._steps[kind] >= STEPS_PER_AUDIT)

    def begin_single_batch(self, kind: str) -> None:
        """Notes that a batch is trained, tested or predicted by itself."""
        if self._steps[kind] >= STEPS_PER_AUDIT:
            self._due.add(kind)

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

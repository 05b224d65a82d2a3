"""When a step is audited."""

from collections import Counter

BATCHES_PER_AUDIT = 100  # of `train_on_batch` and the like, where nothing says what an epoch is


class AuditSchedule:
    """Which steps are audited.

    Args:
        wanted: `epoch`, `step` or `never`.
    """

    def __init__(self, wanted: str) -> None:
        self.wanted = wanted
        self._due: set[str] = set()  # kinds whose next step is the first of an epoch, or of an evaluation
        self._single_batches: Counter[str] = Counter()

    def begin(self, *kinds: str) -> None:
        """Notes that an epoch of steps of these kinds begins."""
        self._due.update(kinds)

    def begin_single_batch(self, kind: str) -> None:
        """Notes that a batch is trained, tested or predicted by itself; each hundredth is audited."""
        self._single_batches[kind] += 1
        if self._single_batches[kind] % BATCHES_PER_AUDIT == 0:
            self.begin(kind)

    def passes(self, kind: str) -> None:
        """Notes that a step was compared otherwise."""
        self._due.discard(kind)

    def asks_for(self, kind: str) -> bool:
        """Tells whether the next step is to be audited; it then counts as that."""
        if self.wanted == "step":
            return True
        if not self._due or kind not in self._due:
            return False
        self._due.discard(kind)
        return self.wanted != "never"

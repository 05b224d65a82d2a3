"""When a step is audited."""

BATCHES_PER_AUDIT = 100  # of `train_on_batch` and its like, where nothing says what an epoch is


class AuditSchedule:
    """Which steps are audited.

    Args:
        wanted: `epoch`, `step` or `never`.
    """

    def __init__(self, wanted: str) -> None:
        self.wanted = wanted
        self._due: set[str] = set()  # kinds whose next step is the first of an epoch, or of an evaluation
        self._single_batches = 0

    def begin(self, *kinds: str) -> None:
        """Notes that an epoch of steps of these kinds begins."""
        self._due.update(kinds)

    def begin_single_batch(self) -> bool:
        """Notes that a batch is trained or tested by itself; tells whether that counts as the begin of an epoch."""
        self._single_batches += 1
        begins = self._single_batches % BATCHES_PER_AUDIT == 0
        if begins:
            self.begin("train", "test")
        return begins

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

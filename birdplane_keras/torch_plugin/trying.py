"""One trial at a time: tracing and audits take tensors back, which no other trial must see half done."""

import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

_LOCK = threading.RLock()
LONG = 10.0  # seconds from which on a trial says that it goes on


def auditing() -> AbstractContextManager:
    """Returns that lock, for what takes no longer than a step or two."""
    return _LOCK


@contextmanager
def trying(kind: str) -> Iterator[None]:
    """Holds the lock of all trials; says on stderr where one takes long.

    Args:
        kind: `train`, `test` or `predict`.
    """
    with _LOCK:
        timer = threading.Timer(LONG, _say, [kind])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def _say(kind: str) -> None:
    print(
        f"torch_plugin: still tracing the {kind} step after {LONG:.0f} s; `explain` tells what it takes and saves",
        file=sys.stderr,
        flush=True,
    )

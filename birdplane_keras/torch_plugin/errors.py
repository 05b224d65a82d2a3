"""What the plugin raises and warns with."""

from collections.abc import Iterator
from contextlib import contextmanager

from birdplane_keras.errors import BirdplaneError


class NotTraceableError(Exception):
    """A step cannot be traced faithfully; the message is the reason, in words that follow "because"."""


class StateChangedError(NotTraceableError):
    """A step's first call makes what it keeps: it can be traced once that is there."""


class UnsteadyError(NotTraceableError):
    """Two runs of a step from one state differ: always, or once in thousands, as a sum of several threads does."""


class NothingToCompileError(NotTraceableError):
    """PyTorch's compiler would make nothing of a step."""


class CannotTurnError(Exception):
    """An operation depends on how its argument lies in memory, so that the axes of a graph stay as they are."""


class TooLargeError(Exception):
    """A step makes so many calls that tracing it may not pay back.

    Args:
        calls: How many.
    """

    # Said once for all shapes, after "because".
    tells = "it is large: it is traced once that can pay back"

    def __init__(self, calls: int) -> None:
        super().__init__(f"it makes {calls:,} ATen calls: tracing waits until it can pay back")
        self.calls = calls


class TooEarlyError(Exception):
    """One more shape of a batch was not seen often enough for a trace to pay back.

    Args:
        seconds: What tracing it is expected to take.
    """

    tells = "its shapes are many: each is traced once that can pay back"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"its shape is one of many: tracing waits until its {seconds:.1f} s can pay back")
        self.seconds = seconds


class StepMadeError(Exception):
    """Code of the user's raised something, its cause, after a step had been made: nobody may make it again."""


@contextmanager
def step_made() -> Iterator[None]:
    """Within it, what is raised is raised as the cause of a `StepMadeError`."""
    try:
        yield
    except Exception as error:
        raise StepMadeError from error


class TorchPluginError(BirdplaneError, RuntimeError):
    """Raised under `attach(..., strict=True)` where the plugin would otherwise fall back to the stock path."""


class TorchPluginWarning(UserWarning):
    """Says that a step runs on the stock path, and why."""

"""What the plugin raises and warns with."""

from birdplane_keras.errors import BirdplaneError


class NotTraceableError(Exception):
    """A step cannot be traced faithfully; the message is the reason, in words that follow "because"."""


class StateChangedError(NotTraceableError):
    """A step changed the Python state that it starts from. What only its first call makes is there at the second."""


class TorchPluginError(BirdplaneError, RuntimeError):
    """Raised under `attach(..., strict=True)` where the plugin would otherwise fall back to the stock path."""


class TorchPluginWarning(UserWarning):
    """Says that a step runs on the stock path, and why."""

"""Callbacks of each batch, where no callback listens: Keras hands each of them to a thread, which waits for ours."""

from collections.abc import Callable
from typing import Any

from birdplane_keras.torch_plugin.private_keras import ANNOUNCEMENTS, CallbackList, is_default


def leave_unheard(callbacks: Any, kind: str) -> None:
    """Makes a list of callbacks say nothing of batches to callbacks that have nothing to do then.

    Args:
        callbacks: What `fit`, `evaluate` or `predict` calls; anything but a plain list of Keras' stays.
        kind: `train`, `test` or `predict`.
    """
    if type(callbacks) is not CallbackList:
        return
    for name, names in _announcements(kind):
        is_own = name not in vars(callbacks) and getattr(CallbackList, name) is ANNOUNCEMENTS[name]
        if is_own and not _heard(callbacks, names):
            setattr(callbacks, name, Unheard(callbacks, names, getattr(callbacks, name)))


def nobody_hears(callbacks: Any, kind: str) -> bool:
    """Whether a list of callbacks says nothing of batches, and no callback would have something to do.

    Args:
        callbacks: As `leave_unheard` was given it.
        kind: `train`, `test` or `predict`.
    """
    return type(callbacks) is CallbackList and all(
        isinstance(vars(callbacks).get(name), Unheard) and not _heard(callbacks, names)
        for name, names in _announcements(kind)
    )


def _announcements(kind: str) -> list[tuple[str, tuple[str, str]]]:
    """Returns the calls by which a list announces batches, each with what a callback may override to hear of it."""
    # `Callback.on_train_batch_end` and the like call `on_batch_end`.
    return [(f"on_{kind}_batch_{when}", (f"on_{kind}_batch_{when}", f"on_batch_{when}")) for when in ("begin", "end")]


def _heard(callbacks: Any, names: tuple[str, ...]) -> bool:
    return not all(is_default(getattr(each, name)) for each in callbacks.callbacks for name in names)


class Unheard:
    """A call that does nothing as long as no callback has something to do.

    Args:
        callbacks: The list.
        names: What a callback may override to hear of it.
        said: The call that it stands for.
    """

    def __init__(self, callbacks: Any, names: tuple[str, ...], said: Callable[..., None]) -> None:
        self._callbacks, self._names, self._said = callbacks, names, said

    def __call__(self, batch: int, logs: Any = None) -> None:
        """Tells those who listen."""
        if _heard(self._callbacks, self._names):
            self._said(batch, logs)

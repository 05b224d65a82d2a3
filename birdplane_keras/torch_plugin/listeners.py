"""Callbacks after each batch, where no callback listens: Keras hands each of them to a thread, which waits for ours."""

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
    for when in ("begin", "end"):
        name = f"on_{kind}_batch_{when}"
        # `Callback.on_train_batch_end` and the like call `on_batch_end`.
        names = name, f"on_batch_{when}"
        is_own = name not in vars(callbacks) and getattr(CallbackList, name) is ANNOUNCEMENTS[name]
        if is_own and not _heard(callbacks, names):
            setattr(callbacks, name, _unheard(callbacks, names, getattr(callbacks, name)))


def _heard(callbacks: Any, names: tuple[str, ...]) -> bool:
    return not all(is_default(getattr(each, name)) for each in callbacks.callbacks for name in names)


def _unheard(callbacks: Any, names: tuple[str, ...], said: Callable[..., None]) -> Callable[..., None]:
    """Returns a call that does nothing as long as no callback has something to do."""

    def say(batch: int, logs: Any = None) -> None:
        if _heard(callbacks, names):
            said(batch, logs)

    return say

"""Callbacks after each batch, where no callback listens: Keras hands each of them to a thread, which waits for ours."""

from collections.abc import Callable
from typing import Any

from birdplane_keras.torch_plugin.private_keras import CallbackList, is_default


def leave_unheard(callbacks: Any, kind: str) -> None:
    """Makes a list of callbacks say nothing of batches to callbacks that have nothing to do then.

    Args:
        callbacks: What `fit`, `evaluate` or `predict` calls; anything but a plain list of Keras' stays.
        kind: `train`, `test` or `predict`.
    """
    if type(callbacks) is not CallbackList:
        return
    # `Callback.on_train_batch_end` and the like call `on_batch_end`.
    for when in ("begin", "end"):
        name = f"on_{kind}_batch_{when}"
        if name not in vars(callbacks) and not _heard(callbacks.callbacks, name, f"on_batch_{when}"):
            setattr(callbacks, name, _unheard(callbacks, getattr(callbacks, name)))


def _heard(callbacks: list, *names: str) -> bool:
    return not all(is_default(getattr(each, name)) for each in callbacks for name in names)


def _unheard(callbacks: Any, said: Callable[..., None]) -> Callable[..., None]:
    """Returns a call that does nothing as long as the same callbacks are in the list."""
    known = list(callbacks.callbacks)

    def say(batch: int, logs: Any = None) -> None:
        if callbacks.callbacks != known:
            said(batch, logs)

    return say

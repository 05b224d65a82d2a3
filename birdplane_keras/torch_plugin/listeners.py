"""Batches that no callback listens to: Keras hands each of them to a thread, which waits for ours, with its logs."""

from collections.abc import Callable
from types import CodeType
from typing import Any

import keras

from birdplane_keras.torch_plugin.private_keras import LOOPS, CallbackList, ends_in_its_metrics, is_default

Say = Callable[..., None]


class Listeners:
    """Whether anybody listens to the batches of an attached model."""

    def __init__(self) -> None:
        self._unheard: set[str] = set()  # kinds whose next step was announced to nobody

    def leave_unheard(self, callbacks: Any, kind: str) -> None:
        """Makes a list of callbacks say nothing of batches to callbacks that have nothing to do then.

        Args:
            callbacks: What `fit`, `evaluate` or `predict` calls; anything but a plain list of Keras' stays.
            kind: `train`, `test` or `predict`.
        """
        self._unheard.discard(kind)
        if type(callbacks) is not CallbackList:
            return
        # `Callback.on_train_batch_end` and the like call `on_batch_end`.
        begin, end = [(f"on_{kind}_batch_{when}", f"on_batch_{when}") for when in ("begin", "end")]
        silent_end = _put(callbacks, end)
        _put(callbacks, begin, lambda: self._expect(callbacks, kind, end, silent_end))

    def may_hear(self, model: keras.Model, kind: str, caller: CodeType) -> bool:
        """Tells whether anybody may read the logs of the next step of a kind.

        Nobody does where it was announced to nobody and Keras' own loop makes it, which asks the metrics in the end.

        Args:
            model: Whose step.
            kind: `train`, `test` or `predict`.
            caller: Who asks for the step.
        """
        if kind not in self._unheard:
            return True
        self._unheard.discard(kind)
        return caller is not LOOPS[kind] or not ends_in_its_metrics(model)

    def _expect(self, callbacks: Any, kind: str, end: tuple[str, ...], silent_end: Say | None) -> None:
        """Notes that a step begins of which nobody will be told, unless somebody began to listen to its end."""
        if silent_end is not None and vars(callbacks).get(end[0]) is silent_end and not _heard(callbacks, end):
            self._unheard.add(kind)


def _heard(callbacks: Any, names: tuple[str, ...]) -> bool:
    return not all(is_default(getattr(each, name)) for each in callbacks.callbacks for name in names)


def _put(callbacks: Any, names: tuple[str, ...], instead: Callable[[], None] = lambda: None) -> Say | None:
    """Makes a list say nothing as long as no callback has something to do; returns its new method, if it has one."""
    if names[0] in vars(callbacks) or _heard(callbacks, names):
        return None
    said = getattr(callbacks, names[0])

    def say(batch: int, logs: Any = None) -> None:
        if _heard(callbacks, names):
            said(batch, logs)
        else:
            instead()

    setattr(callbacks, names[0], say)
    return say

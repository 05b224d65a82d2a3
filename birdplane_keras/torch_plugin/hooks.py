"""How a model asks its attachment for the functions of its steps, and tells where an epoch begins."""

import sys
from collections.abc import Callable
from typing import Any

import keras

from birdplane_keras.torch_plugin.audit_schedule import AuditSchedule
from birdplane_keras.torch_plugin.entries import Entries
from birdplane_keras.torch_plugin.indexed import take_by_index
from birdplane_keras.torch_plugin.listeners import leave_unheard

KINDS = ("train", "test", "predict")


class Hooks:
    """What stands in a model's own place while it is attached.

    Args:
        model: A Keras model.
        audits: Learns where an epoch begins.
        entries: Whose traces of replaced code end there.
        start: From a kind of step; sets the model's function of that kind.
    """

    def __init__(
        self, model: keras.Model, audits: AuditSchedule, entries: Entries, start: Callable[[str], None]
    ) -> None:
        self._model, self._audits, self._entries, self._start = model, audits, entries, start

    def put_in(self) -> None:
        """Makes the model ask, and tell; a loop that is running finds its function changed."""
        for kind in KINDS:
            vars(self._model)[f"make_{kind}_function"] = self._maker(kind)
            self._make_anew(kind)
        vars(self._model)["reset_metrics"] = self._reset_metrics

    def take_out(self) -> None:
        """Gives the model its own functions back."""
        for kind in KINDS:
            vars(self._model).pop(f"make_{kind}_function", None)
            self._make_anew(kind)
        vars(self._model).pop("reset_metrics", None)

    def _make_anew(self, kind: str) -> None:
        """Lets a function that the model has be made again, by whoever makes it now."""
        had = getattr(self._model, f"{kind}_function") is not None
        setattr(self._model, f"{kind}_function", None)
        if had:
            getattr(self._model, f"make_{kind}_function")()

    def _reset_metrics(self) -> None:
        """Resets the metrics, as an epoch does when it begins; `train_on_batch` does so, too, from Keras 3.15 on."""
        if not sys._getframe(1).f_code.co_name.endswith("_on_batch"):
            self._audits.begin("train", "test")
            self._entries.drop_replaced()
        type(self._model).reset_metrics(self._model)

    def _maker(self, kind: str) -> Callable[..., Any]:
        def make_function(force: bool = False) -> Any:
            frame = sys._getframe(1)
            caller = frame.f_code.co_name
            take_by_index(frame.f_locals.get("epoch_iterator"))
            leave_unheard(frame.f_locals.get("callbacks"), kind)
            if caller == kind:  # `predict`
                self._audits.begin(kind)
            elif caller == f"{kind}_on_batch":
                self._audits.begin_single_batch(kind)
            self._entries.drop_replaced()
            current = getattr(self._model, f"{kind}_function")
            if current is None or force:
                self._start(kind)
            return getattr(self._model, f"{kind}_function")

        return make_function

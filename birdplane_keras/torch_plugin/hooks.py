"""How a model asks its attachment for the functions of its steps, and tells where an epoch begins."""

import sys
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import keras

from birdplane_keras.torch_plugin.audit_schedule import AuditSchedule
from birdplane_keras.torch_plugin.batches import result_of
from birdplane_keras.torch_plugin.entries import Entries
from birdplane_keras.torch_plugin.indexed import take_by_index
from birdplane_keras.torch_plugin.listeners import leave_unheard, nobody_hears
from birdplane_keras.torch_plugin.private_keras import STOCK_LOOPS

KINDS = ("train", "test", "predict")


def never() -> bool:
    """Several batches are not taken at once by a loop that is not Keras' own, nor by `fit`."""
    return False


class Hooks:
    """What stands in a model's own place while it is attached.

    Args:
        model: A Keras model.
        audits: Learns where an epoch begins.
        entries: Whose traces of replaced code end there.
        refused: Kind of step -> why the model itself cannot be traced.
        start: From a kind of step; sets the model's function of that kind.
    """

    def __init__(
        self,
        model: keras.Model,
        audits: AuditSchedule,
        entries: Entries,
        refused: Mapping[str, str],
        start: Callable[[str], None],
    ) -> None:
        self._model, self._audits, self._entries, self._start = model, audits, entries, start
        self._refused = refused
        self._iterators: weakref.WeakSet[Any] = weakref.WeakSet()  # which hand over several batches at once
        self._are_put_in = False

    def put_in(self) -> None:
        """Makes the model ask, and tell; a loop that is running finds its function changed."""
        for kind in KINDS:
            vars(self._model)[f"make_{kind}_function"] = self._maker(kind)
            self._make_anew(kind)
        vars(self._model)["reset_metrics"] = self._reset_metrics
        self._are_put_in = True

    def take_out(self) -> None:
        """Gives the model its own functions back."""
        self._are_put_in = False
        for kind in KINDS:
            vars(self._model).pop(f"make_{kind}_function", None)
            self._make_anew(kind)
            if self._iterators and getattr(self._model, f"{kind}_function") is not None:  # an epoch is going on
                self._batch_by_batch(kind)
        vars(self._model).pop("reset_metrics", None)

    def _make_anew(self, kind: str) -> None:
        """Lets a function that the model has be made again, by whoever makes it now."""
        had = getattr(self._model, f"{kind}_function") is not None
        setattr(self._model, f"{kind}_function", None)
        if had:
            getattr(self._model, f"make_{kind}_function")()

    def _batch_by_batch(self, kind: str) -> None:
        """Calls the model's own function, which looks at the first alone of several batches, for each of them.

        It is in its place again when a batch comes by itself.
        """
        name, own = f"{kind}_function", getattr(self._model, f"{kind}_function")

        def function(batches: list[Any]) -> Any:
            if len(batches) == 1:
                setattr(self._model, name, own)
            return result_of(kind, [own([batch]) for batch in batches])

        setattr(self._model, name, function)

    def _reset_metrics(self) -> None:
        """Resets the metrics, as an epoch does when it begins; `train_on_batch` does so, too, from Keras 3.15 on."""
        if not sys._getframe(1).f_code.co_name.endswith("_on_batch"):
            self._audits.begin("train", "test")
            self._entries.drop_replaced()
        type(self._model).reset_metrics(self._model)

    def _may_take_several(self, kind: str, callbacks: Any, iterator: weakref.ref) -> bool:
        """Whether `evaluate` or `predict` may make several steps at once: nobody hears of one, and it is traced."""
        is_traced = self._are_put_in and kind not in self._refused
        may = is_traced and nobody_hears(callbacks, kind)
        if may:
            self._iterators.add(iterator())
        return may

    def _maker(self, kind: str) -> Callable[..., Any]:
        def make_function(force: bool = False) -> Any:
            frame = sys._getframe(1)
            caller = frame.f_code.co_name
            callbacks = frame.f_locals.get("callbacks")
            leave_unheard(callbacks, kind)
            iterator = frame.f_locals.get("epoch_iterator")
            is_stock = frame.f_code is STOCK_LOOPS.get(kind)
            asked = partial(self._may_take_several, kind, callbacks, weakref.ref(iterator)) if is_stock else never
            take_by_index(iterator, asked)
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

"""Puts the traced steps in the place of a model's own, batch by batch, and keeps account of it."""

import sys
import time
import warnings
from collections.abc import Callable, Hashable
from typing import Any

import keras
import torch
from keras import tree

from birdplane_keras.torch_plugin.audits import AuditFailedError, audited
from birdplane_keras.torch_plugin.batches import (
    describe,
    flatten,
    mode_that_is_on,
    rebuild,
    require_plain,
    signature,
)
from birdplane_keras.torch_plugin.entries import Entries, Entry
from birdplane_keras.torch_plugin.errors import (
    NotTraceableError,
    StateChangedError,
    TooEarlyError,
    TooLargeError,
    TorchPluginError,
    TorchPluginWarning,
)
from birdplane_keras.torch_plugin.layout import lay_out_as_keras, lay_out_for_parity, lay_out_for_parts
from birdplane_keras.torch_plugin.patience import SAVED, Patience
from birdplane_keras.torch_plugin.private_keras import STOCK_TRAINER, compiled_parts
from birdplane_keras.torch_plugin.steps import Settings, Step
from birdplane_keras.torch_plugin.trying import auditing, trying
from birdplane_keras.torch_plugin.updates import is_plain_sgd

KINDS = ("train", "test", "predict")
PLUGIN_ATTRIBUTE = "_birdplane_torch_plugin"  # where an attached model keeps its attachment
AUDITS = ("epoch", "step", "never")
MOST_AUDITS_FAILED = 2


def stock_path(kind: str, reason: str) -> str:
    """Returns the sentence that says where a step runs, and why."""
    return f"the {kind} step runs on Keras' stock path, because {reason}"


class Attachment:
    """What `attach` hangs on a model.

    Args:
        model: A Keras model.
        engine: `exact` or `fused`.
        strict: Raise instead of falling back.
        audit: When a step is made stock, too: `epoch`, `step` or `never`.
        traces: How many traces of a kind of step are held at most.
    """

    def __init__(self, model: keras.Model, engine: str, strict: bool, audit: str, traces: int) -> None:
        self.model, self.engine, self.strict, self.audit = model, engine, strict, audit
        self.settings = Settings(engine=engine, keep_gradients=engine == "exact")
        self.entries = Entries(most=traces)
        self.refused: dict[str, str] = {}  # kind -> reason, where the model itself cannot be traced
        self._stock: dict[str, Callable] = {}
        self._said: set[tuple[str, str]] = set()
        self._compiled: tuple = ()
        self._due: set[str] = set()  # kinds whose next step is the first of an epoch, or of an evaluation
        self._failed_audits = dict.fromkeys(KINDS, 0)
        self._patience = Patience(self.entries, waits=not strict)

    def hook_in(self) -> None:
        """Makes the model ask this object for its functions, and tell it where an epoch begins."""
        for kind in KINDS:
            vars(self.model)[f"make_{kind}_function"] = self._maker(kind)
            setattr(self.model, f"{kind}_function", None)
        vars(self.model)["reset_metrics"] = self._reset_metrics

    def unhook(self) -> None:
        """Gives the model its own functions back, and its kernels their layout."""
        lay_out_as_keras(self.model)
        for kind in KINDS:
            vars(self.model).pop(f"make_{kind}_function", None)
            setattr(self.model, f"{kind}_function", None)
        vars(self.model).pop("reset_metrics", None)

    def refusal(self, kind: str) -> str | None:
        """Returns why a kind of step can never be traced; `None` where it may be."""
        model = self.model
        for name in (f"{kind}_step", f"make_{kind}_function"):
            if getattr(type(model), name, None) is not getattr(STOCK_TRAINER, name):
                return f"{type(model).__name__} has a `{name}` of its own"
        if f"{kind}_step" in vars(model):
            return f"the model has a `{kind}_step` of its own"
        if model.compiled and model.jit_compile:
            return "the model is compiled with `jit_compile=True`"
        if model.compiled and model.run_eagerly:
            return "the model is compiled with `run_eagerly=True`"
        if keras.distribution.distribution() is not None:
            return "a Keras distribution is set"
        if kind == "train" and model.compiled and model.optimizer is None:
            return "the model has no optimizer"
        return None

    def _reset_metrics(self) -> None:
        self._due |= {"train", "test"}
        self.entries.drop_replaced()
        type(self.model).reset_metrics(self.model)

    def _maker(self, kind: str) -> Callable:
        def make_function(force: bool = False) -> Callable:
            if sys._getframe(1).f_code.co_name == kind:  # `predict`; `predict_on_batch` comes by for each batch
                self._due.add(kind)
            self.entries.drop_replaced()
            current = getattr(self.model, f"{kind}_function")
            if current is None or force:
                self._start(kind)
            return getattr(self.model, f"{kind}_function")

        return make_function

    def _start(self, kind: str) -> None:
        """Sets the model's function of a kind: after `attach`, and again after `compile`."""
        model = self.model
        compiled = compiled_parts(model)
        if any(now is not then for now, then in zip(compiled, self._compiled or (None,) * len(compiled), strict=True)):
            self.entries.clear()  # traces of another optimizer, loss or metric
        self._compiled = compiled
        self._stock[kind] = self._stock_function(kind)
        self.refused.pop(kind, None)
        reason = self.refusal(kind)
        if reason is not None:
            self._fall_back(kind, reason)
            self.refused[kind] = reason
        one_step = self._stock[kind] if reason is not None else lambda data: self._step(kind, data)

        def function(batches: list) -> Any:
            results = [one_step(data) for data in batches]
            if kind == "predict" and len(results) > 1:
                return tree.map_structure(lambda *parts: torch.cat(parts), *results)
            return results[-1]

        setattr(model, f"{kind}_function", function)

    def _stock_function(self, kind: str) -> Callable:
        """Returns Keras' function for one batch, which is made for one step per execution only."""
        model = self.model
        wanted, model.steps_per_execution = model.steps_per_execution, 1
        try:
            getattr(type(model), f"make_{kind}_function")(model, force=True)
            stock = getattr(model, f"{kind}_function")
        finally:
            model.steps_per_execution = wanted
        return lambda data: stock([data])

    def _step(self, kind: str, data: Any) -> Any:
        leaves: list[torch.Tensor] = []
        try:
            mode = mode_that_is_on(kind)
            if mode is not None:
                raise NotTraceableError(mode)
            key = (kind, signature(flatten(data, leaves), leaves))
        except NotTraceableError as reason:
            self._fall_back(kind, str(reason))
            return self._stock[kind](data)
        entry = self.entries.find(key)
        if entry is None:
            with trying(kind):
                entry = self.entries.find(key)  # another thread may have made it meanwhile
                if entry is None:
                    return self._first_step(kind, key, data, leaves)
        entry.steps += 1
        if entry.step is None:
            return self._timed_stock(entry, data) if entry.wait else self._stock[kind](data)
        if self.audit == "step" or (self._due and kind in self._due):
            self._due.discard(kind)
            if self.audit != "never":
                return self._audited(entry, key, data, leaves)
        return entry.step.run(data, leaves)

    def _timed_stock(self, entry: Entry, data: Any) -> Any:
        """Makes a stock step of a large model, whose trace waits until it can pay back."""
        started = time.perf_counter()
        result = self._stock[entry.kind](data)
        entry.stock_seconds += time.perf_counter() - started
        if entry.stock_seconds * SAVED >= entry.wait:
            self.entries.drop(entry)
        return result

    def _audited(self, entry: Entry, key: Hashable, data: Any, leaves: list[torch.Tensor]) -> Any:
        kind, step = entry.kind, entry.step
        assert step is not None
        with auditing():
            try:
                return audited(step, entry, lambda: self._stock[kind](rebuild(data, list(leaves))), data, leaves)
            except AuditFailedError as failed:
                self.entries.drop(entry)
                self._failed_audits[kind] += 1
                again = self._failed_audits[kind] < MOST_AUDITS_FAILED
                ends = "its trace is dropped and made anew" if again else "it runs on Keras' stock path from now on"
                self._refuse(kind, f"an audit of the {kind} step found that {failed}; {ends}")
                if not again:
                    reason = f"{MOST_AUDITS_FAILED} audits found that it differed, the last that {failed}"
                    self.entries.add(Entry(key=key, kind=kind, batch=describe(leaves), step=None, reason=reason))
                    self.refused[kind] = reason
                return failed.stock_result

    def _first_step(self, kind: str, key: Hashable, data: Any, leaves: list[torch.Tensor]) -> Any:
        """Makes a step for which there is no trace yet."""
        started = time.perf_counter()
        step, reason, failed, wait = None, "", None, 0.0
        tells = ""
        self._due.discard(kind)  # its trial compares it with the stock step, and more closely
        try:
            refusal = self.refusal(kind)  # a step of the model's own may have been set meanwhile
            if refusal is not None:
                raise NotTraceableError(refusal)
            self._patience.require_room(kind, key)
            self._patience.require_time(kind, key)
            if kind == "train" and not self.model.trainable_weights:
                raise NotTraceableError("there is nothing to train")
            if self._failed_audits[kind] >= MOST_AUDITS_FAILED:
                raise NotTraceableError(self.refused.get(kind, "audits failed"))
            require_plain(leaves)
            if leaves and leaves[0].ndim and self._lay_out(len(leaves[0])):
                self.entries.clear()  # traces of another layout
            most_calls = self._patience.most_calls(key)
            step = Step(self.model, kind, self.settings, rebuild(data, list(leaves)), leaves, most_calls)
        except (TooEarlyError, TooLargeError) as error:
            wait, reason, tells = self._patience.wait_for(key, error), str(error), error.tells
        except StateChangedError as error:
            if self._patience.may_try_again(key):
                if lay_out_as_keras(self.model):
                    self.entries.clear()
                return self._stock[kind](data)  # which makes what is missing; the next step is tried
            reason = str(error)
        except NotTraceableError as error:
            reason = str(error)
        except Exception as error:  # the user's own, if the stock step raises it, too
            failed = error
        if step is not None:
            result = step.take_first_result()
            if step.metrics_refusal:
                self._refuse(kind, f"in the {kind} step, the metrics run in Python: {step.metrics_refusal}")
        else:
            if wait:
                self._refuse(kind, f"a {kind} step runs on Keras' stock path at first, because {tells}")
            elif failed is None:
                self._fall_back(kind, reason)
            result = self._stock[kind](data)
            if failed is not None:
                reason = f"its trial failed ({type(failed).__name__}: {failed})"
                self._fall_back(kind, reason)
        seconds = time.perf_counter() - started
        self.entries.add(
            Entry(key=key, kind=kind, batch=describe(leaves), step=step, reason=reason, seconds=seconds, wait=wait)
        )
        return result

    def _lay_out(self, batch_size: int) -> bool:
        """Lays the kernels out as the engine wants, unless something runs on the stock path, which rounds by that, too.

        Returns:
            Whether anything was laid out anew.
        """
        if self.refused or self.entries.any_declined():
            return False
        if self.engine == "exact":
            return lay_out_for_parity(self.model, batch_size)
        return is_plain_sgd(getattr(self.model, "optimizer", None), []) and lay_out_for_parts(self.model)

    def _fall_back(self, kind: str, reason: str) -> None:
        """Says that a kind of step, or a signature of it, runs on the stock path, on kernels laid out as Keras does."""
        if lay_out_as_keras(self.model):
            self.entries.clear()
        self._refuse(kind, stock_path(kind, reason))

    def _refuse(self, kind: str, message: str) -> None:
        """Warns, once, or raises."""
        if self.strict:
            raise TorchPluginError(f"attached with strict=True: {message}")
        if (kind, message) not in self._said:
            self._said.add((kind, message))
            warnings.warn(f"torch_plugin: {message}", TorchPluginWarning, stacklevel=2)

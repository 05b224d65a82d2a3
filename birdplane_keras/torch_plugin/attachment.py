"""Puts the traced steps in the place of a model's own, batch by batch, and keeps account of it."""

import time
import warnings
from collections import Counter
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

import keras
import torch

from birdplane_keras.torch_plugin.audit_schedule import AuditSchedule
from birdplane_keras.torch_plugin.audits import AuditFailedError, AuditRefusedError, audited, proved
from birdplane_keras.torch_plugin.batches import (
    describe,
    family_of,
    mode_that_is_on,
    rebuild,
    result_of,
    signature,
)
from birdplane_keras.torch_plugin.choosing import Choice
from birdplane_keras.torch_plugin.entries import Entries, Entry
from birdplane_keras.torch_plugin.errors import (
    NotTraceableError,
    StateChangedError,
    StepMadeError,
    TooEarlyError,
    TooLargeError,
    TorchPluginError,
    TorchPluginWarning,
)
from birdplane_keras.torch_plugin.families import Families
from birdplane_keras.torch_plugin.hooks import KINDS, Hooks
from birdplane_keras.torch_plugin.layout import lay_out_as_keras, lay_out_for
from birdplane_keras.torch_plugin.patience import Patience
from birdplane_keras.torch_plugin.private_keras import compiled_parts
from birdplane_keras.torch_plugin.steps import Settings, Step
from birdplane_keras.torch_plugin.stock import refusal_of, require_traceable, stock_function, stock_path
from birdplane_keras.torch_plugin.trying import auditing, trying
from birdplane_keras.user_code import warning_level

PLUGIN_ATTRIBUTE = "_birdplane_torch_plugin"  # where an attached model keeps its attachment
AUDITS = ("auto", "epoch", "step", "never")
MOST_AUDITS_FAILED = 2
STOPS = {"test": "stop_evaluating", "predict": "stop_predicting"}  # who sets it waits for one batch at most


class Attachment:
    """What `attach` hangs on a model.

    Args:
        model: A Keras model.
        engine: `exact`, `fused` or `compiled`; `None` for the faster of the last two, as measured.
        strict: Raise instead of falling back.
        audit: When a step is made stock, too: `auto`, `epoch`, `step` or `never`.
        traces: How many traces of a kind of step are held at most.
    """

    def __init__(self, model: keras.Model, engine: str | None, strict: bool, audit: str, traces: int) -> None:
        self.model, self.strict, self.audits = model, strict, AuditSchedule(audit)
        self.engine, self.chooses = engine or "fused", engine is None
        self.settings = Settings(keep_gradients=engine == "exact")
        self.entries = Entries(most=traces)
        self.modes: Counter[tuple[str, str]] = Counter()  # kind, which mode of PyTorch was on -> steps made stock
        self.refused: dict[str, str] = {}  # kind -> reason, where the model itself cannot be traced
        self._hooks = Hooks(model, self.audits, self.entries, self.refused, self._start)
        self._stock: dict[str, Callable] = {}
        self._said: set[tuple[str, str]] = set()
        self._compiled: tuple = ()
        self._failed_audits = dict.fromkeys(KINDS, 0)
        self._patience = Patience(self.entries, waits=not strict)
        self.families = Families(self.entries)

    def hook_in(self) -> None:
        """Makes the model ask this object for its functions, and tell it where an epoch begins."""
        self._hooks.put_in()

    def unhook(self) -> None:
        """Gives the model its own functions back, and its kernels their layout."""
        lay_out_as_keras(self.model)
        self._hooks.take_out()

    def _start(self, kind: str) -> None:
        """Sets the model's function of a kind: after `attach`, and again after `compile`."""
        model = self.model
        compiled = compiled_parts(model)
        if any(now is not then for now, then in zip(compiled, self._compiled or (None,) * len(compiled), strict=True)):
            self.entries.clear()  # traces of another optimizer, loss or metric
        self._compiled = compiled
        self._stock[kind] = stock_function(self.model, kind)
        self.refused.pop(kind, None)
        reason = refusal_of(self.model, kind)
        if reason is not None:
            self._fall_back(kind, reason)
            self.refused[kind] = reason
        one_step = self._stock[kind] if reason is not None else lambda data: self._step(kind, data)

        def function(batches: list) -> Any:
            results = [one_step(batches[0])]
            for data in batches[1:]:
                if kind in STOPS and getattr(model, STOPS[kind], False):
                    break
                results.append(one_step(data))
            return result_of(kind, results)

        setattr(model, f"{kind}_function", function)

    def _step(self, kind: str, data: Any) -> Any:
        leaves: list[torch.Tensor] = []
        try:
            mode = mode_that_is_on(kind)
            if mode is not None:
                self.modes[kind, mode] += 1
                raise NotTraceableError(mode)
            key = (kind, signature(data, leaves))
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
        if self.audits.asks_for(kind):
            return self._audited(entry, key, data, leaves)
        if entry.choice is not None and entry.choice.is_open:
            return entry.choice.run(data, leaves)
        return entry.step.run(data, leaves)

    def _timed_stock(self, entry: Entry, data: Any) -> Any:
        """Makes a stock step of a large model, whose trace waits until it can pay back."""
        started = time.perf_counter()
        result = self._stock[entry.kind](data)
        entry.stock_seconds += time.perf_counter() - started
        if self._patience.pays_back(entry):
            self.entries.drop(entry)
        return result

    def _audited(self, entry: Entry, key: Hashable, data: Any, leaves: list[torch.Tensor]) -> Any:
        kind, step = entry.kind, entry.step
        assert step is not None
        with auditing():
            started = time.perf_counter()
            try:
                result = audited(step, entry, lambda: self._stock[kind](rebuild(data, list(leaves))), data, leaves)
                self.audits.takes(kind, time.perf_counter() - started, entry.traced_seconds)
                return result
            except AuditFailedError as failed:
                self.entries.drop(entry)
                self._failed_audits[kind] += 1
                again = self._failed_audits[kind] < MOST_AUDITS_FAILED
                ends = "its trace is dropped and made again" if again else "it runs on Keras' stock path from now on"
                self._refuse(kind, f"an audit of the {kind} step found that {failed}; {ends}")
                if not again:
                    reason = f"{MOST_AUDITS_FAILED} audits found that it differed, the last that {failed}"
                    self.entries.add(Entry(key=key, kind=kind, batch=describe(leaves), step=None, reason=reason))
                    self.refused[kind] = reason
                return failed.stock_result

    def _first_step(self, kind: str, key: tuple, data: Any, leaves: list[torch.Tensor]) -> Any:
        """Makes a step for which there is no trace yet."""
        self.audits.passes(kind)  # it is compared with the stock step now, and more closely
        started = time.perf_counter()
        entry = Entry(key=key, kind=kind, batch=describe(leaves), step=None, family=family_of(kind, key[1], leaves))
        entry.sizes = tuple([leaf.shape for leaf in leaves])
        try:
            require_traceable(self.model, kind, leaves)
            if self._failed_audits[kind] >= MOST_AUDITS_FAILED:
                raise NotTraceableError(self.refused.get(kind, "audits failed"))
        except NotTraceableError as error:
            entry.reason = str(error)
        else:
            if leaves and leaves[0].ndim and self._lay_out(len(leaves[0])):
                self.entries.clear()  # traces of another layout
            entry.step = self.families.step_for(entry.family, key, leaves)
        if entry.step is not None:
            result = self._shared(entry, data, leaves)
        elif entry.reason:
            self._fall_back(kind, entry.reason)
            result = self._stock[kind](data)
        else:
            result = self._tried(entry, data, leaves)
        entry.seconds = time.perf_counter() - started
        if entry.step is not None or entry.reason:
            self.entries.add(entry)
        if self.chooses and entry.step is not None and not entry.free:
            entry.choice = Choice(entry, partial(self._compiled_step, kind))
        return result

    def _compiled_step(self, kind: str, data: Any, leaves: list[torch.Tensor]) -> Step:
        """Returns the trace of a step, compiled, which has been made; it was traced otherwise before."""
        with trying(kind):
            return Step(self.model, kind, "compiled", self.settings, rebuild(data, list(leaves)), leaves)

    def _shared(self, entry: Entry, data: Any, leaves: list[torch.Tensor]) -> Any:
        """Makes the first step of a batch from the trace of another size, and stock, too."""
        assert entry.step is not None
        try:
            return proved(entry.step, entry, lambda: self._stock[entry.kind](rebuild(data, list(leaves))), data, leaves)
        except AuditFailedError as failed:
            result = failed.stock_result
        except AuditRefusedError:
            result = self._stock[entry.kind](data)
        entry.step = None  # the next such batch gets a trace of its own
        self.families.set_apart(entry.key)
        return result

    def _tried(self, entry: Entry, data: Any, leaves: list[torch.Tensor]) -> Any:
        """Makes the first step of a batch while it is traced; where it cannot be, the reason is noted."""
        kind, failed = entry.kind, None
        try:
            self._patience.require_room(kind, entry.key)
            step = self._traced(entry, data, leaves)
        except (TooEarlyError, TooLargeError) as error:
            entry.wait, entry.reason = self._patience.wait_for(entry.key, error), str(error)
            if not any(each.step for each in self.entries):
                lay_out_as_keras(self.model)  # stock steps round by how kernels lie
            self._refuse(kind, f"a {kind} step runs on Keras' stock path at first, because {error.tells}")
        except StateChangedError as error:
            if self._patience.may_try_again(entry.key):
                if lay_out_as_keras(self.model):
                    self.entries.clear()
                return self._stock[kind](data)  # which makes what is missing; the next step is tried
            entry.reason = str(error)
            self._fall_back(kind, entry.reason)
        except NotTraceableError as error:
            entry.reason = str(error)
            self._fall_back(kind, entry.reason)
        except StepMadeError as error:
            raise (error.__cause__ or error) from None
        except Exception as error:  # the user's own, if the stock step raises it, too
            failed = error
        else:
            if entry.free and step.metrics_refusal:  # the next such batch gets a trace of its own
                self.families.refuse(entry.family, step.metrics_refusal)
                return step.take_first_result()
            entry.step = step
            if step.metrics_refusal:
                self._refuse(kind, f"in the {kind} step, the metrics run in Python: {step.metrics_refusal}")
            if step.compile_refusal:
                self._refuse(kind, f"the {kind} step runs as in the engine `fused`, because {step.compile_refusal}")
            return step.take_first_result()
        if failed is not None and lay_out_as_keras(self.model):  # it may be that it reads a kernel as it lies
            self.entries.clear()
        result = self._stock[kind](data)
        if failed is not None:
            entry.reason = f"its trial failed ({type(failed).__name__}: {failed})"
            self._fall_back(kind, entry.reason)
        return result

    def _traced(self, entry: Entry, data: Any, leaves: list[torch.Tensor]) -> Step:
        """Returns the trace of a step, which has been made; of several sizes where that can be had."""
        batch, most_calls = rebuild(data, list(leaves)), self._patience.most_calls(entry.key)
        entry.free = self.families.free_sizes(entry.family, entry.key, leaves)
        if entry.free:
            try:
                return Step(self.model, entry.kind, self.engine, self.settings, batch, leaves, most_calls, entry.free)
            except StateChangedError:
                raise
            except NotTraceableError as reason:
                self.families.refuse(entry.family, str(reason))
                entry.free = set()
        self._patience.require_time(entry.kind, entry.key)
        return Step(self.model, entry.kind, self.engine, self.settings, batch, leaves, most_calls)

    def _lay_out(self, batch_size: int) -> bool:
        """Lays the kernels out as the engine wants, unless something runs on the stock path, which rounds by that, too.

        Returns:
            Whether anything was laid out again.
        """
        stock_is_run = bool(self.refused) or self.entries.any_stock()
        return not stock_is_run and lay_out_for(self.engine, self.model, batch_size)

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
            warnings.warn(f"torch_plugin: {message}", TorchPluginWarning, stacklevel=warning_level())

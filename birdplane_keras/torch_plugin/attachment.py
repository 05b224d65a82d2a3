"""Puts the traced steps in the place of a model's own, batch by batch, and keeps account of it."""

import time
import warnings
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import keras
import torch
from keras import tree
from keras.src.backend.torch.trainer import TorchTrainer

from birdplane_keras.torch_plugin.batches import describe, flatten, rebuild, require_plain, signature
from birdplane_keras.torch_plugin.errors import (
    NotTraceableError,
    StateChangedError,
    TorchPluginError,
    TorchPluginWarning,
)
from birdplane_keras.torch_plugin.layout import lay_out_as_keras, lay_out_for_parity, lay_out_for_parts
from birdplane_keras.torch_plugin.steps import Settings, Step
from birdplane_keras.torch_plugin.updates import is_plain_sgd
from birdplane_keras.torch_plugin.watch import Watch, watch_model

KINDS = ("train", "test", "predict")
# A model whose Python numbers change more often than this would spend its time on tracing.
MOST_TRACES = 8


@dataclass(kw_only=True)
class Entry:
    """A signature's trace, or the reason why there is none.

    Args:
        kind: `train`, `test` or `predict`.
        batch: The batch's shapes and types in words.
        watch: Over the model; the entry holds as long as nothing has changed.
        step: The trace; `None` where the stock step runs.
        reason: Why, then.
        seconds: What it took to find out, the first step included.
        steps: How many steps it has made.
    """

    kind: str
    batch: str
    watch: Watch
    step: Step | None
    reason: str
    seconds: float
    steps: int = 1


def stock_path(kind: str, reason: str) -> str:
    """Returns the sentence that says where a step runs, and why."""
    return f"the {kind} step runs on Keras' stock path, because {reason}"


class Attachment:
    """What `attach` hangs on a model.

    Args:
        model: A Keras model.
        engine: `exact` or `fused`.
        strict: Raise instead of falling back.
    """

    def __init__(self, model: keras.Model, engine: str, strict: bool) -> None:
        self.model, self.engine, self.strict = model, engine, strict
        self.settings = Settings(engine=engine, keep_gradients=engine == "exact")
        self.entries: dict[Hashable, list[Entry]] = {}
        self.refused: dict[str, str] = {}  # kind -> reason, where the model itself cannot be traced
        self._stock: dict[str, Callable] = {}
        self._said: set[tuple[str, str]] = set()
        self._compiled: tuple = ()

    def hook_in(self) -> None:
        """Makes the model ask this object for its functions."""
        for kind in KINDS:
            vars(self.model)[f"make_{kind}_function"] = self._maker(kind)
            setattr(self.model, f"{kind}_function", None)

    def unhook(self) -> None:
        """Gives the model its own functions back, and its kernels their layout."""
        lay_out_as_keras(self.model)
        for kind in KINDS:
            vars(self.model).pop(f"make_{kind}_function", None)
            setattr(self.model, f"{kind}_function", None)

    def refusal(self, kind: str) -> str | None:
        """Returns why a kind of step can never be traced; `None` where it may be."""
        model = self.model
        for name in (f"{kind}_step", f"make_{kind}_function"):
            if getattr(type(model), name, None) is not getattr(TorchTrainer, name):
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

    def _maker(self, kind: str) -> Callable:
        def make_function(force: bool = False) -> Callable:
            current = getattr(self.model, f"{kind}_function")
            if current is None or force:
                self._start(kind)
            return getattr(self.model, f"{kind}_function")

        return make_function

    def _start(self, kind: str) -> None:
        """Sets the model's function of a kind: after `attach`, and again after `compile`."""
        model = self.model
        compiled = (getattr(model, "optimizer", None), model._compile_loss, model._compile_metrics, model._loss_tracker)
        if any(now is not then for now, then in zip(compiled, self._compiled or (None,) * 4, strict=True)):
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
            key = (kind, signature(flatten(data, leaves), leaves))
        except NotTraceableError as reason:
            self._fall_back(kind, str(reason))
            return self._stock[kind](data)
        for entry in self.entries.get(key, ()):
            if entry.step is None or entry.step.holds():
                entry.steps += 1
                return self._stock[kind](data) if entry.step is None else entry.step.run(data, leaves)
        return self._first_step(kind, key, data, leaves)

    def _first_step(self, kind: str, key: Hashable, data: Any, leaves: list[torch.Tensor]) -> Any:
        """Makes a step for which there is no trace yet."""
        started = time.perf_counter()
        entries = self.entries.get(key, [])
        watch = Watch([])
        step, reason, failed = None, "", None
        try:
            if len(entries) >= MOST_TRACES:
                changed = entries[-1].watch.first_change() or "Python state"
                raise NotTraceableError(
                    f"{changed} has changed {MOST_TRACES} times, and each value needs its own trace"
                )
            if kind == "train" and not self.model.trainable_weights:
                raise NotTraceableError("there is nothing to train")
            require_plain(leaves)
            if leaves and self._lay_out(len(leaves[0])):
                self.entries.clear()  # traces of another layout
            watch = watch_model(self.model)
            if watch.hook() is not None:
                raise NotTraceableError(f"a hook waits on {watch.hook()}")
            arguments = (self.model, kind, self.settings, rebuild(data, list(leaves)), leaves)
            try:
                step = Step(*arguments, watch)
            except StateChangedError:
                watch = watch_model(self.model)
                step = Step(*arguments, watch)
        except NotTraceableError as error:
            reason = str(error)
            watch.put_back()
        except Exception as error:  # the user's own, if the stock step raises it, too
            failed = error
            watch.put_back()
        if step is not None:
            result = step.take_first_result()
            if step.metrics_refusal:
                self._refuse(kind, f"in the {kind} step, the metrics run in Python: {step.metrics_refusal}")
        else:
            if failed is None:
                self._fall_back(kind, reason)
            result = self._stock[kind](data)
            if failed is not None:
                reason = f"its trial failed ({type(failed).__name__}: {failed})"
                self._fall_back(kind, reason)
        entries = self.entries.setdefault(key, [])
        if len(entries) < MOST_TRACES:
            seconds = time.perf_counter() - started
            entries.append(
                Entry(
                    kind=kind,
                    batch=describe(leaves),
                    watch=watch if step is not None else Watch([]),  # a refusal holds until `compile` or `attach`
                    step=step,
                    reason=reason,
                    seconds=seconds,
                )
            )
        return result

    def _lay_out(self, batch_size: int) -> bool:
        """Lays the kernels out as the engine wants, unless something runs on the stock path, which rounds by that, too.

        Returns:
            Whether anything was laid out anew.
        """
        if self.refused or any(entry.step is None for each in self.entries.values() for entry in each):
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

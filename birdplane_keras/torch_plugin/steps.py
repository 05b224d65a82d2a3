"""The three steps of a Keras model, in two traced parts each, with the update between them as in Keras.

A trace is of one batch signature and one state of the model's Python objects; `attachment` sees to both.
"""

import dataclasses
import operator
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import keras
import torch
from keras import tree

from birdplane_keras.torch_plugin import cuda
from birdplane_keras.torch_plugin.batches import packed, rebuild, with_leaves
from birdplane_keras.torch_plugin.errors import NotTraceableError, step_made
from birdplane_keras.torch_plugin.guards import merged
from birdplane_keras.torch_plugin.layout import lay_out_in_order
from birdplane_keras.torch_plugin.private_keras import (
    STOCK_TRAINER,
    get_keras_mask,
    layer_losses,
    leave_losses,
    loss_containers,
    set_keras_mask,
    unpack_x_y_sample_weight,
)
from birdplane_keras.torch_plugin.rewrites import NOTHING
from birdplane_keras.torch_plugin.sizes import Dimension, Sizes, Symbolic
from birdplane_keras.torch_plugin.step_account import (
    Leaves,
    Settings,
    StepAccount,
    allowed_to_round,
    containers_in,
    guards_of_names,
    require_no_hooks,
)
from birdplane_keras.torch_plugin.tracing import Trace, trace
from birdplane_keras.torch_plugin.updates.choice import ChosenUpdate, choose_update


class Step(StepAccount):
    """One kind of step, traced; making it makes the first step.

    Args:
        model: Built and, except to predict, compiled.
        kind: `train`, `test` or `predict`.
        engine: `exact`, `fused` or `compiled`.
        settings: What the model's steps have in common.
        data: The batch, its leaves tensors.
        leaves: Those tensors.
        most_calls: ATen calls beyond which the step is not traced.
        free: Sizes of the leaves that may be others in a later batch.

    Raises:
        NotTraceableError: No faithful trace can be had. Nothing has been changed then.
        TooLargeError: It makes more ATen calls. Nothing has been changed then.
    """

    def __init__(
        self,
        model: keras.Model,
        kind: str,
        engine: str,
        settings: Settings,
        data: Any,
        leaves: Leaves,
        most_calls: float = float("inf"),
        free: Collection[Dimension] = (),
    ) -> None:
        self._model, self._kind, self.engine, self._settings = model, kind, engine, settings
        self._structure: Any = None
        self._outputs = 0
        self._weights = model.trainable_weights if kind == "train" else []
        self.values = [weight._value for weight in self._weights]
        self._losses: list[tuple[keras.layers.Layer, int]] = []
        self._log_places: list[tuple[str, int]] = []  # name of a log -> its number among the metrics' outputs
        require_no_hooks(self.values)
        may_round = engine != "exact"
        self.notes: list[str] = []
        self.metrics_refusal = ""  # why the metrics run in Python, where they do
        given = [*containers_in(data), *loss_containers(model)]
        self._sizes = Sizes(leaves, free) if free else None
        self._forward_trace = trace(
            lambda *now: self._forward(with_leaves(data, leaves, now)),
            leaves,
            roots=self.roots(),
            given=given,
            allowed=allowed_to_round(model, self._weights, leaves) if may_round else NOTHING,
            most_calls=most_calls,
            symbolic=None if self._sizes is None else Symbolic(self._sizes, self._sizes.leaves),
            lay_out=partial(lay_out_in_order, model) if engine == "compiled" else None,
        )
        self.compile_refusal = self._forward_trace.compile_refusal
        if self.compile_refusal:
            self.engine = "fused"
            self.notes.append(f"not compiled, because {self.compile_refusal}")
        lay_out_in_order(model, self._forward_trace.turned)
        outputs = self._forward_trace.outputs
        found = [self._forward_trace.guards, guards_of_names(model, self._step_names())]
        self._update: ChosenUpdate | None = None
        if kind == "train":
            self._update = choose_update(
                model, self._weights, self._forward_trace, self._first_gradient, fused=may_round
            )
            if self._update.proof is not None:
                found.append(self._update.proof.guards)
            with torch.no_grad():
                self._apply_update(outputs)
        self._metrics_trace: Trace | None = None
        self._first: Any = self._first_result(data, leaves, outputs, given)
        self._leave_losses(outputs)
        self._forward_replay = self._forward_trace.replay
        if not free:
            self._forward_replay = cuda.captured_where_it_can_be(self._forward_trace, leaves, self.notes)
        self._metrics_replay: Callable[..., tuple] | None = None
        if self._metrics_trace is not None:
            self._metrics_replay = self._metrics_trace.replay
            found.append(self._metrics_trace.guards)
            self._metrics_trace = dataclasses.replace(self._metrics_trace, outputs=(), symbolic=[])
        self._forward_trace = dataclasses.replace(self._forward_trace, outputs=(), symbolic=[])  # they may be large
        self._guards = merged(found)

    def _step_names(self) -> list[str]:
        """Names that Keras' own step looks up before it runs what is traced."""
        step = getattr(STOCK_TRAINER, f"{self._kind}_step").__code__
        return [f"{self._kind}_step", "run_eagerly", "jit_compile", "_jit_compile", *step.co_names]

    def take_first_result(self) -> Any:
        """Returns what the first step returned, and lets go of it."""
        first, self._first = self._first, None
        return first

    def run(self, data: Any, leaves: Leaves) -> Any:
        """Makes a step; returns the logs, or the predictions."""
        metrics = None if self._metrics_trace is None else self._metrics_replay
        return self._run(data, leaves, self._forward_replay, metrics, self._apply_update)

    def run_plain(self, data: Any, leaves: Leaves) -> Any:
        """Makes a step without any rewrite of what leads to the gradients; returns the same."""
        forward, metrics = self._forward_trace, self._metrics_trace
        measure = None if metrics is None else metrics.plain or metrics.replay
        return self._run(data, leaves, forward.plain or forward.replay, measure, self._apply_to_whole)

    def _run(
        self,
        data: Any,
        leaves: Leaves,
        forward: Callable[..., tuple],
        measure: Callable[..., tuple] | None,
        update: Callable[[tuple], None],
    ) -> Any:
        if self._settings.keep_gradients:
            for value in self.values:
                value.grad = None  # the memory is used again at once
        with torch.no_grad():
            outputs = forward(*leaves)
            if self._forward_trace.kept:
                self._forward_trace.leave(outputs)
            if self._losses:
                self._leave_losses(outputs)
            if self._update is not None:
                update(outputs)
            predictions = outputs[self._predictions]
            if self._kind == "predict":
                return packed(self._structure, predictions[: self._outputs])
            if self._metrics_trace is None or measure is None:
                return self._metrics_in_python(data, predictions)
            metrics = measure(*leaves, *[item for item in predictions if item is not None])
            if self._metrics_trace.kept:
                self._metrics_trace.leave(metrics)
        return {name: metrics[number] for name, number in self._log_places}

    @property
    def _predictions(self) -> slice:
        first = 0 if self._kind == "predict" else 1
        return slice(first, first + 2 * self._outputs)

    @property
    def _first_gradient(self) -> int:
        return self._predictions.stop

    def _forward(self, data: Any) -> list:
        """Keras' own step up to the gradients: [loss], predictions, their masks, gradients."""
        model = self._model
        x, y, sample_weight = unpack_x_y_sample_weight(data)
        training = self._kind == "train"
        with torch.set_grad_enabled(training):
            y_pred = model(x, training=training) if model._call_has_training_arg else model(x)
            flat = tree.flatten(y_pred)
            self._structure, self._outputs = tree.map_structure(lambda _: 0, y_pred), len(flat)
            predictions = [*flat, *map(get_keras_mask, flat)]
            if self._kind == "predict":
                return predictions
            loss = model._compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training)
            size = next(item for item in tree.flatten(x) if item is not None).shape[0]
            model._loss_tracker.update_state(loss, sample_weight=size)
            gradients: list = []
            if training:
                scaled = model.optimizer.scale_loss(loss)
                needed = [value for value in self.values if value.requires_grad]
                found = iter(torch.autograd.grad(scaled, needed, allow_unused=True))
                gradients = [next(found) if value.requires_grad else None for value in self.values]
                if len(model.trainable_weights) != len(self.values):
                    raise NotTraceableError("the step itself changes which weights are trained")
        losses = layer_losses(model)
        self._losses = [(layer, len(each)) for layer, each in losses]
        detached = [item.detach() for _, each in losses for item in each]
        return [
            loss.detach(),
            *[item if item is None else item.detach() for item in predictions],
            *gradients,
            *detached,
        ]

    def _leave_losses(self, outputs: tuple) -> None:
        """Leaves what layers added to the loss in their `losses`, as a call of the model does."""
        start = self._first_gradient + len(self.values)
        for layer, count in self._losses:
            leave_losses(layer, outputs[start : start + count])
            start += count

    def _first_result(self, data: Any, leaves: Leaves, outputs: tuple, given: list[Any]) -> Any:
        predictions = outputs[self._predictions]
        if self._kind == "predict":
            return packed(self._structure, predictions[: self._outputs])
        x, y, sample_weight = unpack_x_y_sample_weight(data)
        y_pred = self._with_masks(predictions)
        tensors = [*leaves, *[item for item in predictions if item is not None]]

        def metrics(*now: torch.Tensor) -> list:
            parts = (x, y, y_pred, sample_weight)
            if any(map(operator.is_not, now, tensors)):
                rest = iter(now[len(leaves) :])
                others = tuple([None if item is None else next(rest) for item in predictions])
                x_now, y_now, weight_now = unpack_x_y_sample_weight(rebuild(data, list(now[: len(leaves)])))
                parts = (x_now, y_now, self._with_masks(others), weight_now)
            with torch.no_grad():
                logs = self._model.compute_metrics(*parts[:3], sample_weight=parts[3])
            flat = tree.flatten(logs)
            if not all(isinstance(item, torch.Tensor) for item in flat):
                raise NotTraceableError("they return something that is not a tensor")
            numbers = tree.pack_sequence_as(logs, list(range(len(flat))))
            self._log_places = list(numbers.items())
            if not all(isinstance(number, int) for _, number in self._log_places):
                raise NotTraceableError("they return logs within logs")
            return [item.detach() for item in flat]

        try:
            also = [*given, *containers_in((x, y, sample_weight, y_pred))]
            made = [each for each in self._forward_trace.symbolic[self._predictions] if each is not None]
            symbolic = None if self._sizes is None else Symbolic(self._sizes, [*self._sizes.leaves, *made])
            self._metrics_trace = trace(metrics, tensors, roots=self.roots(), given=also, symbolic=symbolic)
        except Exception as reason:  # the weights have been updated: the step must not be made again, by anyone
            self.metrics_refusal = str(reason)
            self.notes.append(f"the metrics run in Python, because of them: {reason}")
            with step_made():
                return self._metrics_in_python(data, predictions)
        return {name: self._metrics_trace.outputs[number] for name, number in self._log_places}

    def _with_masks(self, predictions: tuple) -> Any:
        outputs, masks = predictions[: self._outputs], predictions[self._outputs :]
        for output, mask in zip(outputs, masks, strict=True):
            if mask is not None:
                set_keras_mask(output, mask)
        return packed(self._structure, outputs)

    def _metrics_in_python(self, data: Any, predictions: tuple) -> Any:
        x, y, sample_weight = unpack_x_y_sample_weight(data)
        with torch.no_grad():
            return self._model.compute_metrics(x, y, self._with_masks(predictions), sample_weight=sample_weight)

    def _apply_update(self, outputs: tuple) -> None:
        assert self._update is not None
        if self._settings.keep_gradients:
            factors = self._forward_trace.factors
            for number, value in enumerate(self.values, self._first_gradient):
                pair = factors.get(number) if factors else None
                value.grad = outputs[pair[0]] @ outputs[pair[1]] if pair else outputs[number]
        self._update.apply(outputs)

    def _apply_to_whole(self, outputs: tuple) -> None:
        assert self._update is not None
        gradients = [*outputs[self._first_gradient : self._first_gradient + len(self.values)]]
        if self._settings.keep_gradients:
            for value, gradient in zip(self.values, gradients, strict=True):
                value.grad = gradient
        self._update.apply_to(gradients)

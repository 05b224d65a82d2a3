"""The three steps of a Keras model, in two traced parts each, with the update between them as in Keras.

A trace is of one batch signature and one state of the model's Python objects; `attachment` sees to both.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import torch
from keras import tree
from keras.src.backend.common.masking import get_keras_mask, set_keras_mask
from keras.src.trainers.data_adapters.data_adapter_utils import unpack_x_y_sample_weight

from birdplane_keras.torch_plugin import cuda
from birdplane_keras.torch_plugin.errors import NotTraceableError, StateChangedError
from birdplane_keras.torch_plugin.tracing import Trace, trace
from birdplane_keras.torch_plugin.updates import ChosenUpdate, choose_update, is_plain_sgd
from birdplane_keras.torch_plugin.watch import Watch

Leaves = list[torch.Tensor]


@dataclass
class Settings:
    """What the steps of an attached model have in common.

    Args:
        engine: `exact` or `fused`.
        keep_gradients: Leave the gradients in the weights' `.grad`, as `backward()` does.
    """

    engine: str
    keep_gradients: bool


class Step:
    """One kind of step, traced; making it makes the first step.

    Args:
        model: Built and, except to predict, compiled.
        kind: `train`, `test` or `predict`.
        settings: The engine's.
        data: The batch, its leaves tensors.
        leaves: Those tensors.
        watch: Over the model, from before.

    Raises:
        NotTraceableError: No faithful trace can be had. Nothing has been changed then.
    """

    def __init__(
        self, model: keras.Model, kind: str, settings: Settings, data: Any, leaves: Leaves, watch: Watch
    ) -> None:
        self._model, self._kind, self._settings, self._watch = model, kind, settings, watch
        self._structure: Any = None
        self._outputs = 0
        self._weights = model.trainable_weights if kind == "train" else []
        self._values = [weight._value for weight in self._weights]
        if have_hooks(self._values):
            raise NotTraceableError("a hook waits for the gradient of a weight")
        can_fuse = settings.engine == "fused" and kind == "train" and is_plain_sgd(model.optimizer, self._weights)
        self.notes: list[str] = []
        self.metrics_refusal = ""  # why the metrics run in Python, where they do
        if settings.engine == "fused" and kind == "train" and not can_fuse:
            self.notes.append("the update is not plain SGD, so the gradients are made as in the exact engine")

        # Every weight's gradient may be left as factors; which can be is seen in the graph.
        self._forward_trace = self._trace(lambda *_: self._forward(data), leaves, fuse=can_fuse)
        outputs = self._forward_trace.outputs
        self._update: ChosenUpdate | None = None
        if kind == "train":
            self._update = choose_update(model, self._weights, self._forward_trace, self._first_gradient)
            self._apply_update(outputs)
        self._metrics_trace: Trace | None = None
        self._first: Any = self._first_result(data, leaves, outputs)
        self._forward_replay = self._captured(self._forward_trace, leaves)
        self._metrics_replay = None
        if self._metrics_trace is not None:
            self._metrics_replay = self._metrics_trace.replay
            self._metrics_trace = dataclasses.replace(self._metrics_trace, outputs=())
        self._forward_trace = dataclasses.replace(self._forward_trace, outputs=())  # they may be large

    def take_first_result(self) -> Any:
        """Returns what the first step returned, and lets go of it."""
        first, self._first = self._first, None
        return first

    def run(self, data: Any, leaves: Leaves) -> Any:
        """Makes a step; returns the logs, or the predictions."""
        if self._settings.keep_gradients:
            for value in self._values:
                value.grad = None  # the memory is used again at once
        with torch.no_grad():
            outputs = self._forward_replay(*leaves)
        if self._update is not None:
            self._apply_update(outputs)
        predictions = outputs[self._first_prediction : self._first_gradient]
        if self._kind == "predict":
            return tree.pack_sequence_as(self._structure, list(predictions[: self._outputs]))
        if self._metrics_replay is None:
            return self._metrics_in_python(data, predictions)
        return self._logs(self._metrics_replay(*leaves, *[item for item in predictions if item is not None]))

    @property
    def rewrites(self) -> Counter[str]:
        """Name of a rewrite -> how often it was made in the step's traces."""
        parts = [self._forward_trace] + ([self._metrics_trace] if self._metrics_trace else [])
        return sum((Counter(part.rewrites) for part in parts), Counter())

    def holds(self) -> bool:
        """Tells whether the traces are still of the model as it is."""
        return self._watch.unchanged() and not have_hooks(self._values)

    def describe(self) -> list[str]:
        """Returns lines on what is replayed, rewritten and left to Python."""
        parts = [("step", self._forward_trace)] + ([("metrics", self._metrics_trace)] if self._metrics_trace else [])
        lines = []
        for name, part in parts:
            rewrites = ", ".join(f"{count} x {what}" for what, count in part.rewrites.items()) or "nothing"
            lines.append(f"{name}: {part.calls} ATen calls; rewritten: {rewrites}")
        if self._update is not None:
            lines.append(f"update: {self._update.words}")
        return lines + self.notes

    @property
    def _first_prediction(self) -> int:
        return 0 if self._kind == "predict" else 1

    @property
    def _first_gradient(self) -> int:
        return self._first_prediction + 2 * self._outputs

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
                gradients = list(torch.autograd.grad(scaled, self._values, allow_unused=True))
        return [loss.detach(), *[item if item is None else item.detach() for item in predictions], *gradients]

    def _trace(self, function: Callable, inputs: Leaves, *, fuse: bool = False) -> Trace:
        """Traces a part, which must not change what Python computes with."""

        def before_commit(state: list[torch.Tensor]) -> None:
            if not self._watch.unchanged():
                what = self._watch.first_change() or f"a hook on {self._watch.hook()}"
                raise StateChangedError(f"the step itself changes Python state: {what}")
            for tensor in state:
                if not self._watch.holds(tensor):
                    shape = f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
                    raise NotTraceableError(
                        f"it reads a tensor ({shape}) that no attribute of the model's objects holds"
                    )

        products = range(1, 1 << 16) if fuse else ()
        return trace(function, inputs, products=products, before_commit=before_commit)

    def _first_result(self, data: Any, leaves: Leaves, outputs: tuple) -> Any:
        predictions = outputs[self._first_prediction : self._first_gradient]
        if self._kind == "predict":
            return tree.pack_sequence_as(self._structure, list(predictions[: self._outputs]))
        x, y, sample_weight = unpack_x_y_sample_weight(data)
        y_pred = self._with_masks(predictions)

        def metrics(*_: torch.Tensor) -> list:
            with torch.no_grad():
                logs = self._model.compute_metrics(x, y, y_pred, sample_weight=sample_weight)
            flat = tree.flatten(logs)
            if not all(isinstance(item, torch.Tensor) for item in flat):
                raise NotTraceableError("they return something that is not a tensor")
            self._log_structure = tree.map_structure(lambda _: 0, logs)
            return [item.detach() for item in flat]

        try:
            given = [*leaves, *[item for item in predictions if item is not None]]
            self._metrics_trace = self._trace(metrics, given)
        except Exception as reason:  # the weights have been updated: the step must not be made again, by anyone
            self.metrics_refusal = str(reason)
            self.notes.append(f"the metrics run in Python, because of them: {reason}")
            return self._metrics_in_python(data, predictions)
        return self._logs(self._metrics_trace.outputs)

    def _with_masks(self, predictions: tuple) -> Any:
        outputs, masks = predictions[: self._outputs], predictions[self._outputs :]
        for output, mask in zip(outputs, masks, strict=True):
            if mask is not None:
                set_keras_mask(output, mask)
        return tree.pack_sequence_as(self._structure, list(outputs))

    def _metrics_in_python(self, data: Any, predictions: tuple) -> Any:
        x, y, sample_weight = unpack_x_y_sample_weight(data)
        with torch.no_grad():
            return self._model.compute_metrics(x, y, self._with_masks(predictions), sample_weight=sample_weight)

    def _logs(self, values: tuple) -> Any:
        return tree.pack_sequence_as(self._log_structure, list(values))

    def _apply_update(self, outputs: tuple) -> None:
        assert self._update is not None
        with torch.no_grad():
            if self._settings.keep_gradients:
                for number, value in enumerate(self._values, self._first_gradient):
                    factors = self._forward_trace.factors.get(number)
                    value.grad = outputs[factors[0]] @ outputs[factors[1]] if factors else outputs[number]
            self._update.apply(outputs)

    def _captured(self, part: Trace, leaves: Leaves) -> Callable[..., tuple]:
        if not leaves or not leaves[0].is_cuda:
            return part.replay
        try:
            replay = cuda.capture(part.replay, leaves, part.state)
        except NotTraceableError as reason:
            self.notes.append(f"no CUDA graph, because {reason}")
            return part.replay
        self.notes.append("captured in a CUDA graph")
        return replay


def have_hooks(values: Leaves) -> bool:
    """Tells whether somebody waits for the gradient of a tensor; a replay would not call them."""
    return any(value._backward_hooks or value._post_accumulate_grad_hooks for value in values)

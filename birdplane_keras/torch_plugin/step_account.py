"""What a traced step tells of itself: what it reads and writes, whether it still holds, how it rounds."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import torch

from birdplane_keras.torch_plugin.errors import NotTraceableError
from birdplane_keras.torch_plugin.guards import Guards
from birdplane_keras.torch_plugin.private_keras import values_of
from birdplane_keras.torch_plugin.reads import Reads
from birdplane_keras.torch_plugin.rewrites import Allowed, rounds
from birdplane_keras.torch_plugin.sizes import Sizes
from birdplane_keras.torch_plugin.tracing import Trace
from birdplane_keras.torch_plugin.updates.choice import ChosenUpdate
from birdplane_keras.torch_plugin.updates.plain_sgd import is_plain_sgd

Leaves = list[torch.Tensor]


@dataclass
class Settings:
    """What the steps of an attached model have in common.

    Args:
        keep_gradients: Leave the gradients in the weights' `.grad`, as `backward()` does.
    """

    keep_gradients: bool


class StepAccount:
    """The account of one kind of step; what it is made of is made by `Step`."""

    _model: keras.Model
    _kind: str
    engine: str
    _settings: Settings
    _forward_trace: Trace
    _metrics_trace: Trace | None
    _update: ChosenUpdate | None
    _guards: Guards
    values: Leaves
    notes: list[str]
    metrics_refusal: str
    compile_refusal: str
    _sizes: Sizes | None
    can_be_audited = True

    @property
    def rewrites(self) -> Counter[str]:
        """Name of a rewrite -> how often it was made in the step's traces."""
        parts = [self._forward_trace] + ([self._metrics_trace] if self._metrics_trace else [])
        return sum((Counter(part.rewrites) for part in parts), Counter())

    @property
    def rounds(self) -> bool:
        """Whether a step may round otherwise than stock Keras: by a rewrite, its update, or a kernel's layout."""
        return rounds(self.rewrites) or self.update_rounds or any(not each.is_contiguous() for each in self.values)

    @property
    def update_rounds(self) -> bool:
        """Whether the update may round otherwise than Keras' own."""
        return self._update is not None and self._update.proof is not None and self._update.proof.rounds

    @property
    def ulp(self) -> float:
        """The relative step between numbers of the coarsest floating-point type in the step."""
        return self._forward_trace.ulp

    @property
    def is_plain_sgd(self) -> bool:
        """Whether the update is a weight's gradient times the rate."""
        return self._update is not None and self._update.is_linear

    @property
    def has_update(self) -> bool:
        """Whether the step updates the weights by itself, and not by Keras' own function."""
        return self._update is not None and self._update.proof is not None

    def updates_those_of(self, gradients: list[torch.Tensor | None]) -> bool:
        """Tells whether gradients are of the weights that the step moves."""
        present = [number for number, gradient in enumerate(gradients) if gradient is not None]
        return self._update is not None and bool(present) and list(self._update.present) == present

    def update_by(self, gradients: list[torch.Tensor | None]) -> None:
        """Updates the weights as the step does, by given gradients."""
        assert self._update is not None
        with torch.no_grad():
            self._update.apply_to(gradients)

    @property
    def is_compiled(self) -> bool:
        """Whether what leads to the gradients runs compiled."""
        return self._forward_trace.compiled is not None

    @property
    def has_plain(self) -> bool:
        """Whether the step can be made without its rewrites, too."""
        parts = [self._forward_trace] + ([self._metrics_trace] if self._metrics_trace else [])
        return any(part.plain is not None for part in parts)

    def reads(self) -> list[torch.Tensor]:
        """Returns the tensors from outside that the traces read."""
        return [*self._forward_trace.state, *(self._metrics_trace.state if self._metrics_trace else ())]

    def writes(self) -> list[torch.Tensor]:
        """Returns the tensors from outside that a step writes, each once."""
        metrics = self._metrics_trace.written if self._metrics_trace else values_of(self._model.metrics_variables)
        written = [*self._forward_trace.written, *metrics, *self.values, *self.update_state()]
        return list({id(tensor): tensor for tensor in written}.values())

    def runs_in_python(self) -> bool:
        """Tells whether a replayed step runs code of the user's own: a metric, an optimizer or a schedule."""
        if self._metrics_trace is None and self._kind != "predict":
            return True
        optimizer = getattr(self._model, "optimizer", None)
        rate = getattr(optimizer, "_learning_rate", None)
        users = [each for each in (optimizer, rate) if not type(each).__module__.startswith(("keras.", "builtins"))]
        return self._kind == "train" and bool(users)

    def gradients(self) -> list[torch.Tensor | None]:
        """Returns what is in the weights' `.grad`, and takes it out."""
        found = [value.grad for value in self.values]
        for value in self.values:
            value.grad = None
        return found

    def leave_gradients(self, gradients: list[torch.Tensor | None]) -> None:
        """Puts gradients into the weights' `.grad`, where a step leaves them there."""
        if self._settings.keep_gradients:
            for value, gradient in zip(self.values, gradients, strict=True):
                value.grad = gradient

    def update_state(self) -> list[torch.Tensor]:
        """Returns the tensors that the optimizer keeps."""
        return values_of(self._model.optimizer.variables) if self._kind == "train" else []

    @contextmanager
    def gradients_left(self) -> Iterator[None]:
        """Within it, a step leaves its gradients in the weights' `.grad`, whatever the settings."""
        before, self._settings.keep_gradients = self._settings.keep_gradients, True
        try:
            yield
        finally:
            self._settings.keep_gradients = before

    def holds(self) -> bool:
        """Tells whether the traces are still of the model as it is."""
        return self._guards.hold() and self._forward_trace.lies_as_compiled()

    def first_change(self) -> str | None:
        """Returns the name of what is no longer as it was; `None` where all is."""
        return self._guards.first_change()

    def code_holds(self) -> bool:
        """Tells whether no function of Keras or PyTorch that the step ran was replaced."""
        return self._guards.code.hold()

    def serves(self, leaves: Leaves) -> bool:
        """Tells whether the traces may serve a batch of other sizes, which is to be proved."""
        if self._sizes is None or self.metrics_refusal or not self.can_be_audited:
            return False
        return self.holds() and self._sizes.fit(leaves)

    def guards(self) -> int:
        """Returns how many values are looked at before each step."""
        return self._guards.count()

    def describe(self) -> list[str]:
        """Returns lines on what is replayed, rewritten and left to Python."""
        parts = [("step", self._forward_trace)] + ([("metrics", self._metrics_trace)] if self._metrics_trace else [])
        lines = []
        for name, part in parts:
            rewrites = ", ".join(f"{count} x {what}" for what, count in part.rewrites.items()) or "nothing"
            lines.append(f"{name}: {part.calls} ATen calls; rewritten: {rewrites}")
            lines += [f"{name}: {note}" for note in part.notes]
        if self._update is not None:
            lines.append(f"update: {self._update.words}")
        lines.append(f"guards: {self.guards():,} values of Python's state that the step reads")
        if self._sizes is not None:
            lines.append(f"sizes: {self._sizes.words()}")
        return lines + self.notes

    def roots(self) -> list[Any]:
        """Returns the objects that a step starts from."""
        model = self._model
        return [model, getattr(model, "optimizer", None), *model.layers]


def allowed_to_round(model: keras.Model, weights: list[keras.Variable], leaves: Leaves) -> Allowed:
    """Returns what rewrites may do to a step that need not keep bits.

    Args:
        model: Of the step.
        weights: What it trains; none where it does not train.
        leaves: The tensors of its batch.
    """
    can_fuse = bool(weights) and is_plain_sgd(model.optimizer, weights)
    # Every weight's gradient may be left as factors; which can be is seen in the graph.
    products = range(1, 1 << 16) if can_fuse else ()
    on_cpu = all(leaf.device.type == "cpu" for leaf in leaves)
    return Allowed(products=products, channels_last=on_cpu, recurrent_by_step=on_cpu)


def require_no_hooks(values: Leaves) -> None:
    """Makes sure that nobody waits for the gradient of a weight: a replay would not call them."""
    if any(value._backward_hooks or value._post_accumulate_grad_hooks for value in values):
        raise NotTraceableError("a hook waits for the gradient of a weight")


def containers_in(data: Any) -> list[Any]:
    """Returns the tuples, lists and dictionaries that a batch is made of."""
    if isinstance(data, dict):
        return [data, *[inner for item in data.values() for inner in containers_in(item)]]
    if isinstance(data, list | tuple):
        return [data, *[inner for item in data for inner in containers_in(item)]]
    return []


def guards_of_names(owner: Any, names: list[str]) -> Guards:
    """Returns guards over attributes of an object, and over their absence."""
    reads = Reads([owner])
    reads.attributes(owner, names)
    return Guards(reads.places)

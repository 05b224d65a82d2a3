"""The reference at work: a copy of the PyTorch model is trained step by step, as it is or changed in one respect."""

import contextlib
import copy
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from birdplane_keras.errors import errors_of_pair
from birdplane_keras.parity.core.records import Tensors
from birdplane_keras.parity.matching.match import Matching
from birdplane_keras.parity.optimizers.registry import nudge_settings
from birdplane_keras.parity.pair import Pair
from birdplane_keras.parity.sides.arrays import to_numpy
from birdplane_keras.parity.sides.calls import (
    Given,
    Rewrite,
    Rewriting,
    call_module,
    given_to_module,
    with_safe_group_norm,
    without_dropout,
    without_dropout_between_layers,
)
from birdplane_keras.parity.sides.examples import (
    describe_shapes,
    mapped,
    named_leaves,
    reference_examples,
    validation_inputs,
)
from birdplane_keras.parity.sides.masking import check_mask, counted
from birdplane_keras.parity.sides.memory import give_back_memory, is_large, make_room
from birdplane_keras.parity.sides.modes import device_of, half_type, training_modes
from birdplane_keras.parity.sides.nudging import (
    Nudge,
    RoundOtherwise,
    lay_out_otherwise,
    move_near,
    nudge_number,
    through,
)
from birdplane_keras.parity.sides.outputs import arrays_of
from birdplane_keras.parity.sides.scheduling import Schedule
from birdplane_keras.parity.sides.torch_state import TorchState
from birdplane_keras.parity.sides.views import TorchView


class TorchRun(TorchState):
    """A copy of the reference, its optimizer and its scheduler, ready for its first step.

    Whatever reaches for the reference's own weights on the way (a penalty in the loss, say) is given the copy's.
    The attributes may be changed before the first step: this is how a known mistake is applied to the reference.

    Args:
        pair: With batches stated.
        matching: Gives the names and the view of the tensors.
        dtype: `torch.float64` to measure rounding.
        nudge: Moves every weight, and every input, by one ULP up or down, before and after each step. `None`: not.
        throughout: Moves what every operation computes, too.
        relaid: Weights and inputs lie in memory in another order.
        half: The half type to which weights, inputs and what every operation computes is rounded, beside the nudges.
    """

    modes_of = staticmethod(training_modes)

    def __init__(
        self,
        pair: Pair,
        matching: Matching,
        *,
        dtype: torch.dtype | None = None,
        nudge: int | None = None,
        throughout: bool = False,
        relaid: bool = False,
        half: torch.dtype | None = None,
    ) -> None:
        self.pair, self.matching, self.dtype = pair, matching, dtype
        self._relaid, self._throughout, self._half = relaid, throughout, half
        self.examples = reference_examples(pair)
        self.schedule = Schedule(pair)
        self._copy(pair.torch_module, pair.torch_optimizer, pair.torch_scheduler, pair.torch_loss)
        self.modes = self.modes_of(self.module)
        for weight in self.module.parameters() if relaid else ():
            weight.data = lay_out_otherwise(weight.data)
        self.device, self._input_dtype = device_of(self.module), dtype or half_type(self.module)
        self.clip, self.accumulation_steps, self.zero_grad = pair.torch_clip, pair.accumulation_steps, True
        self.rewrites: list[Rewrite] = [without_dropout, *([with_safe_group_norm] if relaid else [])]
        self.loss_rewrites: list[Rewrite] = []
        self.watch: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()  # around what it computes
        self.update: Callable[[], None] | None = None  # in the place of clipping and the optimizer's step
        self.before_update: list[Callable[[], None]] = []  # after the gradients are there, and before any clipping
        self.first_gradients: Tensors | None = None  # of the whole loss, in the place of its own in the first step
        self.change_inputs: Callable[[tuple[torch.Tensor, ...]], tuple[torch.Tensor, ...]] | None = None
        self.change_outputs: Callable[[Any], Any] | None = None
        self._nudge = None if nudge is None else self._new_nudge(nudge)
        self._nudge_weights()
        if half is not None:
            for weight in self.module.parameters():
                weight.data = through(half, weight.data)
        self._nudge_settings()

    def _copy(self, module: torch.nn.Module, optimizer: Any, scheduler: Any, loss: Any) -> None:
        """Copies what is trained, and what trains it, and notes what stands for the reference's own weights."""
        self._large = is_large(module)
        make_room(large=self._large)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a copied scheduler's remarks on its copied optimizer
            with errors_of_pair("the reference cannot be copied"):
                copies = copy.deepcopy((module, optimizer, scheduler, loss))
        self.module, self.optimizer, self.scheduler, self.loss = copies
        if self.dtype is not None:  # before anybody notes the tensors: the buffers are others then
            self.module.to(self.dtype)
            if isinstance(self.loss, torch.nn.Module):
                self.loss.to(self.dtype)
        own = [*self.module.parameters(), *self.module.buffers()]
        theirs = [*self.pair.torch_module.parameters(), *self.pair.torch_module.buffers()]
        self._stand_ins = {id(one): other for one, other in zip(theirs, own, strict=True)}
        self._parameters = list(self.module.parameters())
        self.view = TorchView(self.module, self.matching)

    def fork(self, nudge: int) -> "TorchRun":
        """Returns a copy in the state that this run is in, with nudged weights."""
        forked = copy.copy(self)
        forked.schedule = self.schedule.copy()
        forked._copy(self.module, self.optimizer, self.scheduler, self.loss)
        forked.modes = [(m, mode) for m, (_, mode) in zip(forked.module.modules(), self.modes, strict=True)]
        forked._nudge = self._new_nudge(nudge)
        forked._nudge_weights()
        return forked

    def step(self, rows: np.ndarray, on_gradients: Callable[[Any], None] | None = None) -> np.ndarray:
        """Makes one training step on some examples; returns the loss, ().

        Args:
            rows: (B,) numbers of examples.
            on_gradients: Called with the outputs after `backward()`, before clipping and the update.
        """
        with self.rounded():
            loss = self._step(rows, on_gradients)
        self._nudge_weights()
        give_back_memory(large=self._large)
        return loss

    def _step(self, rows: np.ndarray, on_gradients: Callable[[Any], None] | None) -> np.ndarray:
        self.set_training()
        inputs, targets = self.examples.take(rows)
        with errors_of_pair(lambda: f"the PyTorch module cannot be trained on inputs {describe_shapes(inputs)}"):
            return self._train(inputs, targets, rows, on_gradients)

    def _train(
        self, inputs: Any, targets: Any, rows: np.ndarray, on_gradients: Callable[[Any], None] | None
    ) -> np.ndarray:
        given = self.given(inputs)
        with self.watch:
            loss = self._update(given, targets, on_gradients)
        value = to_numpy(loss)
        self.schedule.made(self.scheduler, float(value), rows)
        return value

    def _update(self, given: Given, targets: Any, on_gradients: Callable[[Any], None] | None) -> torch.Tensor:
        with self.patched():
            outputs = self.call_on(given)
        loss = self.compute_loss(outputs, targets)
        every = self.accumulation_steps
        (loss if every == 1 else loss / every).backward(inputs=self._trained())
        if on_gradients is not None:
            on_gradients(outputs)
        if self.first_gradients is not None and self.schedule.steps == 0:
            self.view.set_gradients(self.first_gradients, share=1 / every)
        for change in self.before_update:
            change()
        if self.schedule.steps % every == every - 1:
            (self.update or self._make_update)()
            if self.zero_grad:  # after the update, not before the next: several runs wait for each other
                self.optimizer.zero_grad()
        return loss

    def _make_update(self) -> None:
        if self.clip is not None:
            with Rewriting([], self._stand_ins):
                self.clip(self.module.parameters())
        self.optimizer.step()

    def compute_loss(self, outputs: Any, targets: Any) -> torch.Tensor:
        """Returns the loss of outputs for targets in the reference's layout."""
        with Rewriting(self.loss_rewrites, self._stand_ins):
            return self.loss(outputs, self.tensors(targets, targets=True))

    def set_training(self) -> None:
        """Puts every module into training mode, but for those that the person had left in evaluation mode."""
        for module, training in self.modes:
            module.training = training

    def _trained(self) -> list[torch.Tensor]:
        """Returns what gradients are for: nothing else that a loss may reach is given any."""
        groups = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        found = {id(weight): weight for weight in [*self._parameters, *groups] if weight.requires_grad}
        return list(found.values())

    def forward(self, rows: np.ndarray) -> Any:
        """Returns the outputs for some examples."""
        return self.call(self.examples.take(rows)[0])

    def call(self, inputs: Any) -> Any:
        """Returns the outputs for inputs in the reference's layout."""
        return self.call_on(self.given(inputs))

    def given(self, inputs: Any) -> Given:
        """Returns inputs as the tensors that the module is given, by position or by name."""
        self._inputs = inputs
        return given_to_module(self.tensors(inputs), self.change_inputs)

    def call_on(self, given: Given) -> Any:
        """Returns the outputs for what `given` returns."""
        outputs = call_module(self.module, given)
        return outputs if self.change_outputs is None else self.change_outputs(outputs)

    @contextlib.contextmanager
    def patched(self, *, dropout: bool = False) -> Iterator[None]:
        """Within it, calls are rewritten as `rewrites` say; `dropout` leaves Dropout as it is."""
        active = [rewrite for rewrite in self.rewrites if not (dropout and rewrite is without_dropout)]
        between = contextlib.nullcontext() if dropout else without_dropout_between_layers(self.module)
        with between, Rewriting(active, self._stand_ins):
            yield

    def rounded(self) -> contextlib.AbstractContextManager[Any]:
        """Within it, a run that is nudged throughout rounds every operation otherwise."""
        if self._nudge is None or not self._throughout:
            return contextlib.nullcontext()
        return RoundOtherwise(self._nudge, self._half)

    def tensors(self, arrays: Any, *, targets: bool = False) -> Any:
        """Returns arrays as tensors on the module's device, in the run's precision, nudged if they are inputs."""

        def convert(array: np.ndarray) -> torch.Tensor:
            tensor = torch.as_tensor(array).to(self.device)
            if tensor.is_floating_point() and self._input_dtype is not None:
                tensor = tensor.to(self._input_dtype)
            if tensor.is_floating_point() and self._nudge is not None and not targets:
                tensor = self._nudge(tensor)
            if tensor.is_floating_point() and self._half is not None and not targets:
                tensor = through(self._half, tensor)
            return lay_out_otherwise(tensor) if self._relaid and tensor.ndim > 2 and not targets else tensor

        return mapped(convert, arrays)

    def predict(self, inputs: Any | None = None) -> dict[str, np.ndarray]:
        """Returns the outputs in evaluation mode for the validation inputs, or for others."""
        self.module.eval()
        told = errors_of_pair("the PyTorch module cannot predict the validation inputs")
        with told, torch.no_grad(), self.rounded(), self.patched(dropout=True):
            given = self.given(validation_inputs(self.pair) if inputs is None else inputs)
            with self.watch:
                outputs = self.call_on(given)
        return self.to_port(outputs)

    def to_port(self, outputs: Any) -> dict[str, np.ndarray]:
        """Returns name -> output of the last call, in the port's layout."""
        arrays = arrays_of(outputs, self.pair.torch_outputs)
        turned = arrays if self.pair.outputs_to_keras is None else self.pair.outputs_to_keras(arrays)
        named = named_leaves(turned, "outputs")
        check_mask(self.pair, named, self._inputs)
        return counted(self.pair, named, self._inputs)

    def move(self, seed: int) -> None:
        """Multiplies every weight by a random number within a thousandth of 1."""
        move_near(self.module, seed)

    def close(self) -> None:
        """Lets a run go."""

    def _new_nudge(self, seed: int) -> Nudge:
        return Nudge(seed, max((weight.numel() for weight in self.module.parameters()), default=1), self.device)

    def _nudge_weights(self) -> None:
        if self._nudge is not None:
            with torch.no_grad():
                for weight in self.module.parameters():
                    if weight.is_floating_point():
                        self._nudge.move(weight)

    def _nudge_settings(self) -> None:
        """Moves the optimizer's numbers by one ULP of float32, each in a direction of its own."""
        if self._nudge is not None:
            nudge = self._nudge
            nudge_settings(self.optimizer, self.scheduler, lambda value: nudge_number(value, nudge.up()))

"""The reference at work: a copy of the PyTorch model is trained step by step, as it is or changed in one respect."""

import contextlib
import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from birdplane_keras.parity.core.samples import Places
from birdplane_keras.parity.matching.match import Matching
from birdplane_keras.parity.pair import Pair, named_leaves, reference_examples, validation_inputs
from birdplane_keras.parity.sides.arrays import to_numpy, to_view
from birdplane_keras.parity.sides.nudging import Nudge, RoundOtherwise, lay_out_otherwise, nudge_number

Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]
Rewrite = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Call]
STATES = ("momentum_buffer", "exp_avg", "exp_avg_sq", "square_avg", "sum")  # what optimizers keep for each weight


class Rewriting(TorchFunctionMode):
    """Changes the calls of PyTorch functions within it."""

    def __init__(self, rewrites: Sequence[Rewrite]) -> None:
        super().__init__()
        self.rewrites = rewrites

    def __torch_function__(self, func, types, args=(), kwargs=None):
        call: Call = (func, args, kwargs or {})
        for rewrite in self.rewrites:
            call = rewrite(*call)
        return call[0](*call[1], **call[2])


def without_dropout(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
    """Rewrites `torch.nn.functional.dropout` and its kin to do nothing."""
    if getattr(func, "__name__", "") in DROPOUTS:
        return (lambda input, *_, **__: input), args, kwargs
    if getattr(func, "__name__", "") == "scaled_dot_product_attention":
        kwargs = kwargs | {"dropout_p": 0.0}
    return func, args, kwargs


DROPOUTS = ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout")


class TorchRun:
    """A copy of the reference, its optimizer and its scheduler, ready for its first step.

    The attributes may be changed before that: this is how a known mistake is applied to the reference.

    Args:
        pair: With batches stated.
        matching: Gives the names and the view of the tensors.
        dtype: `torch.float64` to measure rounding.
        nudge: Moves every weight, and every input, by one ULP up or down, before and after each step. `None`: not.
        throughout: Moves what every operation computes, too.
        relaid: Weights and inputs lie in memory in another order.
    """

    def __init__(
        self,
        pair: Pair,
        matching: Matching,
        *,
        dtype: torch.dtype | None = None,
        nudge: int | None = None,
        throughout: bool = False,
        relaid: bool = False,
    ) -> None:
        self.pair, self.matching, self.dtype, self._relaid = pair, matching, dtype, relaid
        self.examples = reference_examples(pair)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a copied scheduler's remarks on its copied optimizer
            self.module, self.optimizer, self.scheduler, self.loss = copy.deepcopy(
                (pair.torch_module, pair.torch_optimizer, pair.torch_scheduler, pair.torch_loss)
            )
        if dtype is not None:
            self.module.to(dtype)
            if isinstance(self.loss, torch.nn.Module):
                self.loss.to(dtype)
        if relaid:
            for weight in self.module.parameters():
                weight.data = lay_out_otherwise(weight.data)
        self.device = next(iter(self.module.parameters())).device
        self._values = dict(self.module.state_dict(keep_vars=True))
        self._matches = {match.name: match for match in matching.tensors}
        self.clip = pair.torch_clip
        self.schedule_by = pair.schedule_by
        self.zero_grad = True
        self.training = True
        self.rewrites: list[Rewrite] = [without_dropout]
        self.loss_rewrites: list[Rewrite] = []
        self.change_inputs: Callable[[tuple[torch.Tensor, ...]], tuple[torch.Tensor, ...]] | None = None
        self.change_outputs: Callable[[Any], Any] | None = None
        self.steps = 0
        self.steps_per_epoch = len(pair.batches(0)) if pair.batches else 1
        largest = max((weight.numel() for weight in self.module.parameters()), default=1)
        self._nudge = None if nudge is None else Nudge(nudge, largest, self.device)
        self._throughout = throughout
        self._nudge_weights()
        self._nudge_settings()

    def fork(self, nudge: int) -> "TorchRun":
        """Returns a copy in the state that this run is in, with nudged weights."""
        forked = copy.copy(self)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            forked.module, forked.optimizer, forked.scheduler, forked.loss = copy.deepcopy(
                (self.module, self.optimizer, self.scheduler, self.loss)
            )
        forked._values = dict(forked.module.state_dict(keep_vars=True))
        forked._nudge = Nudge(nudge, max(weight.numel() for weight in forked.module.parameters()), self.device)
        forked._nudge_weights()
        return forked

    def step(self, rows: np.ndarray, on_gradients: Callable[[Any], None] | None = None) -> torch.Tensor:
        """Makes one training step on some rows of the data; returns the loss, ().

        Args:
            rows: (B,) row numbers.
            on_gradients: Called with the outputs after `backward()`, before clipping and the update.
        """
        with self.rounded():
            return self._step(rows, on_gradients)

    def _step(self, rows: np.ndarray, on_gradients: Callable[[Any], None] | None) -> torch.Tensor:
        self.module.train(self.training)
        with self.patched():
            outputs = self.forward(rows)
        with Rewriting(self.loss_rewrites):
            loss = self.loss(outputs, self.tensors(self.examples.take(rows)[1], targets=True))
        loss.backward()
        if on_gradients is not None:
            on_gradients(outputs)
        if self.clip is not None:
            self.clip(self.module.parameters())
        self.optimizer.step()
        if self.zero_grad:  # after the update, not before the next: several runs wait for each other
            self.optimizer.zero_grad()
        self.steps += 1
        if self.scheduler is not None and (self.schedule_by == "step" or self.steps % self.steps_per_epoch == 0):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.scheduler.step()
        self._nudge_weights()
        return loss.detach()

    def forward(self, rows: np.ndarray) -> Any:
        """Returns the outputs for some rows of the data."""
        return self.call(self.examples.take(rows)[0])

    def call(self, inputs: Any) -> Any:
        """Returns the outputs for inputs in the reference's layout."""
        given = self.tensors(inputs)
        given = tuple(given) if isinstance(given, tuple | list) else (given,)
        if self.change_inputs is not None:
            given = self.change_inputs(given)
        outputs = self.module(*given)
        return outputs if self.change_outputs is None else self.change_outputs(outputs)

    @contextlib.contextmanager
    def patched(self, *, dropout: bool = False) -> Iterator[None]:
        """Within it, calls are rewritten as `rewrites` say; `dropout` leaves Dropout as it is."""
        active = [rewrite for rewrite in self.rewrites if not (dropout and rewrite is without_dropout)]
        recurrent = [layer for layer in self.module.modules() if isinstance(layer, torch.nn.RNNBase)]
        rates = [layer.dropout for layer in recurrent]
        for layer in recurrent:
            layer.dropout = layer.dropout if dropout else 0.0
        try:
            with Rewriting(active):
                yield
        finally:
            for layer, rate in zip(recurrent, rates, strict=True):
                layer.dropout = rate

    def rounded(self) -> contextlib.AbstractContextManager[Any]:
        """Within it, a run that is nudged throughout rounds every operation otherwise."""
        if self._nudge is None or not self._throughout:
            return contextlib.nullcontext()
        return RoundOtherwise(self._nudge)

    def tensors(self, arrays: Any, *, targets: bool = False) -> Any:
        """Returns arrays as tensors on the module's device, in the run's precision, nudged if they are inputs."""

        def convert(array: np.ndarray) -> torch.Tensor:
            tensor = torch.as_tensor(array).to(self.device)
            if tensor.is_floating_point() and self.dtype is not None:
                tensor = tensor.to(self.dtype)
            if tensor.is_floating_point() and self._nudge is not None and not targets:
                tensor = self._nudge(tensor)
            return lay_out_otherwise(tensor) if self._relaid and tensor.ndim > 2 and not targets else tensor

        return keras.tree.map_structure(convert, arrays)

    def predict(self, inputs: Any | None = None) -> dict[str, np.ndarray]:
        """Returns the outputs in evaluation mode for the validation inputs, or for others."""
        self.module.eval()
        with torch.no_grad(), self.rounded(), self.patched(dropout=True):
            outputs = self.call(validation_inputs(self.pair)[0] if inputs is None else inputs)
        return self.to_port(outputs)

    def to_port(self, outputs: Any) -> dict[str, np.ndarray]:
        """Returns name -> output, in the port's layout."""
        arrays = keras.tree.map_structure(to_numpy, outputs)
        turned = arrays if self.pair.outputs_to_keras is None else self.pair.outputs_to_keras(arrays)
        return named_leaves(turned, "outputs")

    def weights(self, *, trainable: bool | None = None) -> dict[str, np.ndarray]:
        """Returns name -> value of all matched tensors, or of those that are trained in PyTorch (or are not)."""
        return {name: self.read(name) for name in self.names(trainable=trainable)}

    def names(self, *, trainable: bool | None = None) -> list[str]:
        """Returns the names of all matched tensors, or of those that are trained in PyTorch (or are not)."""
        return [match.name for match in self.matching.tensors if trainable is None or match.trainable[1] == trainable]

    def read(self, name: str) -> np.ndarray:
        """Returns the value of a matched tensor."""
        match = self._matches[name]
        return match.from_torch(*(to_numpy(self._values[part]) for part in match.torch))

    def read_some(self, name: str, places: Places) -> np.ndarray:
        """Returns the values at some places of a matched tensor."""
        match = self._matches[name]
        return match.view_torch(*(to_view(self._values[part]) for part in match.torch))[places]

    def set_weights(self, weights: dict[str, np.ndarray]) -> None:
        """Sets matched tensors from their views."""
        values = self._values
        with torch.no_grad():
            for match in self.matching.tensors:
                current = [to_numpy(values[name]) for name in match.torch]
                for name, value in zip(match.torch, match.to_torch(weights[match.name], current), strict=True):
                    values[name].copy_(torch.as_tensor(np.asarray(value)))

    def move(self, seed: int) -> None:
        """Multiplies every weight by a random number within a thousandth of 1: a state near by, and no other kinks."""
        random = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for weight in self.module.parameters():
                if weight.is_floating_point():
                    factors = 1 + 1e-3 * (2 * torch.rand(weight.shape, generator=random) - 1)
                    weight.mul_(factors.to(weight))

    def gradients(self) -> dict[str, np.ndarray]:
        """Returns name -> gradient of every matched tensor that has one."""
        return self._per_weight(lambda weight: weight.grad)

    def optimizer_state(self) -> dict[str, np.ndarray]:
        """Returns `name: state` -> value of what the optimizer keeps for each matched tensor."""
        kept: dict[str, np.ndarray] = {}
        for state in STATES:
            values = self._per_weight(partial(self._state_of, state))
            kept |= {f"{name}: {state}": value for name, value in values.items()}
        return kept

    def _state_of(self, state: str, weight: torch.nn.Parameter) -> torch.Tensor | None:
        return self.optimizer.state.get(weight, {}).get(state)

    def learning_rate(self) -> float:
        """The rate of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def _per_weight(self, read: Callable[[Any], torch.Tensor | None]) -> dict[str, np.ndarray]:
        weights = dict(self.module.named_parameters(remove_duplicate=False))
        found: dict[str, np.ndarray] = {}
        for match in self.matching.tensors:
            values = [read(weights[name]) if name in weights else None for name in match.torch]
            value = match.gradient_from_torch(*(v if v is None else to_numpy(v) for v in values))
            if value is not None:
                found[match.name] = value
        return found

    def _nudge_weights(self) -> None:
        if self._nudge is not None:
            with torch.no_grad():
                for weight in self.module.parameters():
                    if weight.is_floating_point():
                        weight.copy_(self._nudge(weight))

    def _nudge_settings(self) -> None:
        """Moves the optimizer's numbers by one ULP of float32, each in a direction of its own."""
        if self._nudge is None:
            return
        for index, group in enumerate(self.optimizer.param_groups):
            for name in ("lr", "weight_decay", "momentum", "eps", "alpha"):
                value = group.get(name)
                if isinstance(value, float) and value:
                    group[name] = nudge_number(value, self._nudge.up())
            if self.scheduler is not None and "initial_lr" in group:
                group["initial_lr"] = nudge_number(group["initial_lr"], self._nudge.up())
                if hasattr(self.scheduler, "base_lrs"):
                    self.scheduler.base_lrs[index] = group["initial_lr"]

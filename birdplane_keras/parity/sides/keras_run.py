"""The port at work: the Keras model itself is trained step by step, as `fit` trains it."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
import torch

from birdplane_keras.errors import PairError, errors_of_pair
from birdplane_keras.parity.core.records import States, Tensors
from birdplane_keras.parity.core.samples import Places
from birdplane_keras.parity.core.shelf import Shelf
from birdplane_keras.parity.optimizers.registry import comparable_states, keras_states
from birdplane_keras.parity.private_keras import build_for
from birdplane_keras.parity.sides.arrays import to_numpy, to_view
from birdplane_keras.parity.sides.examples import describe_shapes, mapped
from birdplane_keras.parity.sides.keras_host import KerasHost

CALLBACKS = "keras_callbacks of the pair failed"


class KerasRun:
    """A run of the port, from the host's start, in a state of its own.

    Args:
        host: Has the model.
    """

    def __init__(self, host: KerasHost) -> None:
        self.host = host
        self.kept = host.new_state()
        self._epochs = host.new_epochs()
        self.watch: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()  # around what it computes
        self._loss, self._examples = 0.0, 0
        self._gradients: dict[int, torch.Tensor] = {}  # of the last step, as they were heard

    def step(self, rows: np.ndarray) -> np.ndarray:
        """Makes one training step on some examples, (B,) their numbers; returns the loss, ()."""
        self.host.activate(self)
        inputs, targets = self.host.examples.take(rows)
        with errors_of_pair(CALLBACKS):
            self._begin(rows)
        with errors_of_pair(lambda: f"the Keras model cannot be trained on inputs {self._describe(inputs)}"):
            with self._watched(), self.watch:
                logs = self._train(inputs, targets)
            loss = self._loss_of(logs)
        self._gradients = dict(self.host.heard.gradients)
        with errors_of_pair(CALLBACKS):
            self._end(float(loss), len(rows))
        return loss

    def _watched(self) -> contextlib.AbstractContextManager[None]:
        watched = not isinstance(self.watch, contextlib.nullcontext)
        return self.host.unplugged() if watched else contextlib.nullcontext()

    def _describe(self, inputs: Any) -> str:
        turned = self.host.pair.to_keras or self.host.pair.keras_data
        return describe_shapes(inputs) + ("" if turned else " (does it need to_keras=channels_last?)")

    def _train(self, inputs: Any, targets: Any) -> Any:
        host, model = self.host, self.host.model
        data = batch_of(host, inputs, targets)
        if not host.built:
            build_for(model, data)
            host.built = True
        host.heard.forget()
        model.make_train_function()
        model.reset_metrics()
        model.train()
        try:
            if host.plugin is None:
                return model.train_function([data])
            with host.plugin.gradients_kept(model):
                return model.train_function([data])
        finally:
            model.eval()

    def _loss_of(self, logs: Any) -> np.ndarray:
        """Returns the loss of the step just made: as the pair says, as it was heard, or as the step returned it."""
        if self.host.pair.keras_loss is not None:
            return to_numpy(self.host.pair.keras_loss())
        if self.host.heard.loss is not None:
            return to_numpy(self.host.heard.loss)
        if not isinstance(logs, Mapping) or "loss" not in logs:
            told = f"{sorted(logs)}" if isinstance(logs, Mapping) else type(logs).__name__
            raise PairError(f"expected the port's train_step to return {{'loss': ...}}, received {told}")
        return np.asarray(keras.ops.convert_to_numpy(logs["loss"]), np.float32)

    def _begin(self, rows: np.ndarray) -> None:
        """Tells the callbacks that a batch begins, and an epoch if it is the first of one."""
        callbacks = self.kept.callbacks
        if callbacks is None:
            return
        if self._epochs.epoch < 0:
            callbacks.on_train_begin()
        if self._epochs.begin(rows):
            self._loss, self._examples = 0.0, 0
            callbacks.on_epoch_begin(self._epochs.epoch)
        callbacks.on_train_batch_begin(self._epochs.batch)

    def _end(self, loss: float, examples: int) -> None:
        """Tells the callbacks that a batch has ended, and an epoch if it was the last of one."""
        callbacks = self.kept.callbacks
        if callbacks is None:
            return
        self._loss, self._examples = self._loss + loss * examples, self._examples + examples
        logs = {"loss": self._loss / self._examples}
        callbacks.on_train_batch_end(self._epochs.batch, logs)
        if self._epochs.end():
            callbacks.on_epoch_end(self._epochs.epoch, logs)

    def outputs_in_training(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the outputs for some examples in training mode, for a step that does not show them.

        Where the plugin replays the steps it makes them, if the mode makes no difference. The state is as before.
        """
        host = self.host
        host.activate(self)
        inputs = keras.tree.map_structure(as_fit_gives, host.examples.take(rows)[0])
        before = host.save()
        try:
            with torch.no_grad():
                trained, evaluated = (
                    host.named(call(host.model, inputs, training), rows) for training in (True, False)
                )
            if host.plugin is not None and all(np.array_equal(trained[n], evaluated[n]) for n in trained):
                return host.named(host.model.predict_on_batch(inputs), rows)
            return trained
        finally:
            host.restore(before)

    def predict(self, inputs: Any | None = None) -> dict[str, np.ndarray]:
        """Returns the outputs in evaluation mode for the validation inputs, or for others, with Dropout as it is."""
        self.host.activate(self)
        given = self.host.validation if inputs is None else inputs
        told = errors_of_pair("the Keras model cannot predict the validation inputs")
        with self.host.dropping(), told, self._watched(), self.watch:
            return self.host.named(self.host.model.predict_on_batch(given))

    def names(self, *, trainable: bool | None = None) -> list[str]:
        """Returns the names of all matched tensors, or of those that are trained in Keras (or are not)."""
        return self.host.view.names(trainable=trainable)

    def weights(self, *, trainable: bool | None = None) -> Shelf:
        """Returns name -> value of those tensors, in PyTorch's layout."""
        self.host.activate(self)
        return self.host.view.weights(trainable=trainable)

    def read(self, name: str) -> np.ndarray:
        """Returns the value of a matched tensor, in PyTorch's layout."""
        self.host.activate(self)
        return self.host.view.read(name)

    def read_some(self, name: str, places: Places) -> np.ndarray:
        """Returns the values at some places of a matched tensor, in PyTorch's layout."""
        self.host.activate(self)
        return self.host.view.read_some(name, places)

    def gradients(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yields name and gradient of the last step of every matched tensor that has one."""
        self.host.activate(self)
        view, heard = self.host.view, self._gradients
        for name in view.names():
            variable = view.variables[name]
            gradient = heard.get(id(variable), variable.value.grad)
            if gradient is not None:
                yield name, view.turned(name, gradient)

    def optimizer_state(self) -> States:
        """Returns what the optimizer keeps for each matched tensor that PyTorch's keeps, too, in PyTorch's terms."""
        self.host.activate(self)
        kept = Shelf()
        states = comparable_states(self.host.optimizer)
        for match, index in self.host.view.trained(self.host.optimizer):
            for state, (values, scale) in states.items():
                value = to_view(values[index].value) * np.float32(scale)
                kept.keep((match.name, state), match.from_keras(value))
        return kept

    def take_state(self, weights: Tensors, states: States) -> bool:
        """Sets weights and optimizer state from the reference's; `False` where the optimizer keeps something else."""
        self.host.activate(self)
        own = keras_states(self.host.optimizer)
        if own is None or (states and not own):
            return False
        trained = self.host.view.trained(self.host.optimizer)
        if states and any((match.name, state) not in states for match, _ in trained for state in own):
            return False
        self.host.view.set_weights(weights)
        for match, index in trained:
            for state, (values, scale) in own.items():
                # The reference has no states before its first step.
                view = states[match.name, state] if states else np.zeros_like(weights[match.name])
                values[index].assign(match.to_keras(view) / np.float32(scale))
        return True

    def learning_rate(self) -> float:
        """The rate of the next step."""
        self.host.activate(self)
        return float(keras.ops.convert_to_numpy(self.host.optimizer.learning_rate))

    def reseed(self, seed: int) -> None:
        """Moves everything that random draws start from."""
        self.host.activate(self)
        for state in self.host.seeds():
            state.assign(state + seed)

    def close(self) -> None:
        """Lets a run go."""


def batch_of(host: KerasHost, inputs: Any, targets: Any) -> tuple[Any, ...]:
    """Returns what `fit` gives to `train_step` for some examples: inputs, targets, and weights where there are any."""
    data = tuple(mapped(as_fit_gives, part) for part in (inputs, targets))
    weights = example_weights(targets, host.pair.keras_class_weight)
    if weights is not None or host.takes_three:
        data = (*data, None if weights is None else as_fit_gives(weights))
    return data


def call(model: Any, inputs: Any, training: bool) -> Any:
    """Calls a model in one mode or the other; Keras leaves the mode out where `call` does not take it."""
    return model(inputs, training=training)


def as_fit_gives(array: np.ndarray) -> torch.Tensor:
    """Returns a batch as `fit` gives it to `train_step`: a tensor on the device, numbers in Keras' precision."""
    floating = np.issubdtype(array.dtype, np.floating)
    return keras.ops.convert_to_tensor(array.astype(keras.config.floatx(), copy=False) if floating else array)


def example_weights(targets: Any, class_weight: Mapping[int, float] | None) -> np.ndarray | None:
    """Returns the weights of examples that `fit(class_weight=)` makes of class numbers (B,), (B, 1) or one-hot rows."""
    if class_weight is None:
        return None
    labels = np.asarray(targets)
    if labels.ndim > 1:
        labels = labels[..., 0] if labels.shape[-1] == 1 else labels.argmax(-1)
    known = {int(label): float(weight) for label, weight in class_weight.items()}
    weights = [known.get(int(label), 1.0) for label in np.rint(labels).reshape(-1)]
    return np.array(weights, keras.config.floatx())

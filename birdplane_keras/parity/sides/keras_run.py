"""The port at work: the Keras model itself is trained step by step through `train_on_batch`, and then put back."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import torch

from birdplane_keras import torch_plugin
from birdplane_keras.parity.core.records import Tensors
from birdplane_keras.parity.core.samples import Places
from birdplane_keras.parity.matching.match import Matching
from birdplane_keras.parity.pair import Pair, named_leaves, port_examples, validation_inputs
from birdplane_keras.parity.sides.arrays import to_numpy, to_view

KNOWN = (keras.optimizers.SGD, keras.optimizers.Adam, keras.optimizers.RMSprop, keras.optimizers.Adagrad)
RATES = ("rate", "dropout", "recurrent_dropout", "_dropout")  # what Keras' layers call the share that they drop


class KerasRun:
    """The port, at the values that it had when this was made; `reset` goes back to them.

    Args:
        pair: With batches stated.
        matching: Gives the names and the view of the tensors.
    """

    def __init__(self, pair: Pair, matching: Matching) -> None:
        self.pair, self.matching, self.model = pair, matching, pair.keras_model
        self.examples = port_examples(pair)
        if not self.model.optimizer.built:
            self.model.optimizer.build(self.model.trainable_variables)
        self._matches = {match.name: match for match in matching.tensors}
        self._gradients = [(weight.value, weight.value.grad) for weight in self.model.trainable_variables]
        self._metrics = [(variable, to_numpy(variable.value)) for variable in self.model.metrics_variables]
        self._random = torch.get_rng_state()
        self.start = self._found = self.values()
        self._heard: tuple[Any, torch.Tensor] | None = None

    def values(self) -> list[np.ndarray]:
        """Returns every value that training changes, for `reset`."""
        return [to_numpy(variable.value) for variable in self._variables()]

    def reset(self, values: Sequence[np.ndarray] | None = None) -> None:
        """Goes back to the start, or to other values of `values()`."""
        for variable, value in zip(self._variables(), self.start if values is None else values, strict=True):
            variable.assign(value)
        self.model.zero_grad()
        self.model.reset_metrics()

    def step(self, rows: np.ndarray) -> torch.Tensor | np.ndarray:
        """Makes one training step on some rows of the data; returns the loss, ()."""
        inputs, targets = self.examples.take(rows)
        self._heard = None
        with torch_plugin.gradients_kept(self.model):
            logs = self.model.train_on_batch(
                inputs, targets, class_weight=self.pair.keras_class_weight, return_dict=True
            )
        if self.pair.keras_loss is not None:
            return self.pair.keras_loss().detach()
        return np.asarray(logs["loss"], np.float32) if self._heard is None else self._heard[1].detach()

    def outputs(self, rows: np.ndarray) -> Any:
        """Returns the outputs of the step just made, or of a replayed one by predicting: call before the step."""
        return self.model.predict_on_batch(self.examples.take(rows)[0])

    @contextlib.contextmanager
    def judged(self) -> Iterator[None]:
        """Within it, Dropout is off and `compute_loss` is listened to; after it, the port is as it was before."""
        rates = [
            (layer, name, vars(layer)[name])
            for layer in self.model._flatten_layers()
            for name in RATES
            if isinstance(vars(layer).get(name), float)
        ]
        self._rates = rates
        listen = not self.replayed
        if listen:
            self._listen()
        try:
            set_rates(rates, on=False)
            yield
        finally:
            set_rates(rates, on=True)
            if listen:
                del self.model.compute_loss
            self._put_back()

    def _put_back(self) -> None:
        """Gives the port everything back that it had when this was made."""
        self.reset(self._found)
        for variable, value in self._metrics:
            variable.assign(value)
        for tensor, gradient in self._gradients:
            tensor.grad = gradient
        torch.set_rng_state(self._random)

    @property
    def replayed(self) -> bool:
        """Whether the plugin replays the steps, so that Python within them is not run."""
        return torch_plugin.is_attached(self.model)

    def predict(self, inputs: Any | None = None) -> dict[str, np.ndarray]:
        """Returns the outputs in evaluation mode for the validation inputs, or for others, with Dropout as it is."""
        set_rates(self._rates, on=True)
        try:
            outputs = self.model.predict_on_batch(validation_inputs(self.pair)[1] if inputs is None else inputs)
        finally:
            set_rates(self._rates, on=False)
        return {name: np.asarray(leaf) for name, leaf in named_leaves(outputs, "outputs").items()}

    def weights(self, *, trainable: bool | None = None) -> dict[str, np.ndarray]:
        """Returns name -> value of all matched tensors, or of those that are trained (or not), in PyTorch's layout."""
        return {
            match.name: self.read(match.name)
            for match in self.matching.tensors
            if trainable is None or match.trainable[0] == trainable
        }

    def names(self) -> list[str]:
        """Returns the names of all matched tensors."""
        return [match.name for match in self.matching.tensors]

    def read(self, name: str) -> np.ndarray:
        """Returns the value of a matched tensor, in PyTorch's layout."""
        return self._matches[name].from_keras(to_numpy(self.matching.variables[name].value))

    def read_some(self, name: str, places: Places) -> np.ndarray:
        """Returns the values at some places of a matched tensor, in PyTorch's layout."""
        return self._matches[name].view_keras(to_view(self.matching.variables[name].value))[places]

    def set_weights(self, weights: Tensors) -> None:
        """Sets matched tensors from their views; the start stays what it was."""
        for match in self.matching.tensors:
            self.matching.variables[match.name].assign(match.to_keras(weights[match.name]))

    def gradients(self) -> dict[str, np.ndarray]:
        """Returns name -> gradient of the last step of every matched tensor that has one."""
        found = {}
        for match in self.matching.tensors:
            gradient = self.matching.variables[match.name].value.grad
            if gradient is not None:
                found[match.name] = match.from_keras(to_numpy(gradient))
        return found

    def optimizer_state(self) -> dict[str, np.ndarray]:
        """Returns `name: state` -> value, in PyTorch's terms, of what the optimizer keeps for each matched tensor.

        Keras' SGD keeps -rate times PyTorch's momentum buffer, so with a schedule the two cannot be compared.
        """
        kept = {}
        for match, index in self._trained():
            for state, (values, scale) in self._states().items():
                value = to_numpy(values[index].value) * np.float32(scale)
                kept[f"{match.name}: {state}"] = match.from_keras(value)
        return kept

    def take_state(self, weights: Tensors, states: Tensors) -> bool:
        """Sets weights and optimizer state from the reference's; `False` where the optimizer keeps something else."""
        known = isinstance(self.model.optimizer, KNOWN) and not getattr(self.model.optimizer, "amsgrad", False)
        if not known or (states and not self._states()):
            return False
        if not states:  # the reference has not made a step
            names = [f"{match.name}: {state}" for match, _ in self._trained() for state in self._states()]
            states = {name: np.zeros_like(weights[name.rpartition(": ")[0]]) for name in names}
        self.set_weights(weights)
        for match, index in self._trained():
            for state, (values, scale) in self._states().items():
                view = states.get(f"{match.name}: {state}")
                if view is None:
                    return False
                values[index].assign(match.to_keras(view) / np.float32(scale))
        return True

    def _states(self) -> dict[str, tuple[list[Any], float]]:
        """Returns PyTorch's name of a state -> Keras' variables, and what makes PyTorch's value of theirs."""
        optimizer = self.model.optimizer
        if isinstance(optimizer, keras.optimizers.Adam):
            return {"exp_avg": (optimizer._momentums, 1.0), "exp_avg_sq": (optimizer._velocities, 1.0)}
        if isinstance(optimizer, keras.optimizers.SGD) and optimizer.momentum and not self.scheduled:
            return {"momentum_buffer": (optimizer.momentums, -1 / self.learning_rate())}
        if isinstance(optimizer, keras.optimizers.RMSprop):
            return {"square_avg": (optimizer._velocities, 1.0)}
        if isinstance(optimizer, keras.optimizers.Adagrad):
            return {"sum": (optimizer._accumulators, 1.0)}
        return {}

    def _trained(self) -> list[tuple[Any, int]]:
        """Returns the matched tensors that the optimizer trains, with their place in its lists."""
        indices = {id(variable): index for index, variable in enumerate(self.model.optimizer._trainable_variables)}
        found = [(match, indices.get(id(self.matching.variables[match.name]))) for match in self.matching.tensors]
        return [(match, index) for match, index in found if index is not None]

    @property
    def scheduled(self) -> bool:
        """Whether the rate follows a schedule."""
        return isinstance(self.model.optimizer._learning_rate, keras.optimizers.schedules.LearningRateSchedule)

    def learning_rate(self) -> float:
        """The rate of the next step."""
        return float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))

    def _variables(self) -> list[keras.Variable]:
        return [*self.model.variables, *self.model.optimizer.variables]

    def _listen(self) -> None:
        compute_loss: Callable[..., torch.Tensor] = self.model.compute_loss

        def listening(*args: Any, **kwargs: Any) -> torch.Tensor:
            loss = compute_loss(*args, **kwargs)
            outputs = kwargs["y_pred"] if "y_pred" in kwargs else args[2] if len(args) > 2 else None
            self._heard = (outputs, loss)
            return loss

        self.model.compute_loss = listening


def set_rates(rates: Sequence[tuple[Any, str, float]], *, on: bool) -> None:
    """Sets each layer's rate of dropping to what it was, or to zero."""
    for layer, name, rate in rates:
        setattr(layer, name, rate if on else 0.0)

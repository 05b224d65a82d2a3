"""The one Keras model of a pair, which many runs share: the state of one of them at a time is in it."""

import contextlib
import copy
import dataclasses
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import keras
import numpy as np
import torch

from birdplane_keras.errors import errors_of_pair
from birdplane_keras.parity.kinds.repairing import attributes_set
from birdplane_keras.parity.matching.match import Matching
from birdplane_keras.parity.pair import Pair
from birdplane_keras.parity.private_keras import dropout_replaced, layers_of, seeds_of
from birdplane_keras.parity.sides.dropping import rates_of
from birdplane_keras.parity.sides.examples import Epochs, port_examples, port_validation_inputs
from birdplane_keras.parity.sides.kept import Asleep, KeptTensor, keep
from birdplane_keras.parity.sides.listening import Heard, listening
from birdplane_keras.parity.sides.masking import counted_of_rows
from birdplane_keras.parity.sides.memory import give_back_memory, is_large
from birdplane_keras.parity.sides.outputs import flat
from birdplane_keras.parity.sides.plain import PlainState, plain_state, put_back
from birdplane_keras.parity.sides.views import KerasView

PLUGIN = "birdplane_keras.torch_plugin"


@dataclass(kw_only=True)
class PortState:
    """Everything that training changes: what a run of the port is, while another is in the model.

    Args:
        values: Of the model's variables and its optimizer's.
        gradients: Of the trainable variables, as the last step left them.
        plain: Numbers and the like that objects of the port count with, by the object's place.
        callbacks: Copies of the port's callbacks, told of this run alone.
    """

    values: list[KeptTensor]
    gradients: list[KeptTensor | None]
    plain: list[PlainState]
    callbacks: Any


Repair = Callable[["KerasHost"], contextlib.AbstractContextManager[Any]]  # changes the port for a while


class Guest(Protocol):
    """A run whose state is in the model, or kept in it while another's is."""

    kept: PortState


class KerasHost:
    """A Keras model, lent to one run at a time.

    Args:
        pair: With batches stated.
        matching: Gives the names and the variables.
    """

    def __init__(self, pair: Pair, matching: Matching) -> None:
        self.pair, self.matching, self.model = pair, matching, pair.keras_model
        self.examples = port_examples(pair)
        self.view = KerasView(matching)
        self.heard = Heard()
        self.rates: list[tuple[Any, str, float]] = []
        self._dropout: Callable[..., Any] | None = None  # Keras' own, while another is in its place
        self.built = False  # whether the model has built what it builds at its first batch
        self._large = is_large(pair.torch_module)
        self.takes_three = False  # whether the port's own `train_step` wants weights of examples, too
        if self.optimizer is not None and not self.optimizer.built:
            self.optimizer.build(self.model.trainable_variables)
        self._random = torch.get_rng_state()
        self._metrics = [(variable, variable.value.detach().clone()) for variable in self.model.metrics_variables]
        self._gradients = [(weight.value, weight.value.grad) for weight in self.model.trainable_weights]
        self._guest: weakref.ReferenceType[Any] | None = None
        self._last: list[KeptTensor] = []  # the values that were kept, or put into the model, last
        self.start = self._found = self.save()

    @property
    def optimizer(self) -> Any:
        """The model's optimizer; `None` where the pair is not trained."""
        return self.model.optimizer if self.pair.trains else None

    @property
    def training(self) -> bool:
        """The mode that the port is called in: as it is trained, or as the reference is."""
        return self.pair.trains or self.pair.torch_module.training

    def named(self, outputs: Any, rows: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Returns name -> output of what the model returns for examples, (B,) their numbers, or those to predict."""
        return counted_of_rows(self.pair, flat(outputs, self.pair.keras_outputs), rows)

    @property
    def plugin(self) -> Any:
        """The module of the plugin, if the port's steps are replayed by it; a port that has none loads none."""
        module = sys.modules.get(PLUGIN)
        return module if module is not None and module.is_attached(self.model) else None

    def unplugged(self) -> contextlib.AbstractContextManager[None]:
        """Within it, the port's steps are made by stock Keras: what is replayed from a trace cannot be watched."""
        plugin = self.plugin
        return contextlib.nullcontext() if plugin is None else plugin.detached(self.model)

    def save(self) -> PortState:
        """Returns a copy of the state that is in the model."""
        self._last = keep((variable.value for variable in self._variables()), self._last)
        gradients = [weight.value.grad for weight in self.model.trainable_weights]
        return PortState(
            values=self._last,
            gradients=[None if gradient is None else KeptTensor(gradient) for gradient in gradients],
            plain=[plain_state(member) for member in self._members()],
            callbacks=None,
        )

    def restore(self, state: PortState) -> None:
        """Puts a state into the model."""
        with torch.no_grad():
            for variable, value in zip(self._variables(), state.values, strict=True):
                variable.value.copy_(value.read())
        self._last = state.values
        for weight, gradient in zip(self.model.trainable_weights, state.gradients, strict=True):
            weight.value.grad = None if gradient is None else gradient.read().clone()
        for member, plain in zip(self._members(), state.plain, strict=True):
            put_back(member, plain)
        self.model.reset_metrics()

    def activate(self, run: Guest) -> None:
        """Makes the model hold the state of a run, and keeps that of the run whose it held."""
        guest = None if self._guest is None else self._guest()
        if guest is run:
            return
        if guest is not None:
            guest.kept = dataclasses.replace(self.save(), callbacks=guest.kept.callbacks)
        give_back_memory(large=self._large)
        self.restore(run.kept)
        self._guest = weakref.ref(run, self._empty)

    @contextlib.contextmanager
    def asleep(self) -> Iterator[None]:
        """Within it, a large model's numbers lie in a file; nothing may use it. A model that is replayed stays."""
        numbers = Asleep()
        if self.plugin is None and self._large:
            numbers.put(variable.value for variable in self._variables())
        try:
            yield
        finally:
            numbers.wake()

    def _empty(self, guest: "weakref.ReferenceType[Any]") -> None:
        """Lets go what the last step of a run left, as the run itself has gone."""
        if self._guest is guest:
            self.forget_step()

    def forget_step(self) -> None:
        """Lets go what the last step left: what was heard of it, and the gradients."""
        self.heard.forget()
        for weight in self.model.trainable_weights:
            weight.value.grad = None
        give_back_memory(large=self._large)

    @cached_property
    def validation(self) -> Any:
        """The inputs to predict, in the port's layout."""
        return port_validation_inputs(self.pair, self.examples)

    def new_epochs(self) -> Epochs:
        """Returns what counts the batches and epochs of a run.

        Raises:
            RuntimeError: The pair does not state its batches.
        """
        if self.pair.keras_batches is None:
            raise RuntimeError("expected batches, which build_batches has stated")
        return Epochs(self.pair.keras_batches, self.examples.size)

    def new_state(self) -> PortState:
        """Returns the state that a new run starts from: without gradients, its callbacks untold."""
        gradients: list[KeptTensor | None] = [None] * len(self.start.gradients)
        return dataclasses.replace(self.start, gradients=gradients, callbacks=self._new_callbacks())

    def _new_callbacks(self) -> Any:
        """Returns copies of the port's callbacks, `None` where it has none."""
        if not self.pair.keras_callbacks:
            return None
        memo = {id(self.model): self.model, id(self.optimizer): self.optimizer}
        told: dict[str, Any] = {
            "verbose": 0,
            "steps": len(self.pair.keras_batches(0)) if self.pair.keras_batches else None,
        }
        with errors_of_pair("keras_callbacks of the pair cannot be copied"):
            copies = copy.deepcopy(list(self.pair.keras_callbacks), memo)
            return keras.callbacks.CallbackList(copies, add_history=False, add_progbar=False, model=self.model, **told)

    def forget(self) -> None:
        """Puts the start into the model; runs that were made before cannot go on."""
        self._guest, self.built = None, False
        self.restore(self.start)

    def begin_at(self, weights: Mapping[str, np.ndarray]) -> None:
        """Makes other weights the start of all runs."""
        self.forget()
        self.view.set_weights(weights)
        self.start = self.save()

    @contextlib.contextmanager
    def judged(self) -> Iterator[None]:
        """Within it, Dropout is off, and losses and gradients are heard; after it, the port is as it was before."""
        self.rates = [(layer, name, rate) for layer in layers_of(self.model) for name, rate in rates_of(layer)]
        try:
            with contextlib.ExitStack() as stack:
                if self.plugin is None:  # what is replayed is not heard, and must not be traced with other functions
                    if self.pair.trains:
                        stack.enter_context(listening(self.model, self.heard))
                    self._dropout = stack.enter_context(dropout_replaced(lambda inputs, *_, **__: inputs))
                self.set_rates(on=False)
                yield
        finally:
            self.set_rates(on=True)
            self._put_back()

    def _put_back(self) -> None:
        """Gives the port everything back that it had when this was made."""
        self._guest = None
        self.restore(self._found)
        with torch.no_grad():
            for variable, value in self._metrics:
                variable.value.copy_(value)
        for tensor, gradient in self._gradients:
            tensor.grad = gradient
        torch.set_rng_state(self._random)

    @contextlib.contextmanager
    def repaired(self, repairs: Iterable["Repair"]) -> Iterator[None]:
        """Within it, the port is changed, and runs start from it as it then is; those made before cannot go on."""
        self.forget()
        start = self.start
        with self.together([repair(self) for repair in repairs]):
            self.start = self.save()
            try:
                yield
            finally:
                self.start, self._guest = start, None

    @contextlib.contextmanager
    def trained_by(self, make: Callable[[Any], Any]) -> Iterator[None]:
        """Within it, the port has another optimizer: what is made of the one that it has, other changes included."""
        optimizer = make(self.optimizer)
        optimizer.build(self.model.trainable_variables)
        with attributes_set(self.model, optimizer=optimizer):
            yield

    @staticmethod
    @contextlib.contextmanager
    def together(managers: Iterable[contextlib.AbstractContextManager[Any]]) -> Iterator[None]:
        """Within it, several changes of the port hold at once."""
        with contextlib.ExitStack() as stack:
            for manager in managers:
                stack.enter_context(manager)
            yield

    def set_rates(self, *, on: bool) -> None:
        """Sets each layer's rate of dropping to what it was, or to zero."""
        for layer, name, rate in self.rates:
            setattr(layer, name, rate if on else 0.0)

    @contextlib.contextmanager
    def dropping(self, function: Callable[..., Any] | None = None) -> Iterator[None]:
        """Within it, layers drop as they were built to, or by a function."""
        self.set_rates(on=True)
        dropout = function or self._dropout
        try:
            with contextlib.nullcontext() if dropout is None else dropout_replaced(dropout):
                yield
        finally:
            self.set_rates(on=False)

    def seeds(self) -> list[Any]:
        """Returns the variables that random draws start from."""
        found = [state for layer in layers_of(self.model) for state in seeds_of(layer)]
        return list({id(state): state for state in found}.values())

    def _variables(self) -> list[Any]:
        return [*self.model.variables, *(self.optimizer.variables if self.optimizer is not None else [])]

    def _members(self) -> list[Any]:
        """Returns the objects of the port that may count something in plain numbers: model, layers, optimizer, loss."""
        return [
            *layers_of(self.model),
            *([self.optimizer] if self.optimizer is not None else []),
            *([self.model.loss] if hasattr(self.model, "loss") else []),
        ]

"""The training of an estimator's network: built, compiled as the parameters say, run by `model.fit()`, and pickled."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import torch
from sklearn.base import BaseEstimator

from birdplane_keras import torch_plugin
from birdplane_keras.data.batches import EpochBatches
from birdplane_keras.estimators.attributes import FittedAttributes
from birdplane_keras.estimators.engines import choose_engine
from birdplane_keras.estimators.network import (
    Network,
    build_network,
    forward,
    hidden_units,
    keras_activation,
    set_penalty,
)
from birdplane_keras.estimators.optimizers import (
    Compiled,
    Rate,
    build_optimizer,
    describe_optimizer,
    optimizer_state,
    restore_optimizer,
)
from birdplane_keras.estimators.rows import Scaling
from birdplane_keras.estimators.watching import Record, Watch
from birdplane_keras.keras_warnings import own_warnings_ignored


class NetworkTraining(FittedAttributes, BaseEstimator):
    """What an estimator does with its network, by the parameters that it holds."""

    hidden_layers: int | Sequence[int]
    activation: str | Callable
    optimizer: str | keras.optimizers.Optimizer
    learning_rate: Rate
    learning_rate_init: float | None
    power_t: float
    momentum: float
    nesterov: bool
    alpha: float
    batch_size: int
    standardise: str | None
    engine: str
    early_stopping: bool
    tol: float | None
    n_iter_no_change: int
    callbacks: Sequence[keras.callbacks.Callback] | None
    verbose: int
    device: str
    n_features_in_: int
    seed_: int

    @own_warnings_ignored()
    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if "model_" in state:
            state["model_"] = self.model_.get_weights(), optimizer_state(self.model_.optimizer)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "model_" in state:
            weights, remembered = state["model_"]
            self._build()
            self._compile(fresh=True)
            self.model_.set_weights(weights)
            with keras.device(self.device):
                restore_optimizer(self.model_.optimizer, self.model_, remembered)

    @abstractmethod
    def _loss(self) -> tuple[keras.losses.Loss, list[str]]:
        """Returns the loss and the metrics beside it."""

    @abstractmethod
    def _score_outputs(self, outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None) -> float:
        """Returns the score of what the network says of held out rows."""

    def _begin(self, scaling: Scaling, outputs: int) -> None:
        """Starts again: the weights, an empty history."""
        self._scaling = scaling
        self._network = self._asked_network(outputs)
        self.__dict__.pop("_compiled", None)
        self._record = Record()
        self.history_ = {}
        self.epochs_ = 0
        self._build()

    def _asked_network(self, outputs: int) -> Network:
        return Network(
            inputs=self.n_features_in_,
            hidden_layers=hidden_units(self.hidden_layers),
            outputs=outputs,
            activation=keras_activation(self.activation),
            seed=self.seed_,
        )

    def _require_same_network(self) -> None:
        if self.standardise != self._scaling.rule:
            raise ValueError(
                f"expected standardise as in the first fit, {self._scaling.rule!r}, received {self.standardise!r}: fit "
                "again with warm_start=False"
            )
        asked = self._asked_network(self._network.outputs)
        if asked != self._network:
            raise ValueError(
                f"expected hidden_layers and activation as in the first fit, {self._network.hidden_layers} and "
                f"{self._network.activation!r}, received {asked.hidden_layers} and {asked.activation!r}: fit again "
                "with warm_start=False"
            )

    def _build(self) -> None:
        with keras.device(self.device):
            self.model_ = build_network(self._network)

    def _prepare(self, rows: int, steps: int) -> Compiled:
        """Returns how the model trains from here on, by the parameters; where they changed, it is compiled again."""
        before: Compiled | None = getattr(self, "_compiled", None)
        penalty = self.alpha, self.batch_size
        if before is not None and before.penalty == penalty:
            factor = before.factor
        else:
            factor = 0.5 * self.alpha / min(self.batch_size, rows)
        compiled = Compiled(
            optimizer=describe_optimizer(build_optimizer(self)),
            penalty=penalty,
            factor=factor,
            engine=choose_engine(self.engine, self._record.steps + steps),
        )
        if compiled != before:
            self._compiled = compiled
            self._compile(fresh=before is None or before.optimizer != compiled.optimizer)
        return compiled

    def _compile(self, fresh: bool) -> None:
        """Has the model follow `_compiled`; only if `fresh` does its optimizer forget what it remembers."""
        with keras.device(self.device):
            set_penalty(self.model_, self._compiled.factor)
            if fresh:
                kind, config = self._compiled.optimizer
                loss, metrics = self._loss()
                self.model_.compile(optimizer=kind.from_config(config), loss=loss, metrics=metrics, jit_compile=False)
            torch_plugin.detach(self.model_)
            if self._compiled.engine != "stock":
                torch_plugin.attach(self.model_, self._compiled.engine)

    def _train(self, parts: list[np.ndarray], held_out: list[np.ndarray], epochs: int) -> Watch:
        """Makes passes over rows (N, D) float32, their targets and what each counts."""
        steps = -(-len(parts[0]) // self.batch_size)
        compiled = self._prepare(len(parts[0]), epochs * steps)
        ends = self.early_stopping or self.tol is not None
        with keras.device(self.device):
            tensors = [torch.from_numpy(part).to(self.device) for part in parts]
            batches = EpochBatches(*tensors, batch_size=self.batch_size, seed=self.seed_)
            watch = Watch(
                self._record,
                rows=len(parts[0]),
                steps=steps,
                tol=self.tol or 0.0,
                patience=self.n_iter_no_change if ends else None,
                score=self._scorer(held_out) if self.early_stopping else None,
                rate=self.learning_rate if isinstance(self.learning_rate, str) else "constant",
                first_rate=compiled.optimizer[1]["learning_rate"],
                power_t=self.power_t,
            )
            history = self.model_.fit(
                batches,
                initial_epoch=self.epochs_,
                epochs=self.epochs_ + epochs,
                shuffle=False,  # the batches are in the epoch's order already
                validation_data=tuple(held_out) or None,
                validation_batch_size=self.batch_size,
                callbacks=[batches.follow_epochs(), watch, *(self.callbacks or ())],
                verbose=self.verbose,
            )
        self.n_iter_ = len(history.epoch)
        self.epochs_ += self.n_iter_
        for name, values in history.history.items():
            self.history_.setdefault(name, []).extend(values)
        if not all(np.isfinite(weight).all() for weight in self.model_.get_weights()):
            raise ValueError(
                f"expected finite weights after training, received others after {self.epochs_} epochs: lower "
                "learning_rate, or standardise X"
            )
        return watch

    def _scorer(self, held_out: list[np.ndarray]) -> Callable[[], float]:
        rows = torch.from_numpy(held_out[0]).to(self.device)
        targets, weights = held_out[1], held_out[2] if len(held_out) > 2 else None
        return lambda: self._score_outputs(forward(self.model_, rows), targets, weights)

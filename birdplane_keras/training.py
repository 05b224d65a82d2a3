"""Training through `model.fit()`, with a record of what happened."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import torch

from birdplane_keras import torch_plugin
from birdplane_keras.data.batches import EpochBatches
from birdplane_keras.model import build_model, logits_model
from birdplane_keras.recipe import Recipe

Arrays = tuple[np.ndarray, np.ndarray]
Tensors = tuple[torch.Tensor, torch.Tensor]
OnEpochEnd = Callable[[int, keras.Model, dict[str, float]], None]
OnStepEnd = Callable[[int, keras.Model, torch.Tensor], None]

HISTORY = {
    "loss": "loss",
    "accuracy": "accuracy",
    "val_loss": "validation_loss",
    "val_accuracy": "validation_accuracy",
}


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """What a training run leaves behind, all on the CPU.

    Args:
        weights: Final value of each trainable weight under its Keras path; kernels are (in, out) float32.
        step_losses: (steps,) float32, the loss of every batch, before its update.
        history: A list with one number per epoch for each of `loss` (mean over the images as they were met),
            `accuracy` (likewise), `validation_loss` and `validation_accuracy` (after the epoch).
        train_logits: (10000, 2) float32, the trained model on the training images in file order.
        validation_logits: (2000, 2) float32, the same on the validation images.
        seconds_per_epoch: Wall time of the steps of each epoch; validation and callbacks are not in it.
    """

    weights: dict[str, np.ndarray]
    step_losses: np.ndarray
    history: dict[str, list[float]]
    train_logits: np.ndarray
    validation_logits: np.ndarray
    seconds_per_epoch: list[float]


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """Where a training run stands after an epoch: what it takes to go on as if it had never stopped.

    Plain SGD remembers nothing, and order and shifts of the images are functions of the seed and the epoch.

    Args:
        epochs: Passes made.
        weights: The trainable tensors, in the model's order.
        step_losses: (steps,) float32, so far.
        history: As `TrainingRun` has it, so far.
        seconds_per_epoch: Likewise.
    """

    epochs: int
    weights: list[np.ndarray]
    step_losses: np.ndarray
    history: dict[str, list[float]]
    seconds_per_epoch: list[float]


OnState = Callable[[TrainingState], None]


class StepLoss(keras.losses.Loss):
    """A loss that also keeps its last value: Keras' logs hold running means only."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.latest = keras.Variable(0.0, trainable=False, dtype="float32", name="latest_loss")

    def __call__(self, y_true, y_pred, sample_weight=None):
        loss = super().__call__(y_true, y_pred, sample_weight)
        self.latest.assign(loss)
        return loss


class StepCrossentropy(StepLoss, keras.losses.SparseCategoricalCrossentropy):
    """The stock cross-entropy of logits."""


class StepSquaredError(StepLoss, keras.losses.MeanSquaredError):
    """The stock mean squared error of probabilities (N, 2), against one-hot rows: airplane (1, 0), bird (0, 1)."""

    def call(self, y_true, y_pred):
        # Not `keras.ops.one_hot`: PyTorch's looks at the labels in Python, and so it cannot be traced.
        targets = keras.ops.equal(y_true[:, None], keras.ops.arange(y_pred.shape[-1], dtype=y_true.dtype))
        return super().call(keras.ops.cast(targets, y_pred.dtype), y_pred)


class Recorder(keras.callbacks.Callback):
    """Notes the loss of every step, the seconds of every epoch's steps and its metrics.

    Args:
        loss: Keeps the last step's.
        device: Where that is.
        start: What an interrupted run noted before.
        on_state: Called after each epoch with where the run stands.
        on_step_end: Called after each step; see `train`.
    """

    def __init__(
        self,
        loss: StepLoss,
        device: str,
        start: TrainingState | None,
        on_state: OnState | None,
        on_step_end: OnStepEnd | None,
    ) -> None:
        super().__init__()
        self.loss, self.device, self.start = loss, device, start
        self.on_state, self.on_step_end = on_state, on_step_end
        self.seconds_per_epoch = list(start.seconds_per_epoch) if start else []
        self.metrics = {name: list(start.history[name]) if start else [] for name in HISTORY.values()}

    def on_train_begin(self, logs=None):
        # Filled in place: a small tensor kept from every step would sit between the large ones that come and go, and
        # the holes that it leaves in the heap would add up to gigabytes.
        shape = (self.params["epochs"], self.params["steps"])
        self.losses = torch.empty(shape, device=self.device)
        if self.start:
            before = torch.from_numpy(self.start.step_losses).reshape(self.start.epochs, -1)
            self.losses[: self.start.epochs] = before.to(self.device)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
        self.started = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        self.losses[self.epoch, batch] = self.loss.latest.value
        if self.on_step_end is not None:
            float(self.loss.latest.value)  # waits for the device
            held = time.perf_counter()
            self.on_step_end(self.epoch * self.params["steps"] + batch, self.model, self.loss.latest.value)
            self.started += time.perf_counter() - held
        if batch == self.params["steps"] - 1:
            float(self.loss.latest.value)  # waits for the device
            self.seconds_per_epoch.append(time.perf_counter() - self.started)

    def on_epoch_end(self, epoch, logs=None):
        for theirs, ours in HISTORY.items():
            self.metrics[ours].append((logs or {})[theirs])
        if self.on_state is not None:
            self.on_state(self.state(epoch + 1))

    def state(self, epochs: int) -> TrainingState:
        """Returns where the run stands after so many epochs."""
        return TrainingState(
            epochs=epochs,
            weights=[keras.ops.convert_to_numpy(weight).copy() for weight in self.model.trainable_weights],
            step_losses=self.losses[:epochs].flatten().cpu().numpy(),
            history={name: list(values) for name, values in self.metrics.items()},
            seconds_per_epoch=list(self.seconds_per_epoch),
        )


def build_loss(recipe: Recipe) -> StepLoss:
    """Two of the original's forms, NLL after LogSoftmax and cross-entropy of logits, are one Keras loss."""
    return StepSquaredError() if recipe.loss == "mse" else StepCrossentropy(from_logits=True)


def build_optimizer(recipe: Recipe) -> keras.optimizers.Optimizer:
    """Plain SGD: `w -= learning_rate * gradient`."""
    return keras.optimizers.SGD(learning_rate=recipe.learning_rate)


def compile_model(model: keras.Model, recipe: Recipe, engine: str = "stock") -> keras.Model:
    """Compiles the model as the recipe says, attaches the engine, and returns it."""
    model.compile(optimizer=build_optimizer(recipe), loss=build_loss(recipe), metrics=["accuracy"], jit_compile=False)
    return model if engine == "stock" else torch_plugin.attach(model, engine, strict=True)


def stock_model(model: keras.Sequential, recipe: Recipe) -> keras.Sequential:
    """Returns the same model, sharing its weights, compiled with Keras' own classes alone, so that any Keras loads it.

    Its mean squared error takes one-hot rows.
    """
    stock = keras.Sequential([keras.layers.Input(model.input_shape[1:]), *model.layers])
    squared_error = keras.losses.MeanSquaredError()
    loss = squared_error if recipe.loss == "mse" else keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    stock.compile(optimizer=build_optimizer(recipe), loss=loss, metrics=["accuracy"])
    return stock


def build_train_batches(train_data: Arrays | Tensors, recipe: Recipe) -> EpochBatches:
    """Returns the mini-batches that the recipe asks for; they take the epoch from `follow_epochs`."""
    return EpochBatches(
        *train_data,
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        shuffle=recipe.shuffle,
        largest_shift=recipe.largest_shift,
    )


def attached_logits_model(model: keras.Sequential, engine: str) -> keras.Sequential:
    """Returns the model up to its logits, on the engine: `model` itself where it has no closing softmax."""
    logits = logits_model(model)
    if engine != "stock" and not torch_plugin.is_attached(logits):
        torch_plugin.attach(logits, engine, strict=True)
    return logits


def train(
    recipe: Recipe,
    train_data: Arrays,
    validation_data: Arrays,
    *,
    model: keras.Model | None = None,
    engine: str = "exact",
    device: str = "cpu",
    on_epoch_end: OnEpochEnd | None = None,
    on_step_end: OnStepEnd | None = None,
    start: TrainingState | None = None,
    on_state: OnState | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> TrainingRun:
    """Trains the classifier as the recipe says.

    Args:
        recipe: Layers, loss, rate, batches, epochs, seed.
        train_data: Normalised pixels (N, 3072) float32 and labels (N,) int64.
        validation_data: The same.
        model: Start from this model instead of a new one; it is trained in place.
        engine: `stock`, or one of the plugin's: `exact`, `fused`.
        device: Where to train, as PyTorch names it.
        on_epoch_end: Called as `on_epoch_end(epoch, model, metrics)`; the metrics are the last entries of `history`.
        on_step_end: Called as `on_step_end(step, model, loss)` after the update of each step, counted over all epochs;
            its time is not counted.
        start: Go on from here, as the run that stopped would have; it ends in the same bits.
        on_state: Called after each epoch with what `start` takes; the weights are copied for it.
        callbacks: Further ones for `fit`.
    """
    with keras.device(device):
        model = compile_model(model or build_model(recipe), recipe, engine)
        if start is not None:
            for weight, value in zip(model.trainable_weights, start.weights, strict=True):
                weight.assign(value)
        train_tensors, validation_tensors = (
            (torch.from_numpy(x).to(device), torch.from_numpy(y).to(device)) for x, y in (train_data, validation_data)
        )
        batches = build_train_batches(train_tensors, recipe)
        recorder = Recorder(model.loss, device, start, on_state, on_step_end)
        followers = [batches.follow_epochs(), recorder, *callbacks]
        if on_epoch_end is not None:
            followers.append(
                keras.callbacks.LambdaCallback(
                    on_epoch_end=lambda epoch, logs: on_epoch_end(epoch, model, {HISTORY[n]: logs[n] for n in HISTORY})
                )
            )
        model.fit(
            batches,
            initial_epoch=start.epochs if start else 0,
            epochs=recipe.epochs,
            shuffle=False,  # the batches are in order already
            validation_data=validation_tensors,
            validation_batch_size=recipe.batch_size,
            callbacks=followers,
            verbose=0,
        )
        logits = attached_logits_model(model, engine)
        train_logits, validation_logits = (
            logits.predict(x, batch_size=recipe.batch_size, verbose=0) for x, _ in (train_tensors, validation_tensors)
        )
    return TrainingRun(
        weights={weight.path: keras.ops.convert_to_numpy(weight).copy() for weight in model.trainable_weights},
        step_losses=recorder.losses.flatten().cpu().numpy(),
        history=recorder.metrics,
        train_logits=train_logits,
        validation_logits=validation_logits,
        seconds_per_epoch=recorder.seconds_per_epoch,
    )

"""Mistakes in the training step around the optimizer: schedules, clipping, and gradients that are not cleared."""

import keras
import torch
from torch import nn

from birdplane_keras.catalogue.networks import CLASSES, FEATURES, dense, mlp, sgd, vector_pair
from birdplane_keras.catalogue.recipes import clip_global_norm, scheduled
from birdplane_keras.catalogue.records import fault
from birdplane_keras.parity import Pair

schedules = keras.optimizers.schedules


class Accumulating(keras.Model):
    """Three dense layers with a training step of their own, which does not clear the gradients."""

    def __init__(self) -> None:
        inputs = keras.Input((FEATURES,))
        hidden = dense(16, 16, "relu")(dense(FEATURES, 16, "relu")(inputs))
        super().__init__(inputs, dense(16, CLASSES)(hidden))

    def train_step(self, data):
        x, y = data[:2]
        y_pred = self(x, training=True)
        loss = self.compute_loss(x=x, y=y, y_pred=y_pred, training=True)
        self._loss_tracker.update_state(loss)
        loss.backward()
        with torch.no_grad():
            self.optimizer.apply([weight.value.grad for weight in self.trainable_weights], self.trainable_weights)
        return self.compute_metrics(x, y, y_pred)


class Stopped(nn.Module):
    """Two layers with tanh between them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, CLASSES)

    def forward(self, x):
        return self.head(torch.tanh(self.first(x)))


@fault(
    "The reference lowers the rate after each epoch, the port after each step.",
    rung="optimizer_state",
    cause="schedule",
)
def schedule_by_step(seed: int) -> Pair:
    schedule = schedules.ExponentialDecay(0.05, decay_steps=1, decay_rate=0.8)
    pair = vector_pair(seed, keras_optimizer=keras.optimizers.SGD(schedule))
    return scheduled(pair, lambda epoch: 0.8**epoch, by="epoch")


@fault("The reference lowers the rate, the port does not.", rung="optimizer_state", cause="schedule")
def schedule_missing(seed: int) -> Pair:
    return scheduled(vector_pair(seed), lambda step: 0.8**step)


@fault("The port halves the rate ten steps late.", rung="trajectory", cause="schedule")
def schedule_late(seed: int) -> Pair:
    schedule = schedules.PiecewiseConstantDecay([19], [0.05, 0.025])
    pair = vector_pair(seed, keras_optimizer=keras.optimizers.SGD(schedule))
    return scheduled(pair, lambda step: 1.0 if step < 10 else 0.5)


@fault("Keras' momentum keeps the rates of steps past, PyTorch's does not.", rung="optimizer_state", cause="momentum")
def momentum_with_a_schedule(seed: int) -> Pair:
    schedule = schedules.ExponentialDecay(0.02, decay_steps=1, decay_rate=0.9)
    pair = vector_pair(
        seed,
        torch_optimizer=sgd(0.02, momentum=0.9),
        keras_optimizer=keras.optimizers.SGD(schedule, momentum=0.9),
    )
    return scheduled(pair, lambda step: 0.9**step)


@fault(
    "The reference clips the norm of the gradients, the port their entries.",
    rung="first_update",
    cause="gradient_clipping",
)
def clipping_by_value(seed: int) -> Pair:
    return vector_pair(
        seed, torch_clip=clip_global_norm(0.05), keras_optimizer=keras.optimizers.SGD(0.05, clipvalue=0.05)
    )


@fault("The port clips the norm of each tensor's gradient by itself.", rung="first_update", cause="gradient_clipping")
def clipping_by_tensor(seed: int) -> Pair:
    return vector_pair(seed, torch_clip=clip_global_norm(0.1), keras_optimizer=keras.optimizers.SGD(0.05, clipnorm=0.1))


@fault("The port does not clip.", rung="first_update", cause="gradient_clipping")
def clipping_missing(seed: int) -> Pair:
    return vector_pair(seed, torch_clip=clip_global_norm(0.1))


@fault(
    "The port's own training step does not clear the gradients.", rung="optimizer_state", cause="accumulated_gradients"
)
def gradients_not_cleared(seed: int) -> Pair:
    return vector_pair(seed, module=mlp(), model=Accumulating())


@fault("The port stops the gradient before the last layer.", rung="gradients", cause="gradient_stopped")
def gradient_stopped(seed: int) -> Pair:
    inputs = keras.Input((FEATURES,))
    hidden = keras.ops.stop_gradient(dense(FEATURES, FEATURES, "tanh")(inputs))
    return vector_pair(seed, module=Stopped(), model=keras.Model(inputs, dense(FEATURES, CLASSES)(hidden)))


FAULTS = (
    schedule_by_step,
    schedule_missing,
    schedule_late,
    momentum_with_a_schedule,
    clipping_by_value,
    clipping_by_tensor,
    clipping_missing,
    gradients_not_cleared,
    gradient_stopped,
)

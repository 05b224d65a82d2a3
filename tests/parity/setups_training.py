"""Ordinary ways to train a network, on both sides; see `setups`."""

from dataclasses import replace

import keras
import numpy as np
import torch
from keras import ops
from torch import nn

from birdplane_keras import torch_equivalents
from birdplane_keras.catalogue.networks import CLASSES, FEATURES, dense, mlp, mlp_port, sgd, vector_pair
from birdplane_keras.parity import Pair
from parity.setups import SETUPS, TOLD, setup

__all__ = ["SETUPS", "TOLD"]


# --- steps of one's own ----------------------------------------------------------------------------------------------


class OwnSteps(keras.Model):
    """A model that trains itself.

    Args:
        values: How many its step takes, and whether it asks `compute_loss`.
        scale: Of its loss.
    """

    def __init__(self, *, three: bool, asks: bool, scale: float) -> None:
        super().__init__()
        self.one, self.two = dense(FEATURES, 16, "tanh"), dense(16, CLASSES)
        self.three, self.asks, self.scale = three, asks, scale

    def call(self, x):
        return self.two(self.one(x))

    def train_step(self, data):
        if self.three:
            x, y, _ = data
        else:
            x, y = data
        self.zero_grad()
        outputs = self(x, training=True)
        if self.asks:
            loss = self.compute_loss(x=x, y=y, y_pred=outputs)
        else:
            loss = ops.mean(keras.losses.sparse_categorical_crossentropy(y, outputs, from_logits=True))
        loss = loss * self.scale
        loss.backward()
        weights = self.trainable_weights
        with torch.no_grad():
            self.optimizer.apply([weight.value.grad for weight in weights], weights)
        return {"loss": loss}


def own_steps(*, wrong: bool, **form: bool) -> Pair:
    model = OwnSteps(scale=1.5 if wrong else 1.0, **form)
    model(np.zeros((2, FEATURES), np.float32))
    module = nn.Sequential(nn.Linear(FEATURES, 16), nn.Tanh(), nn.Linear(16, CLASSES))
    return vector_pair(0, module=module, model=model)


@setup(None)
def own_step_of_two_values(*, wrong: bool) -> Pair:
    return own_steps(wrong=wrong, three=False, asks=False)


@setup(None)
def own_step_of_three_values(*, wrong: bool) -> Pair:
    return own_steps(wrong=wrong, three=True, asks=False)


@setup(None)
def own_step_of_three_values_that_asks_for_the_loss(*, wrong: bool) -> Pair:
    return own_steps(wrong=wrong, three=True, asks=True)


# --- schedules -------------------------------------------------------------------------------------------------------


@setup(None)
def plateau(*, wrong: bool) -> Pair:
    """At a rate at which the loss soon gets worse, so that both are cut down several times."""
    both = {"factor": 0.5, "patience": 0, "min_lr": 0.001, "cooldown": 0}
    pair = vector_pair(0, torch_optimizer=sgd(2.0), keras_optimizer=keras.optimizers.SGD(2.0))
    callback = keras.callbacks.ReduceLROnPlateau(
        monitor="loss", min_delta=0.02, **(both | {"factor": 0.6 if wrong else 0.5})
    )
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        pair.torch_optimizer, threshold=0.02, threshold_mode="abs", **both
    )
    return replace(pair, torch_scheduler=scheduler, schedule_by="epoch", keras_callbacks=[callback])


@setup(None)
def rate_by_the_epoch(*, wrong: bool) -> Pair:
    pair = vector_pair(0)
    callback = keras.callbacks.LearningRateScheduler(lambda epoch: 0.05 * (0.8 if wrong else 0.7) ** epoch)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(pair.torch_optimizer, 0.7)
    return replace(pair, torch_scheduler=scheduler, schedule_by="epoch", keras_callbacks=[callback])


# --- optimizers ------------------------------------------------------------------------------------------------------


def decayed_groups(module: nn.Module, *, matrices_first: bool) -> list[dict]:
    """The groups of a usual recipe: weights of matrices decay, biases do not."""
    matrices = {"params": [w for w in module.parameters() if w.ndim > 1], "weight_decay": 0.1}
    vectors = {"params": [w for w in module.parameters() if w.ndim == 1], "weight_decay": 0.0}
    return [matrices, vectors] if matrices_first else [vectors, matrices]


def decayed(*, wrong: bool, matrices_first: bool) -> Pair:
    module, model = mlp(), mlp_port()
    ours = torch_equivalents.AdamW(0.005, weight_decay=0.1)
    if not wrong:
        ours.exclude_from_weight_decay(var_names=["bias"])
    groups = decayed_groups(module, matrices_first=matrices_first)
    pair = vector_pair(0, module=module, model=model, keras_optimizer=ours)
    return replace(pair, torch_optimizer=torch.optim.AdamW(groups, lr=0.005))


@setup("weight_decay")
def biases_that_do_not_decay(*, wrong: bool) -> Pair:
    return decayed(wrong=wrong, matrices_first=True)


@setup("weight_decay")
def biases_that_do_not_decay_named_first(*, wrong: bool) -> Pair:
    return decayed(wrong=wrong, matrices_first=False)


@setup("learning_rate")
def slower_body(*, wrong: bool) -> Pair:
    """The first layer learns at a tenth of the rate."""
    module, model = mlp(), mlp_port()
    theirs = torch.optim.SGD(
        [{"params": module[0].parameters(), "lr": 0.005}, {"params": module[2:].parameters()}], lr=0.05
    )
    groups = None if wrong else {f"{model.layers[0].path}/": {"rate_factor": 0.1}}
    pair = vector_pair(0, module=module, model=model, keras_optimizer=torch_equivalents.SGD(0.05, groups=groups))
    return replace(pair, torch_optimizer=theirs)


@setup("frozen")
def body_that_no_optimizer_trains(*, wrong: bool) -> Pair:
    """The reference's optimizer has the head only; the port's body is not trainable."""
    module, model = mlp(), mlp_port()
    for layer in model.layers[:-1]:
        layer.trainable = wrong
    pair = vector_pair(0, module=module, model=model)
    return replace(pair, torch_optimizer=torch.optim.SGD(module[4].parameters(), lr=0.05))


@setup("gradient_clipping")
def clipping_by_the_norm_of_small_gradients(*, wrong: bool) -> Pair:
    """PyTorch divides by the norm + 1e-6, and Keras by the norm: seen where the norm is small."""

    def clip(parameters):
        nn.utils.clip_grad_norm_(list(parameters), 1e-3)

    def small(outputs, targets):
        return 0.01 * nn.functional.cross_entropy(outputs, targets)

    def small_in_keras(targets, outputs):
        return 0.01 * keras.losses.sparse_categorical_crossentropy(targets, outputs, from_logits=True)

    kind = keras.optimizers.SGD if wrong else torch_equivalents.SGD
    return vector_pair(
        0,
        torch_loss=small,
        keras_loss=small_in_keras,
        torch_optimizer=sgd(50.0),
        torch_clip=clip,
        keras_optimizer=kind(50.0, global_clipnorm=1e-3),
    )


@setup("weight_decay")
def momentum_with_decay(*, wrong: bool) -> Pair:
    """PyTorch adds the decay to the gradient, before the momentum; Keras takes it from the weight."""
    kind = keras.optimizers.SGD if wrong else torch_equivalents.SGD
    theirs = sgd(0.05, momentum=0.9, weight_decay=0.01)
    return vector_pair(0, torch_optimizer=theirs, keras_optimizer=kind(0.05, momentum=0.9, weight_decay=0.01))


@setup(None)
def accumulated_gradients(*, wrong: bool) -> Pair:
    ours = keras.optimizers.SGD(0.1, gradient_accumulation_steps=3 if wrong else 2)
    return vector_pair(0, torch_optimizer=sgd(0.1), keras_optimizer=ours, accumulation_steps=2)

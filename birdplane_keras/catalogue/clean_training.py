"""Clean pairs for optimizers, schedules, clipping, losses and batches."""

import keras
import numpy as np
import torch
from torch import nn

from birdplane_keras import torch_equivalents
from birdplane_keras.catalogue.networks import (
    CLASSES,
    FEATURES,
    dense,
    flipped_pair,
    labelled,
    measured,
    mlp,
    mlp_port,
    one_hot,
    regression_pair,
    sgd,
    shuffled,
    stack,
    vector_pair,
)
from birdplane_keras.catalogue.recipes import WEIGHTS, clip_global_norm, scheduled, weighted_cross_entropy
from birdplane_keras.catalogue.records import clean
from birdplane_keras.parity import Pair


@clean
def sgd_with_momentum(seed: int) -> Pair:
    return vector_pair(
        seed,
        torch_optimizer=sgd(0.02, momentum=0.9),
        keras_optimizer=keras.optimizers.SGD(0.02, momentum=0.9),
    )


@clean
def sgd_with_nesterov(seed: int) -> Pair:
    return vector_pair(
        seed,
        torch_optimizer=sgd(0.02, momentum=0.9, nesterov=True),
        keras_optimizer=keras.optimizers.SGD(0.02, momentum=0.9, nesterov=True),
    )


@clean
def sgd_with_weight_decay(seed: int) -> Pair:
    """At a rate and a decay for which Keras' float32 factor 1 - rate * decay is exact: others drift by its error."""
    rate, decay = 2**-4, 2**-7
    return vector_pair(
        seed,
        torch_optimizer=sgd(rate, weight_decay=decay),
        keras_optimizer=keras.optimizers.SGD(rate, weight_decay=decay),
    )


@clean
def adam(seed: int) -> Pair:
    return vector_pair(
        seed,
        torch_optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.005),
        keras_optimizer=torch_equivalents.Adam(0.005),
    )


@clean
def adam_with_coupled_weight_decay(seed: int) -> Pair:
    return vector_pair(
        seed,
        torch_optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.005, weight_decay=0.01),
        keras_optimizer=torch_equivalents.Adam(0.005, weight_decay=0.01),
    )


@clean
def adamw(seed: int) -> Pair:
    return vector_pair(
        seed,
        module=mlp(nn.Tanh),
        model=mlp_port("tanh"),
        torch_optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=0.005, weight_decay=0.05),
        keras_optimizer=torch_equivalents.AdamW(0.005, weight_decay=0.05),
    )


@clean
def stock_adam_with_a_tiny_epsilon(seed: int) -> Pair:
    """Not with a second beta of 0.999: Keras holds it in float32, where 1 - beta is wrong by 1.3e-5 of itself."""
    return vector_pair(
        seed,
        module=mlp(nn.Tanh),
        model=mlp_port("tanh"),
        torch_optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.001, betas=(0.875, 0.96875), eps=1e-12),
        keras_optimizer=keras.optimizers.Adam(0.001, beta_1=0.875, beta_2=0.96875, epsilon=1e-12),
    )


@clean
def clipping_by_the_global_norm(seed: int) -> Pair:
    return vector_pair(
        seed,
        torch_clip=clip_global_norm(0.1),
        keras_optimizer=keras.optimizers.SGD(0.05, global_clipnorm=0.1),
    )


@clean
def cosine_schedule(seed: int) -> Pair:
    pair = vector_pair(
        seed, keras_optimizer=keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.05, decay_steps=40))
    )
    return scheduled(pair, lambda step: 0.5 * (1 + np.cos(np.pi * min(step, 40) / 40)))


@clean
def step_schedule(seed: int) -> Pair:
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([2, 11], [0.05, 0.025, 0.0125])
    pair = vector_pair(seed, keras_optimizer=keras.optimizers.SGD(schedule))
    return scheduled(pair, lambda step: 1.0 if step <= 2 else 0.5 if step <= 11 else 0.25)


@clean
def class_weights_right(seed: int) -> Pair:
    return vector_pair(seed, torch_loss=weighted_cross_entropy, keras_class_weight=dict(enumerate(WEIGHTS)))


@clean
def label_smoothing_right(seed: int) -> Pair:
    return vector_pair(
        seed,
        torch_loss=nn.CrossEntropyLoss(label_smoothing=0.1),
        keras_loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
        targets_to_keras=one_hot,
    )


@clean
def one_hot_targets_right(seed: int) -> Pair:
    return vector_pair(
        seed,
        keras_loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        targets_to_keras=one_hot,
    )


@clean
def binary_classification(seed: int) -> Pair:
    inputs, targets = measured(seed)
    return regression_pair(
        seed,
        module=nn.Sequential(nn.Linear(FEATURES, 16), nn.Tanh(), nn.Linear(16, 1)),
        model=stack((FEATURES,), [dense(FEATURES, 16, "tanh"), dense(16, 1)]),
        data=(inputs, (targets > 0).astype(np.float32)),
        torch_loss=nn.BCEWithLogitsLoss(),
        keras_loss=keras.losses.BinaryCrossentropy(from_logits=True),
    )


@clean
def probabilities_and_their_loss(seed: int) -> Pair:
    return vector_pair(
        seed,
        module=nn.Sequential(nn.Linear(FEATURES, 16), nn.Tanh(), nn.Linear(16, CLASSES), nn.LogSoftmax(1)),
        model=stack((FEATURES,), [dense(FEATURES, 16, "tanh"), dense(16, CLASSES, "log_softmax")]),
        torch_loss=nn.NLLLoss(),
        keras_loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )


@clean
def last_batch_dropped_on_both_sides(seed: int) -> Pair:
    return vector_pair(seed, batches=shuffled(seed, 150, drop_last=True))


@clean
def data_of_the_ports_own(seed: int) -> Pair:
    inputs, targets = labelled(seed, FEATURES)
    return vector_pair(seed, keras_data=(inputs.copy(), targets.astype(np.int32)))


@clean
def images_flipped_anew_in_each_epoch(seed: int) -> Pair:
    return flipped_pair(seed, lambda flip, epoch: flip(epoch, seed))


CLEAN = (
    images_flipped_anew_in_each_epoch,
    sgd_with_momentum,
    sgd_with_nesterov,
    sgd_with_weight_decay,
    adam,
    adam_with_coupled_weight_decay,
    adamw,
    stock_adam_with_a_tiny_epsilon,
    clipping_by_the_global_norm,
    cosine_schedule,
    step_schedule,
    class_weights_right,
    label_smoothing_right,
    one_hot_targets_right,
    binary_classification,
    probabilities_and_their_loss,
    last_batch_dropped_on_both_sides,
    data_of_the_ports_own,
)

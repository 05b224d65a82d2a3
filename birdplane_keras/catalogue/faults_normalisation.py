"""Mistakes with normalisation, moving statistics and Dropout."""

import keras
import numpy as np
import torch
from torch import nn

from birdplane_keras import torch_equivalents
from birdplane_keras.catalogue.networks import CLASSES, FEATURES, dense, stack, vector_pair
from birdplane_keras.catalogue.records import fault
from birdplane_keras.parity import Pair, torch_to_keras

layers = keras.layers


class FixedMode(keras.Model):
    """Two dense layers, and one between them that is always called as in training, or never.

    A functional model would overrule `training=` in a layer's call.
    """

    def __init__(self, between: keras.Layer, *, training: bool) -> None:
        super().__init__()
        self.hidden, self.between, self.head = dense(FEATURES, 16, "relu"), between, dense(16, CLASSES)
        self.always = training
        self(np.zeros((1, FEATURES), np.float32))

    def call(self, inputs):
        return self.head(self.between(self.hidden(inputs), training=self.always))


def normalised(normalisation: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(FEATURES, 16, bias=False), normalisation, nn.ReLU(), nn.Linear(16, CLASSES))


def normalised_port(normalisation) -> keras.Sequential:
    first = dense(FEATURES, 16, use_bias=False)
    return stack((FEATURES,), [first, normalisation, layers.ReLU(), dense(16, CLASSES)])


def batch_norm_pair(seed: int, normalisation, **changes) -> Pair:
    """The reference has PyTorch's defaults, momentum 0.1 and epsilon 1e-5."""
    module = normalised(nn.BatchNorm1d(16))
    return vector_pair(seed, module=module, model=normalised_port(normalisation), **changes)


@fault(
    "The port takes over PyTorch's momentum, which is one minus Keras'.", rung="evaluation", cause="batchnorm_momentum"
)
def momentum_inverted(seed: int) -> Pair:
    return batch_norm_pair(seed, torch_equivalents.BatchNormalization(momentum=0.1))


@fault("The port keeps Keras' momentum of 0.99.", rung="evaluation", cause="batchnorm_momentum")
def momentum_of_keras(seed: int) -> Pair:
    return batch_norm_pair(seed, torch_equivalents.BatchNormalization(momentum=0.99))


@fault("The port keeps Keras' epsilon of 1e-3 in BatchNorm.", rung="forward", cause="epsilon")
def batch_norm_epsilon(seed: int) -> Pair:
    return batch_norm_pair(seed, torch_equivalents.BatchNormalization(epsilon=1e-3))


@fault(
    "The port has Keras' own BatchNormalization, whose moving variance is over n.",
    rung="evaluation",
    cause="batchnorm_variance",
)
def variance_over_n(seed: int) -> Pair:
    return batch_norm_pair(seed, layers.BatchNormalization(momentum=0.9, epsilon=1e-5))


@fault(
    "The weights of a trained reference are copied, its moving statistics are not.",
    rung="initial_weights",
    cause="moving_statistics",
)
def statistics_not_copied(seed: int) -> Pair:
    pair = batch_norm_pair(seed, torch_equivalents.BatchNormalization(), weights="as_given", initialisation=False)
    statistics = pair.torch_module[1]
    with torch.no_grad():
        statistics.running_mean.normal_()
        statistics.running_var.uniform_(0.5, 2.0)
    torch_to_keras(pair.torch_module, pair.keras_model)
    pair.keras_model.layers[1].moving_mean.assign(np.zeros(16))
    pair.keras_model.layers[1].moving_variance.assign(np.ones(16))
    return pair


@fault("The port keeps Keras' epsilon of 1e-3 in LayerNormalization.", rung="forward", cause="epsilon")
def layer_norm_epsilon(seed: int) -> Pair:
    port = normalised_port(layers.LayerNormalization())
    return vector_pair(seed, module=normalised(nn.LayerNorm(16)), model=port)


@fault(
    "The port calls Dropout with training=True, in evaluation too.", rung="evaluation", cause="dropout_in_evaluation"
)
def dropout_left_on(seed: int) -> Pair:
    return vector_pair(
        seed,
        module=nn.Sequential(nn.Linear(FEATURES, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, CLASSES)),
        model=FixedMode(layers.Dropout(0.3), training=True),
    )


@fault("The port calls BatchNorm with training=False, in training too.", rung="forward", cause="batchnorm_mode")
def batch_norm_left_in_evaluation(seed: int) -> Pair:
    module = nn.Sequential(nn.Linear(FEATURES, 16), nn.ReLU(), nn.BatchNorm1d(16), nn.Linear(16, CLASSES))
    model = FixedMode(torch_equivalents.BatchNormalization(), training=False)
    return vector_pair(seed, module=module, model=model)


FAULTS = (
    momentum_inverted,
    momentum_of_keras,
    batch_norm_epsilon,
    variance_over_n,
    statistics_not_copied,
    layer_norm_epsilon,
    dropout_left_on,
    batch_norm_left_in_evaluation,
)

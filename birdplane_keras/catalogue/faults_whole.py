"""Mistakes in whole networks, where one setting is wrong in many layers, or rounding is large."""

import dataclasses

import keras
import torch

from birdplane_keras.catalogue.clean_whole import residual_pair, segmenting_pair
from birdplane_keras.catalogue.networks import join, labelled_words, vector_pair
from birdplane_keras.catalogue.recipes import scheduled
from birdplane_keras.catalogue.records import fault
from birdplane_keras.catalogue.whole import Encoding, encoding_port, kernel, normalise, residual_port
from birdplane_keras.parity import Pair

layers = keras.layers


@fault("Every BatchNorm of a residual network has an epsilon of 1e-3.", rung="forward", cause="epsilon")
def epsilon_of_every_normalisation(seed: int) -> Pair:
    return residual_pair(seed, model=residual_port(norm=lambda: normalise(epsilon=1e-3)))


@fault("Every LayerNorm of an encoder keeps Keras' epsilon of 1e-3.", rung="forward", cause="epsilon")
def epsilon_of_an_encoder(seed: int) -> Pair:
    return join(Encoding(), encoding_port(epsilon=1e-3), labelled_words(seed), initialisation=False)


@fault('A residual network pads "same" at stride 2.', rung="forward", cause="padding")
def same_padding_in_a_residual_network(seed: int) -> Pair:
    def same(x, inputs, filters, stride):
        return kernel(inputs, filters, stride=stride)(x)

    return residual_pair(seed, model=residual_port(same))


@fault("A residual network has Keras' BatchNormalization.", rung="evaluation", cause="batchnorm_variance")
def variance_over_n_in_a_residual_network(seed: int) -> Pair:
    stock = residual_port(norm=lambda: layers.BatchNormalization(momentum=0.9, epsilon=1e-5))
    return residual_pair(seed, model=stock)


@fault("The port's images have their channels at the end, and nobody said so.", rung="structure", cause="output_shape")
def layout_of_the_outputs(seed: int) -> Pair:
    return dataclasses.replace(segmenting_pair(seed), outputs_to_keras=None)


@fault("The port has Keras' RMSprop, with epsilon within the root.", rung="first_update", cause="rmsprop_epsilon")
def rmsprop_of_keras(seed: int) -> Pair:
    return vector_pair(
        seed,
        torch_optimizer=lambda parameters: torch.optim.RMSprop(parameters, lr=1e-3),
        keras_optimizer=keras.optimizers.RMSprop(1e-3, rho=0.99, epsilon=1e-8),
    )


@fault("The port's rate falls over more steps than the reference's.", rung="optimizer_state", cause="schedule")
def schedule_of_another_length(seed: int) -> Pair:
    falling = keras.optimizers.schedules.PolynomialDecay(0.05, 400, 0.0)
    pair = vector_pair(seed, keras_optimizer=keras.optimizers.SGD(falling))
    return scheduled(pair, lambda step: max(0.0, 1 - step / 300))


FAULTS = (
    epsilon_of_every_normalisation,
    epsilon_of_an_encoder,
    same_padding_in_a_residual_network,
    variance_over_n_in_a_residual_network,
    layout_of_the_outputs,
    rmsprop_of_keras,
    schedule_of_another_length,
)

"""Mistakes in the weights that the port starts from: how they are drawn, and how they are copied."""

import keras
import numpy as np
from torch import nn

from birdplane_keras.catalogue.networks import (
    CLASSES,
    FEATURES,
    STEPS,
    dense,
    image_pair,
    lstm,
    mlp,
    sequence_pair,
    stack,
    uniform,
    vector_pair,
)
from birdplane_keras.catalogue.records import fault
from birdplane_keras.parity import Pair, torch_to_keras


def copied(pair: Pair) -> Pair:
    """Gives the port the reference's weights, as the port claims to have them."""
    torch_to_keras(pair.torch_module, pair.keras_model)
    return pair


def given(seed: int, make=vector_pair, **changes) -> Pair:
    """A pair whose port holds the right weights already."""
    return copied(make(seed, weights="as_given", initialisation=False, **changes))


@fault("The port's layers keep Keras' initialisers.", rung="initialisation", cause="default_initialisation")
def default_initialisers(seed: int) -> Pair:
    units = [(16, "relu"), (16, "relu"), (CLASSES, None)]
    layers = [keras.layers.Dense(width, activation=activation) for width, activation in units]
    return vector_pair(seed, model=stack((FEATURES,), layers))


@fault(
    "The port draws biases as PyTorch does, and kernels as Keras does.",
    rung="initialisation",
    cause="default_initialisation",
)
def default_kernels(seed: int) -> Pair:
    widths = [(FEATURES, 32, "relu"), (32, 32, "relu"), (32, CLASSES, None)]
    layers = [
        keras.layers.Dense(units, activation=activation, bias_initializer=uniform(inputs))
        for inputs, units, activation in widths
    ]
    return vector_pair(seed, module=mlp(width=32), model=stack((FEATURES,), layers))


@fault("The port draws biases that the reference starts at zero.", rung="initialisation", cause="bias_initialised")
def biases_drawn(seed: int) -> Pair:
    module = mlp()
    for layer in module:
        if isinstance(layer, nn.Linear):
            nn.init.zeros_(layer.bias)
    return vector_pair(seed, module=module)


@fault("The port's LSTM starts its forget gate's bias at one.", rung="initialisation", cause="bias_initialised")
def forget_bias_of_one(seed: int) -> Pair:
    recurrent = lstm(FEATURES, 12, unit_forget_bias=True)
    return sequence_pair(seed, model=stack((STEPS, FEATURES), [recurrent, dense(12, CLASSES)]))


@fault("A square kernel is copied without transposing it.", rung="initial_weights", cause="kernel_transposed")
def kernel_not_transposed(seed: int) -> Pair:
    pair = given(seed)
    kernel = pair.keras_model.layers[1].kernel
    kernel.assign(keras.ops.convert_to_numpy(kernel).T.copy())
    return pair


@fault("Two layers of one shape are given each other's weights.", rung="initial_weights", cause="layers_swapped")
def weights_of_two_layers_swapped(seed: int) -> Pair:
    module = nn.Sequential(*list(mlp())[:4], nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, CLASSES))
    layers = [dense(FEATURES, 16, "relu"), dense(16, 16, "relu"), dense(16, 16, "relu"), dense(16, CLASSES)]
    pair = given(seed, module=module, model=stack((FEATURES,), layers))
    one, other = layers[1].get_weights(), layers[2].get_weights()
    layers[1].set_weights(other)
    layers[2].set_weights(one)
    return pair


@fault("The reference's weights are not copied.", rung="initial_weights", cause="default_initialisation")
def weights_not_copied(seed: int) -> Pair:
    return vector_pair(seed, weights="as_given", initialisation=False)


@fault("The weights went through a file of half precision.", rung="initial_weights", cause="precision")
def weights_rounded_to_half(seed: int) -> Pair:
    pair = given(seed)
    for variable in pair.keras_model.weights:
        variable.assign(keras.ops.convert_to_numpy(variable).astype(np.float16).astype(np.float32))
    return pair


@fault(
    "The kernel after Flatten is transposed only: its rows are in PyTorch's order.",
    rung="initial_weights",
    cause="flatten_order",
)
def flattened_in_another_order(seed: int) -> Pair:
    pair = given(seed, make=image_pair)
    kernel = pair.torch_module[-1].weight.detach().numpy()
    pair.keras_model.layers[-1].kernel.assign(kernel.T.copy())
    return pair


@fault("The LSTM's gates are copied in the order i, g, f, o.", rung="initial_weights", cause="gate_order")
def gates_in_another_order(seed: int) -> Pair:
    pair = given(seed, make=sequence_pair)
    for variable in pair.keras_model.layers[0].weights:
        i, f, g, o = np.split(keras.ops.convert_to_numpy(variable), 4, axis=-1)
        variable.assign(np.concatenate([i, g, f, o], axis=-1))
    return pair


FAULTS = (
    default_initialisers,
    default_kernels,
    biases_drawn,
    forget_bias_of_one,
    kernel_not_transposed,
    weights_of_two_layers_swapped,
    weights_not_copied,
    weights_rounded_to_half,
    flattened_in_another_order,
    gates_in_another_order,
)

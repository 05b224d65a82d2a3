"""The Keras model of an estimator: Dense layers, their L2 penalty, and its weights as NumPy arrays."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import torch

from birdplane_keras.keras_warnings import own_warnings_ignored
from birdplane_keras.model import add_dense_layers, initial_seeds

KERAS_NAMES = {"identity": "linear", "logistic": "sigmoid"}  # scikit-learn's; its others are Keras' own
ROWS_AT_A_TIME = 4096


@dataclass(frozen=True, kw_only=True)
class Network:
    """A stack of Dense layers.

    Args:
        inputs: Numbers in a row.
        hidden_layers: Units of each hidden layer.
        outputs: Units of the last layer.
        activation: After each hidden layer, as Keras takes it.
        seed: Fixes the initial weights.
    """

    inputs: int
    hidden_layers: tuple[int, ...]
    outputs: int
    activation: str | Callable
    seed: int


def hidden_units(hidden_layers: int | Sequence[int]) -> tuple[int, ...]:
    """Returns the units of each hidden layer; an integer is one layer.

    Raises:
        ValueError: A layer of less than 1 unit.
    """
    units: list[Any] = [hidden_layers] if isinstance(hidden_layers, int | np.integer) else list(hidden_layers)
    if not all(isinstance(one, int | np.integer) and one >= 1 for one in units):
        raise ValueError(f"expected hidden_layers of at least 1 unit each, received {hidden_layers!r}")
    return tuple(int(one) for one in units)


def keras_activation(activation: str | Callable) -> str | Callable:
    """Returns an activation as Keras takes it, from scikit-learn's name or Keras' own, or a function.

    Raises:
        ValueError: There is none of that name.
    """
    name = KERAS_NAMES.get(activation, activation) if isinstance(activation, str) else activation
    try:
        keras.activations.get(name)
    except ValueError as error:
        raise ValueError(
            "expected activation to be identity, logistic, tanh, relu, another of Keras' names, or a function, "
            f"received {activation!r}"
        ) from error
    return name


def build_network(network: Network) -> keras.Sequential:
    """Builds a model from (N, inputs) to (N, outputs) float32; the last layer is linear."""
    model = keras.Sequential([keras.layers.Input((network.inputs,))])
    seeds = initial_seeds(network.seed, len(network.hidden_layers) + 1)
    add_dense_layers(model, network.inputs, network.hidden_layers, network.outputs, seeds, network.activation)
    return model


def set_penalty(model: keras.Sequential, factor: float) -> None:
    """Has each step add `factor` times the sum of the squares of all kernels to its loss; 0 adds nothing."""
    for layer in model.layers:
        layer.kernel_regularizer = layer.kernel.regularizer = keras.regularizers.L2(factor) if factor else None


@own_warnings_ignored()
def weights_of(model: keras.Sequential, kind: str) -> list[np.ndarray]:
    """Returns copies of all kernels, (in, out) float32 each, or of all biases, (out,)."""
    return [keras.ops.convert_to_numpy(getattr(layer, kind)).copy() for layer in model.layers]


@own_warnings_ignored()
def forward(model: keras.Sequential, rows: torch.Tensor) -> np.ndarray:
    """Returns a model's outputs for rows (N, inputs) in few calls: for a score between two epochs."""
    with torch.no_grad():
        parts = [model(part, training=False) for part in rows.split(ROWS_AT_A_TIME)]
    return np.concatenate([keras.ops.convert_to_numpy(part) for part in parts])

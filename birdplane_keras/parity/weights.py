"""Weights from one framework's layout to the other's, as NumPy arrays.

A Keras Dense kernel is (in, out), PyTorch's Linear weight is (out, in); biases are (out,) in both.
"""

from collections.abc import Mapping

import numpy as np

from birdplane_keras.parity.records import Tensors


def keras_to_torch(tensors: Tensors, names: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Gives Keras tensors the names and the layout that they have in PyTorch.

    Args:
        tensors: Keras path -> tensor.
        names: Keras path -> PyTorch name.
    """
    return {names[path]: turn(tensor) for path, tensor in tensors.items()}


def torch_to_keras(tensors: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Returns PyTorch's tensors in their order and in the layout that `keras.Model.set_weights` takes."""
    return [turn(tensor) for tensor in tensors.values()]


def turn(tensor: np.ndarray) -> np.ndarray:
    """Transposes a matrix and leaves a vector alone; always a contiguous copy of its own."""
    return np.array(tensor.T, order="C")

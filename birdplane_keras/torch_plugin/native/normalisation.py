"""Batch and group normalisation as PyTorch's kernels."""

import math
from typing import Any

import keras
import torch

from birdplane_keras.torch_plugin.native.forms import NativeForm


def batch_norm(layer: Any, inputs: torch.Tensor, training: bool | None = None, mask: Any = None) -> Any:
    """`native_batch_norm` in the place of `keras.layers.BatchNormalization.call`.

    Keras' moving variance takes the batch variance over n, PyTorch's kernel gives the one over n - 1.
    """
    training = bool(training and layer.trainable)
    count = math.prod(inputs.shape) // inputs.shape[layer.axis] if inputs.ndim > 1 else 0
    if mask is not None or layer.renorm or not torch.is_tensor(inputs) or (training and count < 2):
        return NotImplemented
    values = keras.ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
    gamma, beta = as_values(values, layer.gamma, layer.beta)
    moving_mean, moving_variance = as_values(values, layer.moving_mean, layer.moving_variance)
    values = values.movedim(layer.axis, 1)
    if training:
        # With all of the momentum on the batch, these become its statistics.
        mean, variance = torch.zeros_like(moving_mean), torch.zeros_like(moving_variance)
        kernel = torch.ops.aten._native_batch_norm_legit.default
        outputs = kernel(values, gamma, beta, mean, variance, True, 1.0, layer.epsilon)[0]
        kept, taken = layer.momentum, 1.0 - layer.momentum
        layer.moving_mean.assign(moving_mean * kept + mean * taken)
        layer.moving_variance.assign(moving_variance * kept + variance * (taken * (count - 1) / count))
    else:
        outputs = torch.nn.functional.batch_norm(values, moving_mean, moving_variance, gamma, beta, eps=layer.epsilon)
    return keras.ops.cast(outputs.movedim(1, layer.axis), layer.compute_dtype)


def group_norm(layer: Any, inputs: torch.Tensor) -> Any:
    """`native_group_norm` in the place of `keras.layers.GroupNormalization.call`."""
    if not torch.is_tensor(inputs) or inputs.ndim < 2:
        return NotImplemented
    values = keras.ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
    gamma, beta = as_values(values, layer.gamma, layer.beta)
    # PyTorch 2.13 crashes on memory of channels last where the inputs need no gradient.
    turned = values.movedim(layer.axis, 1).contiguous()
    outputs = torch.nn.functional.group_norm(turned, layer.groups, gamma, beta, layer.epsilon)
    return keras.ops.cast(outputs.movedim(1, layer.axis), layer.compute_dtype)


def as_values(like: torch.Tensor, *variables: Any) -> list[Any]:
    """Returns variables' tensors in the type of another; `None` stays `None`."""
    return [None if variable is None else keras.ops.cast(variable, like.dtype) for variable in variables]


FORMS = (
    NativeForm(name="batch_norm", owner=keras.layers.BatchNormalization, attribute="call", make=batch_norm),
    NativeForm(name="group_norm", owner=keras.layers.GroupNormalization, attribute="call", make=group_norm),
)

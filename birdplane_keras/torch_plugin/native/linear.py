"""`EinsumDense` as `torch.nn.functional.linear`, where its equation is a product of matrices."""

import re
from typing import Any

import keras
import torch
from torch.nn import functional

from birdplane_keras.torch_plugin.native.forms import NativeForm

_EQUATION = re.compile(r"([a-zA-Z]+),([a-zA-Z]+)->([a-zA-Z]+)")


def contracted(equation: str) -> int | None:
    """Returns how many of the last axes an equation contracts with the first of the kernel; `None` for any other."""
    match = _EQUATION.fullmatch(equation.replace(" ", "").replace("...", ""))
    if match is None:
        return None
    inputs, kernel, outputs = match.groups()
    for count in range(1, min(len(inputs), len(kernel))):
        inner, rest, new = inputs[-count:], inputs[:-count], kernel[count:]
        apart = len(set(rest + inner + new)) == len(rest + inner + new)
        if kernel.startswith(inner) and outputs == rest + new and apart:
            return count
    return None


def einsum_dense(layer: Any, inputs: torch.Tensor, training: bool | None = None) -> Any:
    """`linear` in the place of `keras.layers.EinsumDense.call`."""
    count = contracted(layer.equation)
    if count is None or not torch.is_tensor(inputs) or layer.lora_enabled:
        return NotImplemented
    kernel: Any = keras.ops.convert_to_tensor(layer.kernel)
    inner, new = kernel.shape[:count], kernel.shape[count:]
    bias: Any = None if layer.bias is None else keras.ops.convert_to_tensor(layer.bias)
    if inputs.shape[-count:] != inner or inputs.dtype != kernel.dtype or (bias is not None and bias.shape != new):
        return NotImplemented
    matrix = kernel.reshape(inner.numel(), new.numel())
    flat = inputs.flatten(-count)
    outputs = functional.linear(flat, matrix.t(), None if bias is None else bias.flatten())
    outputs = outputs.unflatten(-1, new) if len(new) > 1 else outputs
    return outputs if layer.activation is None else layer.activation(outputs)


FORMS = (NativeForm(name="linear", owner=keras.layers.EinsumDense, attribute="call", make=einsum_dense),)

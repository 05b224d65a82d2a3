"""How the kernels of `Dense` and `EinsumDense` lie in memory.

`torch.nn.Linear` keeps its weight as (out, in) and multiplies by the transpose; `Dense` keeps (in, out). A product may
round differently by how its factors lie in memory: on some CPUs it does where a layer has two outputs. There the exact
engine lays a kernel out as `Linear` does; shape and values stay.

On a CPU every engine does so with all kernels below `LARGE`. Of products of 8 to 64 rows the forward one is then faster
by 5 to 30 %, and the one for the inputs' gradient slower by as much, which the first layer and a prediction do not
need. The product for a large kernel's own gradient would be slower, so that such a kernel stays as it is.
"""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import torch

from birdplane_keras.torch_plugin import products
from birdplane_keras.torch_plugin.native.linear import contracted
from birdplane_keras.torch_plugin.updates.plain_sgd import is_plain_sgd

LARGE = 1 << 20  # numbers in a kernel


def lay_out_for(engine: str, model: keras.Model, batch_size: int) -> bool:
    """Lays kernels of `Dense` out as an engine wants them.

    Args:
        engine: `exact`, `fused` or `compiled`.
        model: Built. The optimizer's variables of a kernel's shape follow it.
        batch_size: Rows of the products.

    Returns:
        Whether anything was laid out again.
    """
    if engine == "exact":
        return lay_out_for_parity(model, batch_size)
    return lay_out_for_speed(model)


def lay_out_for_parity(model: keras.Model, batch_size: int) -> bool:
    """Lays kernels of `Dense` out as (out, in) where the products with them would round differently, or are faster.

    Args:
        model: Built. The optimizer's variables of a kernel's shape follow it.
        batch_size: Rows of the products.

    Returns:
        Whether anything was laid out again.
    """

    def matters(layer: Any) -> bool:
        if type(layer) is not keras.layers.Dense:
            return True
        if is_faster_turned(layer):
            return True
        nodes = layer._inbound_nodes
        known = bool(nodes) and all(node.input_tensors[0].ndim == 2 for node in nodes)
        # Elsewhere it is not known here how many rows the products have.
        return not known or layout_matters(layer._kernel._value, batch_size)

    return lay_out(model, matters)


def lay_out_for_speed(model: keras.Model) -> bool:
    """Lays kernels of `Dense` out as (out, in) where products with them are faster, or can keep to parts of them.

    Returns:
        Whether anything was laid out again.
    """
    keeps_to_parts = is_plain_sgd(getattr(model, "optimizer", None), [])

    def splits(layer: Any) -> bool:
        kernel = layer._kernel._value
        even = kernel.device.type == "cpu" and kernel.shape[1] % torch.get_num_threads() == 0
        return even and kernel.numel() >= products.SMALLEST_FUSED

    return lay_out(
        model,
        lambda layer: (
            type(layer) is keras.layers.Dense and (is_faster_turned(layer) or (keeps_to_parts and splits(layer)))
        ),
    )


def is_faster_turned(layer: Any) -> bool:
    """Tells whether products with a kernel are faster where it lies as (out, in), measured on a CPU."""
    kernel = layer._kernel._value
    return kernel.device.type == "cpu" and kernel.numel() < LARGE


def lay_out(model: keras.Model, wanted: Callable[[Any], bool]) -> bool:
    """Lays the kernels of some layers, and what the optimizer keeps for them, out as (out, in)."""
    changed = False
    for layer, order in linear_layers(model):
        kernel = layer._kernel._value
        if not lies_in_order(kernel, order) and wanted(layer):
            for value in [kernel, *optimizer_values(model, kernel.shape)]:
                value.data = in_order(value.data, order)
            changed = True
    return changed


def layout_matters(kernel: torch.Tensor, batch_size: int) -> bool:
    """Tells whether a layer's three products, on drawn numbers, depend in any bit on how its kernel lies in memory.

    Args:
        kernel: (in, out).
        batch_size: Rows of the layer's inputs.
    """
    return _layout_matters(kernel.shape, kernel.dtype, kernel.device, batch_size, torch.get_num_threads())


@functools.lru_cache(maxsize=4096)
def _layout_matters(shape: torch.Size, dtype: torch.dtype, device: torch.device, batch_size: int, _: int) -> bool:
    generator = torch.Generator(device=device).manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, dtype=dtype, device=device, generator=generator)

    with torch.no_grad():
        inputs, gradient, bias = draw(batch_size, shape[0]), draw(batch_size, shape[1]), draw(shape[1])
        keras_kernel = draw(*shape)
        linear_kernel = in_order(keras_kernel, (1, 0))
        products = [
            [torch.addmm(bias, inputs, keras_kernel), torch.addmm(bias, inputs, linear_kernel)],
            [torch.mm(gradient, keras_kernel.t()), torch.mm(gradient, linear_kernel.t())],
            [torch.mm(inputs.t(), gradient), torch.mm(gradient.t(), inputs).t()],
        ]
    return not all(torch.equal(one, other) for one, other in products)


def lay_out_in_order(model: keras.Model, turned: Sequence[tuple[torch.Tensor, Sequence[int]]]) -> None:
    """Lays out weights, and what the optimizer keeps for them, in the order of axes in which a trace reads them.

    Args:
        model: Built.
        turned: Its tensors, with the order in which their axes are to lie in memory.
    """
    for weight, order in turned:
        if not lies_in_order(weight, order):
            for value in [weight, *optimizer_values(model, weight.shape)]:
                value.data = in_order(value.data, order)


def in_order(tensor: torch.Tensor, order: Sequence[int]) -> torch.Tensor:
    """Returns a copy of a tensor whose axes lie in memory in an order."""
    back = [list(order).index(axis) for axis in range(tensor.ndim)]
    return tensor.permute(*order).clone(memory_format=torch.contiguous_format).permute(back)


def lies_in_order(tensor: torch.Tensor, order: Sequence[int]) -> bool:
    """Tells whether a tensor's axes lie in memory in an order.

    The stride of an axis of one number counts: products choose their kernel by it.
    """
    sizes = [tensor.shape[axis] for axis in order]
    strides = [math.prod(max(size, 1) for size in sizes[place + 1 :]) for place in range(len(sizes))]
    return [tensor.stride(axis) for axis in order] == strides


def lay_out_as_keras(model: keras.Model) -> bool:
    """Undoes what was laid out otherwise; returns whether there was anything to undo."""
    changed = False
    for variable in model.weights:
        weight = variable._value
        if lies_in_order(weight, range(weight.ndim)) or not weight.is_floating_point():
            continue
        for value in [weight, *optimizer_values(model, weight.shape)]:
            value.data = value.data.clone(memory_format=torch.contiguous_format)
        changed = True
    return changed


def linear_layers(model: keras.Model) -> Iterator[tuple[Any, tuple[int, ...]]]:
    """Yields a model's stock layers that multiply by a kernel, each with the order of its axes as (out, in)."""
    for layer in model._flatten_layers():
        if type(layer) not in (keras.layers.Dense, keras.layers.EinsumDense) or not layer.built or layer.lora_enabled:
            continue
        kernel = layer._kernel._value
        count = 1 if type(layer) is keras.layers.Dense else contracted(layer.equation)
        if kernel.is_floating_point() and count is not None:  # not quantized, and a product of matrices
            yield layer, (*range(count, kernel.ndim), *range(count))


def optimizer_values(model: keras.Model, shape: torch.Size) -> list[torch.Tensor]:
    """Returns the optimizer's tensors of a shape."""
    optimizer = getattr(model, "optimizer", None)
    variables = optimizer.variables if optimizer is not None else []
    return [variable._value for variable in variables if tuple(variable.shape) == tuple(shape)]

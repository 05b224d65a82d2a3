"""Average pooling that counts the padding or does not, and the windows, strides and padding of Keras' layers."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import keras
import torch
from torch.nn import functional

from birdplane_keras.parity.causes.activations import rewriting
from birdplane_keras.parity.causes.case import Case
from birdplane_keras.parity.causes.hypothesis import Hypothesis, advise
from birdplane_keras.parity.sides.calls import Call, Rewrite

AVERAGES = {"avg_pool1d", "avg_pool2d", "avg_pool3d"}
MEANS = (keras.layers.AveragePooling1D, keras.layers.AveragePooling2D, keras.layers.AveragePooling3D)
POOLING = (*MEANS, keras.layers.MaxPooling1D, keras.layers.MaxPooling2D, keras.layers.MaxPooling3D)
MAXIMA = {"max_pool1d", "max_pool2d", "max_pool3d", "boolean_dispatch"}


def suppose_pooling(case: Case) -> Iterator[Hypothesis]:
    """Yields what may differ in pooling."""
    yield Hypothesis(
        cause="pooling_padding",
        text="average pooling leaves the padding out of the mean on one side and counts it on the other",
        advice=advise(
            'ZeroPadding2D and then AveragePooling2D(padding="valid") counts it, as PyTorch\'s count_include_pad=True; '
            'Keras\' padding="same" does not, where it pads both ends of every axis alike'
        ),
        change=rewriting(flip_counting),
    )
    layers = [layer for layer in case.called_layers if isinstance(layer, POOLING)]
    if layers:
        told = ", ".join(f"{tuple(x.pool_size)} strides {tuple(x.strides)} {x.padding}" for x in layers)
        yield Hypothesis(
            cause="padding",
            text=f"the port's pooling has other windows, strides or padding: {told}",
            advice=advise(
                'ZeroPadding2D with the reference\'s amounts, then padding="valid" (for a maximum, where no input is '
                'negative): Keras\' "same" may pad more at the end, PyTorch pads both ends alike'
            ),
            evidence="Keras' pooling layers in their order, emulated in PyTorch",
            change=rewriting(lambda: pool_as_keras(layers, kind_too=False)),
        )
        kinds = ", ".join(type(layer).__name__ for layer in layers)
        yield Hypothesis(
            cause="pooling",
            text=f"the port takes the mean where the reference takes the maximum, or the other way round: {kinds}",
            advice=advise("keras.layers.MaxPooling2D for nn.MaxPool2d, AveragePooling2D for nn.AvgPool2d, and so on"),
            evidence="Keras' pooling layers in their order, emulated in PyTorch",
            change=rewriting(lambda: pool_as_keras(layers, kind_too=True)),
        )


def flip_counting() -> Rewrite:
    """Returns a rewrite of average pooling that counts the padding where it did not, and the other way round."""
    names = ("input", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")

    def rewrite(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        if getattr(func, "__name__", "") in AVERAGES:
            given = dict(zip(names, args, strict=False)) | kwargs
            given["count_include_pad"] = not given.get("count_include_pad", True)
            return func, (), given
        return func, args, kwargs

    return rewrite


def pool_as_keras(layers: list[Any], *, kind_too: bool) -> Rewrite:
    """Returns a rewrite of each pooling call to what the Keras layer in its place does, or its windows on the same."""
    counter = itertools.count()

    def rewrite(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        name = getattr(func, "__name__", "")
        if name not in AVERAGES | MAXIMA or not (args or "input" in kwargs):
            return func, args, kwargs
        layer = layers[next(counter) % len(layers)]
        average = isinstance(layer, MEANS) if kind_too else name in AVERAGES
        return (lambda x: pool(x, layer, average=average)), (args[0] if args else kwargs["input"],), {}

    return rewrite


def pool(x: torch.Tensor, layer: Any, *, average: bool) -> torch.Tensor:
    """Pools (N, C, ...) as a Keras layer does."""
    rank = x.ndim - 2
    window, strides = tuple(layer.pool_size), tuple(layer.strides)
    amounts: list[int] = []
    for size, width, stride in zip(x.shape[2:], window, strides, strict=True):
        total = max((-(-size // stride) - 1) * stride + width - size, 0) if layer.padding == "same" else 0
        amounts = [total // 2, total - total // 2, *amounts]
    if not average:
        pooling: Any = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)[rank - 1]
        return pooling(functional.pad(x, amounts, value=-torch.inf), window, strides)
    averaging: Any = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)[rank - 1]
    inside = averaging(functional.pad(torch.ones_like(x), amounts), window, strides)
    return averaging(functional.pad(x, amounts), window, strides) / inside

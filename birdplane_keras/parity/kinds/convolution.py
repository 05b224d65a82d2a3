"""`nn.Conv1d` to `nn.Conv3d`, and Keras' convolutions and depthwise convolutions."""

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import torch
from torch import nn
from torch.nn import functional

from birdplane_keras.parity.kinds import layouts
from birdplane_keras.parity.kinds.kind import (
    Edit,
    FeatureOrder,
    KerasUnit,
    Kind,
    Rule,
    Setting,
    TorchUnit,
    of,
    received_as_map,
    returned_as_map,
    simple_rules,
)
from birdplane_keras.parity.kinds.linear import call_without_activation
from birdplane_keras.parity.kinds.repairing import calling

K = keras.layers
DEPTHWISE = (K.DepthwiseConv1D, K.DepthwiseConv2D)
Padding = list[tuple[int, int]]  # before and after, on each axis


def rules(ours: KerasUnit, theirs: TorchUnit, order: FeatureOrder) -> list[Rule]:
    """Returns the rules: (*k, in / groups, out) in Keras, (out, in / groups, *k) in PyTorch."""
    layer = ours.layer
    depthwise = isinstance(layer, DEPTHWISE)
    shape = tuple(layer.kernel.shape)
    kernel = layouts.depthwise_kernel(shape) if depthwise else layouts.convolution_kernel(layer.rank)
    return simple_rules(ours, theirs, {"kernel": ("weight", kernel), "bias": ("bias", layouts.as_is())})


def settings(layer: Any, module: Any) -> Iterator[Setting]:
    """Yields what differs in stride, dilation and padding, as one change: one alone may not fit the next layer."""
    rank = len(module.kernel_size)
    differing: dict[str, tuple[str, str]] = {}
    for cause, name, theirs in (("stride", "strides", module.stride), ("dilation", "dilation_rate", module.dilation)):
        ours = tuple(getattr(layer, name))[:rank]
        if ours != tuple(theirs):
            differing[cause] = (f"{name} {ours}", f"{cause} {tuple(theirs)}")
    same = same_padding(layer, module)
    ours_padded = same if layer.padding == "same" else padding_before(layer, rank)
    amounts = padding_of(module, same)
    uneven = layer.padding == "same" and max(layer.strides) > 1 and any(sum(pair) for pair in same)
    if ours_padded != amounts or uneven:
        differing["padding"] = (f'padding="{layer.padding}"', f"{amounts} (before, after) on each axis")
    if not differing:
        return
    told, expected = (", ".join(values) for values in zip(*differing.values(), strict=True))
    geometry = f"strides={tuple(module.stride)}, dilation_rate={tuple(module.dilation)}"
    padded = any(sum(pair) for pair in amounts)
    before = f"keras.layers.ZeroPadding{rank}D({amounts}), then " if padded else ""
    yield Setting(
        cause=next(iter(differing)),
        what="the geometry",
        ours=told,
        theirs=expected,
        fix=f'{before}{type(layer).__name__}(..., {geometry}, padding="valid")',
        edit=convolve_as_keras(layer),
        repair=calling(convolve_as_torch(module, amounts)),
    )


def padding_of(module: Any, same: Padding) -> Padding:
    """Returns what a module pads; `same` is what "same" would."""
    if module.padding == "same":
        return same
    return [(0, 0)] * len(same) if module.padding == "valid" else [(p, p) for p in module.padding]


def padding_before(layer: Any, rank: int) -> Padding:
    """Returns what a ZeroPadding layer before a layer of a functional model pads (before, after) on each axis."""
    nodes = getattr(layer, "_inbound_nodes", [])
    history = getattr(nodes[0].input_tensors[0], "_keras_history", None) if nodes else None
    padding = getattr(getattr(history, "operation", None), "padding", None)
    if not isinstance(padding, tuple | list) or not padding:
        return [(0, 0)] * rank
    pairs = [padding] if rank == 1 else padding
    return [(int(before), int(after)) for before, after in pairs]


def same_padding(layer: Any, module: Any) -> Padding:
    """Returns what "same" pads (before, after) at stride 1; at others it depends on the size of the input."""
    totals = [d * (k - 1) for k, d in zip(module.kernel_size, layer.dilation_rate, strict=False)]
    return [(total // 2, total - total // 2) for total in totals]


def convolve(rank: int, x: torch.Tensor, amounts: Sequence[int], *arguments: Any) -> torch.Tensor:
    """Pads, from the last axis on as PyTorch takes it, and convolves (N, C, ...)."""
    function: Any = (functional.conv1d, functional.conv2d, functional.conv3d)[rank - 1]
    return function(functional.pad(x, list(amounts)), *arguments)


def convolve_as_keras(layer: Any) -> Edit:
    """Returns a change after which a convolution strides, dilates and pads as the Keras layer does."""
    explicit = padding_before(layer, len(layer.kernel_size))
    same, strides, dilations = layer.padding == "same", tuple(layer.strides), tuple(layer.dilation_rate)

    def edit(module: Any) -> None:
        def forward(x: torch.Tensor) -> torch.Tensor:
            amounts: list[int] = []
            sizes = zip(x.shape[2:], module.kernel_size, strides, dilations, explicit, strict=True)
            for size, kernel, stride, dilation, pads in sizes:
                total = max((-(-size // stride) - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)
                amounts = [*((total // 2, total - total // 2) if same else pads), *amounts]
            rank = len(module.kernel_size)
            return convolve(rank, x, amounts, module.weight, module.bias, strides, 0, dilations, module.groups)

        module.forward = forward

    return edit


def convolve_as_torch(module: Any, amounts: Padding) -> Any:
    """Returns a `call` of a Keras layer that strides, dilates and pads as the module does, with the layer's weights."""
    flat = [size for pair in reversed(amounts) for size in pair]
    strides, dilations, groups = tuple(module.stride), tuple(module.dilation), module.groups

    def call(layer: Any, inputs: torch.Tensor) -> Any:
        rank, last = len(amounts), layer.data_format == "channels_last"
        x = inputs.movedim(-1, 1) if last else inputs
        for axis, (before, after) in enumerate(padding_before(layer, rank)):
            x = x.narrow(axis + 2, before, x.shape[axis + 2] - before - after)
        kernel = layer.kernel.value
        if isinstance(layer, DEPTHWISE):
            kernel = kernel.movedim((-2, -1), (0, 1)).flatten(0, 1)[:, None]
        else:
            kernel = kernel.movedim((-1, -2), (0, 1))
        bias = layer.bias.value if layer.use_bias else None
        outputs = layer.activation(convolve(rank, x, flat, kernel, bias, strides, 0, dilations, groups))
        return outputs.movedim(1, -1) if last else outputs

    return call


def kind_of_rank(rank: int, keras_classes: tuple[type, ...], torch_class: type) -> Kind:
    """Returns the convolutions over so many axes."""
    return Kind(
        name=f"Conv{rank}d",
        is_keras=of(*keras_classes),
        is_torch=of(torch_class),
        rules=rules,
        settings=settings,
        received=received_as_map,
        returned=returned_as_map,
        call=call_without_activation,
    )


KINDS = (
    kind_of_rank(1, (K.Conv1D, K.DepthwiseConv1D), nn.Conv1d),
    kind_of_rank(2, (K.Conv2D, K.DepthwiseConv2D), nn.Conv2d),
    kind_of_rank(3, (K.Conv3D,), nn.Conv3d),
)

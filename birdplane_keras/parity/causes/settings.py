"""Settings of matched layers that differ, read from the two objects, each as a change of the reference."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from birdplane_keras.parity.causes.search import Hypothesis
from birdplane_keras.parity.sides.torch_run import TorchRun

NORMALISATIONS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)
Edit = Callable[[nn.Module], None]


def differing_settings(bench: Any) -> list[Hypothesis]:
    """Returns a hypothesis for each setting that differs, in all layers at once; one for all; one for each layer."""
    groups: dict[tuple[str, str, str, str, str], list[tuple[str, str, Edit]]] = {}
    for match in bench.matching.layers:
        for cause, setting, ours, theirs, fix, edit in layer_settings(match):
            key = (cause, setting, str(ours), str(theirs), fix)
            groups.setdefault(key, []).append((match.layer.name, match.name, edit))
    grouped = [suppose(*key, places) for key, places in groups.items()]
    causes = dict.fromkeys(hypothesis.cause for hypothesis in grouped)
    alike = [[hypothesis for hypothesis in grouped if hypothesis.cause == cause] for cause in causes]
    found = grouped + [together(same) for same in alike if len(same) > 1]
    if len(causes) > 1:
        found.append(together(grouped))
    return found + [suppose(*key, [place]) for key, places in groups.items() if len(places) > 1 for place in places]


def suppose(
    cause: str, setting: str, ours: str, theirs: str, fix: str, places: Sequence[tuple[str, str, Edit]]
) -> Hypothesis:
    """Returns the hypothesis that a setting differs in some layers: name in Keras, in PyTorch, change of the module."""

    def change(run: TorchRun) -> None:
        for _, name, edit in places:
            edit(get(run, name))

    layers, names = [layer for layer, _, _ in places], [name for _, name, _ in places]
    return Hypothesis(
        cause=cause,
        text=f"{setting} is {ours} in {enumerate_names(layers)}, {theirs} in {enumerate_names(names)}",
        fix=fix,
        evidence="read from both layers",
        coarse=cause == "precision",
        change=change,
    )


def enumerate_names(names: Sequence[str]) -> str:
    """Returns the first names, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def together(hypotheses: list[Hypothesis]) -> Hypothesis:
    """Returns the hypothesis that all of these hold at once."""

    def change(run: TorchRun) -> None:
        for hypothesis in hypotheses:
            hypothesis.change(run)

    texts = list(dict.fromkeys(hypothesis.text for hypothesis in hypotheses))
    return Hypothesis(
        cause=hypotheses[0].cause,
        text="; ".join(texts),
        fix="; ".join(dict.fromkeys(hypothesis.fix for hypothesis in hypotheses)),
        evidence=f"{len(texts)} differences that were read from both sides, together",
        parts=tuple(hypotheses),
        coarse=any(hypothesis.coarse for hypothesis in hypotheses),
        change=change,
    )


def get(run: TorchRun, name: str) -> nn.Module:
    """Returns a module of a run by the name that the matching gave it."""
    return run.module.get_submodule("" if name == "module" else name)


def layer_settings(match: Any) -> Iterator[tuple[str, str, Any, Any, str, Edit]]:
    """Yields (cause, setting, Keras' value, PyTorch's value, fix, change of the module) for what differs in a layer."""
    layer, module = match.layer, match.module
    if isinstance(module, NORMALISATIONS) and abs(layer.epsilon - module.eps) > 1e-12:
        fix = f"keras.layers.{type(layer).__name__}(epsilon={module.eps:g})"
        yield "epsilon", "epsilon", layer.epsilon, module.eps, fix, setting("eps", layer.epsilon)
    if isinstance(module, nn.modules.conv._ConvNd) and not isinstance(module, nn.modules.conv._ConvTransposeNd):
        yield from convolution_settings(layer, module)
    if isinstance(module, nn.MultiheadAttention):
        scale, expected = (
            float(getattr(layer, "_inverse_sqrt_key_dim", 0.0)),
            (module.embed_dim // module.num_heads) ** -0.5,
        )
        if scale and abs(scale - expected) > 1e-6 * expected:
            fix = f"scores are to be multiplied by 1/sqrt({module.embed_dim // module.num_heads}) = {expected:.6g}"
            yield "attention_scale", "the scale of the scores", scale, expected, fix, scale_queries(scale / expected)
        if layer._num_heads != module.num_heads:
            fix = f"keras.layers.MultiHeadAttention(num_heads={module.num_heads}, ...)"
            yield "heads", "num_heads", layer._num_heads, module.num_heads, fix, setting("num_heads", layer._num_heads)
    if isinstance(module, nn.LSTM) and module.num_layers == 1 and not module.bidirectional:
        ours = [getattr(function, "__name__", "?") for function in (layer.recurrent_activation, layer.activation)]
        if ours != ["sigmoid", "tanh"]:
            fix = 'keras.layers.LSTM(recurrent_activation="sigmoid", activation="tanh"), Keras\' default'
            yield "activation", "gates and activation", ours, ["sigmoid", "tanh"], fix, recurrent_activations(layer)
    if getattr(layer, "compute_dtype", "float32") in ("float16", "bfloat16"):
        fix = f'keras.layers.{type(layer).__name__}(..., dtype="float32")'
        yield "precision", "the computing type", layer.compute_dtype, "float32", fix, in_half(layer.compute_dtype)


def setting(name: str, value: Any) -> Edit:
    """Returns a change that sets an attribute."""
    return lambda module: setattr(module, name, value)


def convolution_settings(layer: Any, module: Any) -> Iterator[tuple[str, str, Any, Any, str, Edit]]:
    """Yields what differs in stride, dilation and padding, as one change: one alone may not fit the next layer."""
    rank = len(module.kernel_size)
    differing: dict[str, tuple[Any, Any]] = {}
    for cause, name, theirs in (("stride", "strides", module.stride), ("dilation", "dilation_rate", module.dilation)):
        ours = tuple(getattr(layer, name))[:rank]
        if ours != tuple(theirs):
            differing[cause] = (f"{name} {ours}", f"{cause} {tuple(theirs)}")
    same = same_padding(layer, module)
    ours_padded = same if layer.padding == "same" else padding_before(layer, rank)
    if module.padding in ("same", "valid"):
        amounts = same if module.padding == "same" else [(0, 0)] * rank
    else:
        amounts = [(p, p) for p in module.padding]
    uneven = layer.padding == "same" and max(layer.strides) > 1 and any(sum(pair) for pair in same)
    if ours_padded != amounts or uneven:
        differing["padding"] = (f'padding="{layer.padding}"', f"{amounts} (before, after) on each axis")
    if differing:
        told, expected = (", ".join(values) for values in zip(*differing.values(), strict=True))
        settings = f"strides={tuple(module.stride)}, dilation_rate={tuple(module.dilation)}"
        fix = (
            f'keras.layers.ZeroPadding{rank}D({amounts}), then {type(layer).__name__}(..., {settings}, padding="valid")'
        )
        yield next(iter(differing)), "the geometry", told, expected, fix, convolve_as_keras(layer)


def padding_before(layer: Any, rank: int) -> list[tuple[int, int]]:
    """Returns what a ZeroPadding layer before a layer of a functional model pads (before, after) on each axis."""
    nodes = getattr(layer, "_inbound_nodes", [])
    history = getattr(nodes[0].input_tensors[0], "_keras_history", None) if nodes else None
    padding = getattr(getattr(history, "operation", None), "padding", None)
    if not isinstance(padding, tuple | list) or not padding:
        return [(0, 0)] * rank
    pairs = [padding] if rank == 1 else padding
    return [(int(before), int(after)) for before, after in pairs]


def same_padding(layer: Any, module: Any) -> list[tuple[int, int]]:
    """Returns what "same" pads (before, after) at stride 1; at others it depends on the size of the input."""
    totals = [d * (k - 1) for k, d in zip(module.kernel_size, layer.dilation_rate, strict=False)]
    return [(total // 2, total - total // 2) for total in totals]


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
            convolve: Any = (functional.conv1d, functional.conv2d, functional.conv3d)[len(module.kernel_size) - 1]
            padded = functional.pad(x, amounts)
            return convolve(padded, module.weight, module.bias, strides, 0, dilations, module.groups)

        module.forward = forward

    return edit


def scale_queries(ratio: float) -> Edit:
    """Returns a change after which the scores of an attention are multiplied by a ratio."""

    def edit(module: Any) -> None:
        forward = type(module).forward

        def scaled(query: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            weight, bias = module.in_proj_weight, module.in_proj_bias
            size = module.embed_dim
            factors = torch.cat([torch.full((size,), ratio), torch.ones(2 * size)]).to(weight)
            module._parameters["in_proj_weight"] = weight * factors[:, None]
            module._parameters["in_proj_bias"] = None if bias is None else bias * factors
            try:
                return forward(module, query, *args, **kwargs)
            finally:
                module._parameters["in_proj_weight"], module._parameters["in_proj_bias"] = weight, bias

        module.forward = scaled

    return edit


def recurrent_activations(layer: Any) -> Edit:
    """Returns a change after which an LSTM of one layer has the activations of a Keras layer."""
    gate, activation = layer.recurrent_activation, layer.activation

    def edit(module: Any) -> None:
        def forward(x: torch.Tensor, state: Any = None) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
            steps = x.transpose(0, 1) if module.batch_first else x
            h = c = x.new_zeros(steps.shape[1], module.hidden_size)
            outputs = []
            for step in steps:
                sums = functional.linear(step, module.weight_ih_l0, module.bias_ih_l0)
                sums = sums + functional.linear(h, module.weight_hh_l0, module.bias_hh_l0)
                given, forget, new, out = sums.chunk(4, 1)
                c = gate(forget) * c + gate(given) * activation(new)
                h = gate(out) * activation(c)
                outputs.append(h)
            result = torch.stack(outputs)
            return (result.transpose(0, 1) if module.batch_first else result), (h[None], c[None])

        module.forward = forward

    return edit


def in_half(dtype: str) -> Edit:
    """Returns a change after which a module computes in a half type: the product is rounded, then the sum."""
    half = getattr(torch, dtype)

    def edit(module: Any) -> None:
        forward = module.forward

        def rounded(*args: Any, **kwargs: Any) -> Any:
            kept = dict(module._parameters)
            for name, weight in kept.items():
                module._parameters[name] = None if weight is None else weight.to(half).to(weight.dtype)
            bias = module._parameters.get("bias") if isinstance(module, nn.Linear) else None
            if bias is not None:
                module._parameters["bias"] = None
            try:
                given = [a.to(half).to(a.dtype) if a.is_floating_point() else a for a in args]
                outputs = forward(*given, **kwargs)
            finally:
                module._parameters.update(kept)
            if not isinstance(outputs, torch.Tensor):
                return outputs
            product = outputs.to(half)
            return (product if bias is None else product + bias.to(half)).to(outputs.dtype)

        module.forward = rounded

    return edit

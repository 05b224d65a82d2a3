"""`nn.MultiheadAttention` and `keras.layers.MultiHeadAttention`: heads as an axis in Keras, as rows in PyTorch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import torch
from torch import nn

from birdplane_keras.parity.kinds import layouts
from birdplane_keras.parity.kinds.kind import (
    Edit,
    FeatureOrder,
    KerasUnit,
    Kind,
    Placed,
    Refusal,
    Rule,
    Setting,
    TorchUnit,
    of,
    simple,
)
from birdplane_keras.parity.kinds.repairing import setting

PROJECTIONS = ("query", "key", "value")


def keras_parts(layer: Any) -> Mapping[str, Any]:
    """Names the weights of the four projections."""
    dense = {name: getattr(layer, f"_{name}_dense", None) for name in (*PROJECTIONS, "output")}
    return {f"{name}/{w.name}": w for name, part in dense.items() if part is not None for w in part.weights}


def rules(ours: KerasUnit, theirs: TorchUnit, order: FeatureOrder) -> list[Rule]:
    """Returns the rules; the PyTorch side may keep three projections in one tensor."""
    found = []
    size: Any = theirs.module.embed_dim
    for index, name in enumerate(PROJECTIONS):
        joint = layouts.rows(index * size, (index + 1) * size)
        kernel, bias = (shape_of(ours, f"{name}/{part}") for part in ("kernel", "bias"))
        turn = layouts.projection_kernel(kernel) if len(kernel) == 3 else layouts.as_is()
        if "in_proj_weight" in theirs.tensors:
            found.append(Rule(keras=f"{name}/kernel", torch=("in_proj_weight",), turn=turn, joint=joint, label=name))
        else:
            found.append(simple(f"{name}/kernel", f"{name[0]}_proj_weight", turn))
        turn = layouts.reshaped(bias, (-1,))
        found.append(Rule(keras=f"{name}/bias", torch=("in_proj_bias",), turn=turn, joint=joint, label=name))
    kernel = shape_of(ours, "output/kernel")
    turn = layouts.output_kernel(kernel) if len(kernel) == 3 else layouts.as_is()
    found.append(simple("output/kernel", "out_proj.weight", turn))
    return [*found, simple("output/bias", "out_proj.bias", layouts.as_is())]


def shape_of(ours: KerasUnit, part: str) -> tuple[int, ...]:
    """Returns the shape of a variable, () for one that the layer lacks."""
    return tuple(ours.variables[part].shape) if part in ours.variables else ()


def refusal(layer: Any, module: Any) -> Refusal | None:
    """Says that two attentions have other numbers of heads."""
    if layer.num_heads == module.num_heads:
        return None
    return Refusal(
        cause="heads",
        text=f"{layer.num_heads} heads in Keras, {module.num_heads} in PyTorch: the same weights make other scores",
        fix=f"keras.layers.MultiHeadAttention(num_heads={module.num_heads}, ...)",
    )


def settings(layer: Any, module: Any) -> Iterator[Setting]:
    """Yields the scale of the scores, if it differs."""
    size = module.embed_dim // module.num_heads
    scale, expected = float(getattr(layer, "_inverse_sqrt_key_dim", 0.0)), size**-0.5
    if scale and abs(scale - expected) > 1e-6 * expected:
        yield Setting(
            cause="attention_scale",
            what="the scale of the scores",
            ours=f"{scale:.6g}",
            theirs=f"{expected:.6g}",
            fix=f"scores are to be multiplied by 1/sqrt({size}) = {expected:.6g}",
            edit=scale_queries(scale / expected),
            repair=setting(_inverse_sqrt_key_dim=expected),
        )


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


def call(placed: Placed, args: Sequence[Any], turn: Callable[[Any], Any]) -> Any:
    """Calls a layer on query, key and value."""
    query, key, value = args[:3]
    return placed.layer(query, value, key=key)


KIND = Kind(
    name="MultiheadAttention",
    is_keras=of(keras.layers.MultiHeadAttention),
    is_torch=of(nn.MultiheadAttention),
    rules=rules,
    keras_parts=keras_parts,
    refusal=refusal,
    settings=settings,
    call=call,
)

"""The kinds of layer that both frameworks have, which weights each side has for them, and how the layouts differ."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import keras
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from birdplane_keras.parity.kinds import layouts
from birdplane_keras.parity.kinds.layouts import Joint, Turn
from birdplane_keras.parity.matching.feature_order import FeatureOrder

RECURRENT = ("LSTM", "GRU", "RNN")


@dataclass(frozen=True, kw_only=True)
class KerasUnit:
    """A Keras layer with weights of a known kind, and its variables by their part in it."""

    kind: str
    layer: Any
    variables: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class TorchUnit:
    """A PyTorch module of a known kind, or one layer of a recurrent one, and its tensors' dotted names by their part.

    `name` is the module's own, "" for the root.
    """

    kind: str
    module: nn.Module
    name: str
    tensors: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A weight of a kind of layer: its part on either side, and the layouts. `label` names a slice."""

    keras: str
    torch: tuple[str, ...]
    turn: Turn
    joint: Joint
    label: str = ""


def kinds() -> list[tuple[str, tuple[Any, ...], tuple[Any, ...]]]:
    """Returns the kinds: name, Keras layers, PyTorch modules."""
    k = keras.layers
    return [
        ("Linear", (k.Dense,), (nn.Linear,)),
        ("Conv1d", (k.Conv1D, k.DepthwiseConv1D), (nn.Conv1d,)),
        ("Conv2d", (k.Conv2D, k.DepthwiseConv2D), (nn.Conv2d,)),
        ("Conv3d", (k.Conv3D,), (nn.Conv3d,)),
        ("ConvTranspose1d", (k.Conv1DTranspose,), (nn.ConvTranspose1d,)),
        ("ConvTranspose2d", (k.Conv2DTranspose,), (nn.ConvTranspose2d,)),
        ("ConvTranspose3d", (k.Conv3DTranspose,), (nn.ConvTranspose3d,)),
        ("BatchNorm", (k.BatchNormalization,), (_BatchNorm,)),
        ("LayerNorm", (k.LayerNormalization,), (nn.LayerNorm,)),
        ("GroupNorm", (k.GroupNormalization,), (nn.GroupNorm,)),
        ("RMSNorm", (k.RMSNormalization,), (nn.RMSNorm,)),
        ("PReLU", (k.PReLU,), (nn.PReLU,)),
        ("Embedding", (k.Embedding,), (nn.Embedding,)),
        ("LSTM", (k.LSTM, k.LSTMCell), (nn.LSTM, nn.LSTMCell)),
        ("GRU", (k.GRU, k.GRUCell), (nn.GRU, nn.GRUCell)),
        ("RNN", (k.SimpleRNN, k.SimpleRNNCell), (nn.RNN, nn.RNNCell)),
        ("MultiheadAttention", (k.MultiHeadAttention,), (nn.MultiheadAttention,)),
    ]


def kind_of(member: Any, side: int) -> str | None:
    """Returns the kind of a Keras layer (side 1) or a PyTorch module (side 2)."""
    if side == 1 and isinstance(member, keras.layers.Bidirectional):
        inner = kind_of(member.forward_layer, side)
        return f"bidirectional {inner}" if inner in RECURRENT else None
    classes = [(name, ours if side == 1 else theirs) for name, ours, theirs in kinds()]
    kind = next((name for name, members in classes if isinstance(member, members)), None)
    return f"bidirectional {kind}" if kind in RECURRENT and getattr(member, "bidirectional", False) else kind


def layers_of(layer: Any) -> Iterator[Any]:
    """Yields a layer and those in it, in the order in which they were registered; a known kind is not entered."""
    seen, stack = set(), [layer]
    while stack:
        layer = stack.pop()
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        yield layer
        if kind_of(layer, 1) is None:
            inner = layer.layers if isinstance(layer, keras.Model) else layer._layers
            stack.extend(reversed(inner))


def keras_units(model: Any) -> list[KerasUnit]:
    """Returns the layers of known kinds, in order."""
    return [keras_unit(layer, kind) for layer in layers_of(model) if (kind := kind_of(layer, 1)) is not None]


def keras_unit(layer: Any, kind: str) -> KerasUnit:
    """Names the parts of a layer."""
    parts = {"": layer}
    if isinstance(layer, keras.layers.Bidirectional):
        ways = sorted((layer.forward_layer, layer.backward_layer), key=lambda way: way.go_backwards)
        parts = dict(zip(("forward/", "backward/"), ways, strict=True))
    elif kind == "MultiheadAttention":
        names = ("query", "key", "value", "output")
        parts = {f"{name}/": dense for name in names if (dense := getattr(layer, f"_{name}_dense", None)) is not None}
    elif kind in RECURRENT:
        parts = {"forward/": layer}
    variables = {f"{prefix}{weight.name}": weight for prefix, part in parts.items() for weight in part.weights}
    return KerasUnit(kind=kind, layer=layer, variables=variables)


def torch_units(module: nn.Module, name: str = "", seen: set[int] | None = None) -> list[TorchUnit]:
    """Returns the modules of known kinds, in order; a recurrent module once for each of its layers."""
    seen = set() if seen is None else seen
    if id(module) in seen:
        return []
    seen.add(id(module))
    kind = kind_of(module, 2)
    if kind is None:
        prefix = f"{name}." if name else ""
        children = module.named_children()
        return [unit for child, inner in children for unit in torch_units(inner, prefix + child, seen)]
    own = own_tensors(module, name)
    if not isinstance(module, nn.RNNBase):
        if isinstance(module, nn.RNNCellBase):
            own = {f"forward/{part}": tensor for part, tensor in own.items()}
        return [TorchUnit(kind=kind, module=module, name=name, tensors=own)]
    units = []
    for index in range(module.num_layers):
        suffixes = {"forward/": f"_l{index}", "backward/": f"_l{index}_reverse"}
        tensors = {
            way + part.removesuffix(suffix): tensor
            for way, suffix in suffixes.items()
            for part, tensor in own.items()
            if part.endswith(suffix)
        }
        units.append(TorchUnit(kind=kind, module=module, name=name, tensors=tensors))
    return units


def own_tensors(module: nn.Module, name: str) -> dict[str, str]:
    """Returns the floating parameters and buffers of a module and those in it: name in it -> dotted name."""
    pairs = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    return {own: f"{name}.{own}" if name else own for own, tensor in pairs if tensor.is_floating_point()}


def refusal(ours: KerasUnit, theirs: TorchUnit) -> str | None:
    """Says why no weights can make two layers of one kind equal, where that shows in no shape."""
    layer, module = ours.layer, theirs.module
    if ours.kind.endswith("GRU") and not getattr(layer, "forward_layer", layer).reset_after:
        return (
            "reset_after=False resets the state before the recurrent kernel, and nn.GRU after it: no weights make them "
            "equal; build the layer with reset_after=True"
        )
    if ours.kind == "MultiheadAttention" and layer.num_heads != module.num_heads:
        return f"expected the same number of heads, received {layer.num_heads} in Keras, {module.num_heads} in PyTorch"
    return None


def rules_of(ours: KerasUnit, theirs: TorchUnit, order: FeatureOrder) -> list[Rule]:
    """Returns the rules for the weights of two layers of one kind; either side may lack a weight that a rule has."""
    kind, layer = ours.kind, ours.layer
    if kind.removeprefix("bidirectional ") in RECURRENT:
        return [rule for way in ("forward/", "backward/") for rule in recurrent_rules(kind, way)]
    if kind == "MultiheadAttention":
        return attention_rules(ours, theirs)
    kernel, bias = layouts.as_is(), layouts.as_is()
    if kind == "Linear":
        kernel, bias = layouts.dense_kernel(order.inputs, order.outputs), layouts.reordered(order.outputs, 0)
    elif "Conv" in kind:
        depthwise = isinstance(layer, keras.layers.DepthwiseConv1D | keras.layers.DepthwiseConv2D)
        shape = tuple(layer.kernel.shape)
        kernel = layouts.depthwise_kernel(shape) if depthwise else layouts.convolution_kernel(layer.rank)
    elif kind != "Embedding":
        kernel = bias = feature_turn(ours, order)
    parts = {
        "kernel": ("weight", kernel),
        "embeddings": ("weight", kernel),
        "alpha": ("weight", kernel),
        "scale": ("weight", kernel),
        "gamma": ("weight", kernel),
        "bias": ("bias", bias),
        "beta": ("bias", bias),
        "moving_mean": ("running_mean", bias),
        "moving_variance": ("running_var", bias),
    }
    rules = [simple(part, torch, turn) for part, (torch, turn) in parts.items() if part in ours.variables]
    used = {rule.torch[0] for rule in rules}
    return [*rules, *(simple("", part, layouts.as_is()) for part in theirs.tensors if part not in used)]


def simple(keras_part: str, torch_part: str, turn: Turn) -> Rule:
    """Returns the rule of a weight that is one tensor on both sides."""
    return Rule(keras=keras_part, torch=(torch_part,), turn=turn, joint=layouts.single())


def feature_turn(ours: KerasUnit, order: FeatureOrder) -> Turn:
    """Returns the turn of a weight with one entry for each feature, of a vector or of a whole feature map."""
    shape = tuple(next(iter(ours.variables.values())).shape) if ours.variables else ()
    if len(shape) > 1:
        moved = layouts.channels_moved_first(len(shape)) if order.channels == "last" else layouts.as_is()
        if ours.kind != "PReLU":
            return moved
        view = (shape[-1], *shape[:-1]) if order.channels == "last" else shape
        return layouts.chain(moved, layouts.reshaped(view, (-1,)))
    return layouts.reordered(order.outputs if order.inputs is None else order.inputs, 0)


def recurrent_rules(kind: str, way: str) -> list[Rule]:
    """Returns the rules of one direction: i, f, g, o in both for an LSTM, another order of the gates for a GRU."""
    gates, bias, joint = layouts.as_is(), layouts.as_is(), layouts.summed()
    if kind.endswith("GRU"):
        gates, bias, joint = layouts.gates_swapped(0), layouts.gates_swapped(1), layouts.stacked()
    kernel = layouts.chain(layouts.transposed(1, 0), gates)
    return [
        simple(f"{way}kernel", f"{way}weight_ih", kernel),
        simple(f"{way}recurrent_kernel", f"{way}weight_hh", kernel),
        Rule(keras=f"{way}bias", torch=(f"{way}bias_ih", f"{way}bias_hh"), turn=bias, joint=joint),
    ]


def attention_rules(ours: KerasUnit, theirs: TorchUnit) -> list[Rule]:
    """Returns the rules of an attention, whose PyTorch side may keep three projections in one tensor."""
    rules = []
    size = cast(int, theirs.module.embed_dim)
    for index, name in enumerate(("query", "key", "value")):
        joint = layouts.rows(index * size, (index + 1) * size)
        kernel, bias = (shape_of(ours, f"{name}/{part}") for part in ("kernel", "bias"))
        turn = layouts.projection_kernel(kernel) if len(kernel) == 3 else layouts.as_is()
        if "in_proj_weight" in theirs.tensors:
            rules.append(Rule(keras=f"{name}/kernel", torch=("in_proj_weight",), turn=turn, joint=joint, label=name))
        else:
            rules.append(simple(f"{name}/kernel", f"{name[0]}_proj_weight", turn))
        turn = layouts.reshaped(bias, (-1,))
        rules.append(Rule(keras=f"{name}/bias", torch=("in_proj_bias",), turn=turn, joint=joint, label=name))
    kernel = shape_of(ours, "output/kernel")
    turn = layouts.output_kernel(kernel) if len(kernel) == 3 else layouts.as_is()
    rules.append(simple("output/kernel", "out_proj.weight", turn))
    return [*rules, simple("output/bias", "out_proj.bias", layouts.as_is())]


def shape_of(ours: KerasUnit, part: str) -> tuple[int, ...]:
    """Returns the shape of a variable, () for one that the layer lacks."""
    return tuple(ours.variables[part].shape) if part in ours.variables else ()

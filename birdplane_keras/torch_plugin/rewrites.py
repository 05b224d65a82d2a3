"""What is changed in a traced graph, and counted: nothing but what this file says."""

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import fx

from birdplane_keras.torch_plugin.axes import read_in_place, turned_inputs
from birdplane_keras.torch_plugin.axis_order import LAID_OUT, TURNED, settle_axes
from birdplane_keras.torch_plugin.graphs import is_write, reaches, remove_dead, same_type, written_nodes
from birdplane_keras.torch_plugin.native import recurrent_steps
from birdplane_keras.torch_plugin.native.recurrent_ops import BY_STEP
from birdplane_keras.torch_plugin.products import keep_to_parts, split_products
from birdplane_keras.torch_plugin.torch_forms import (
    TORCH_FORMS,
    fuse_addmm,
    fuse_convolution_bias,
)

aten = torch.ops.aten

LARGEST_CONSTANT = 1 << 16  # elements; larger ones are made again at each step rather than kept
# The others keep every bit.
BY_STEPS = "recurrent layer step by step"
_ROUNDING = {*TORCH_FORMS, "compiled", TURNED, LAID_OUT, "gradient left as factors", "product by parts", BY_STEPS}
_ALIASES = {aten.detach.default, aten.alias.default, aten.lift_fresh.default}
_LIKE = {aten.ones_like.default: 1, aten.zeros_like.default: 0}


def rounds(counts: Mapping[str, int]) -> bool:
    """Tells whether rewrites, by name, may round otherwise."""
    return any(name in _ROUNDING or name.startswith("native ") for name in counts)


@dataclass(frozen=True, kw_only=True)
class Rewritten:
    """A graph after its rewrites.

    Args:
        graph: The graph.
        constants: Name -> tensor of each `get_attr` node.
        factors: Output number -> the numbers of the two outputs whose matrix product it would have been.
        counts: Name of a rewrite -> how often it was made.
        turned: Number of a tensor of the state that is only read in another order of axes -> that order.
    """

    graph: fx.Graph
    constants: dict[str, torch.Tensor]
    factors: dict[int, tuple[int, int]]
    counts: dict[str, int]
    turned: dict[int, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class Allowed:
    """What rewrites may do where bits are not asked for.

    Args:
        products: Outputs that may be left as two factors where they are a product of matrices.
        channels_last: Let images lie in memory with their channels last, whatever the order of their axes.
        recurrent_by_step: Run a GRU or SimpleRNN that trains step by step, with one product for its weights' gradients.
    """

    products: Container[int] = ()
    channels_last: bool = False
    recurrent_by_step: bool = False


NOTHING = Allowed()


def rewrite(
    graph: fx.Graph, constants: dict[str, torch.Tensor], state: Sequence[torch.Tensor], allowed: Allowed
) -> Rewritten:
    """Rewrites a copy of a graph.

    Args:
        graph: From `make_fx`; its last placeholders are `state`, and it may write them.
        constants: Name -> tensor of each `get_attr` node.
        state: Tensors from outside.
        allowed: What may be done besides.
    """
    copy = fx.Graph()
    copy.output(copy.graph_copy(graph, {}))
    constants = dict(constants)
    counts: Counter[str] = Counter()
    remove_aliases(copy, counts)
    fold_constants(copy, constants, counts)
    choose_branches(copy, constants, counts)
    add_in_place(copy, counts)
    copy, settled = settle_axes(copy, constants, channels_last=allowed.channels_last)
    counts.update(settled)
    placeholders = [node for node in copy.nodes if node.op == "placeholder"]
    kernels = dict(zip(placeholders[len(placeholders) - len(state) :], state, strict=True))
    if allowed.recurrent_by_step:
        run_by_step(copy, counts)
    fuse_addmm(copy, counts)
    fuse_convolution_bias(copy, counts)
    merge_equal_calls(copy, counts)
    factors = split_products(copy, allowed.products, counts)
    if factors:
        keep_to_parts(copy, kernels, counts)
    remove_dead(copy)
    read_in_place(copy, kernels)
    copy.lint()
    numbers = {node: number for number, node in enumerate(kernels)}
    turned = {numbers[node]: order for node, order in turned_inputs(copy).items() if node in numbers}
    return Rewritten(graph=copy, constants=constants, factors=factors, counts=dict(counts), turned=turned)


def run_by_step(graph: fx.Graph, counts: Counter) -> None:
    """PyTorch's loop of a recurrent layer becomes our own, where the gradients of its weights are one product."""
    for node in graph.nodes:
        if node.target in BY_STEP and node.args[0] in recurrent_steps.KINDS:
            counts[BY_STEPS] += node.target is torch.ops.birdplane.recurrent.default
            node.target = BY_STEP[node.target]


def remove_aliases(graph: fx.Graph, counts: Counter) -> None:
    """`detach(x)` is x: a replay records no gradients."""
    for node in list(graph.nodes):
        if node.target in _ALIASES:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
            counts["alias removed"] += 1


def fold_constants(graph: fx.Graph, constants: dict[str, torch.Tensor], counts: Counter) -> None:
    """Computes once what depends on no input: the number of samples, a weight of one, a gradient of one."""
    written = written_nodes(graph)
    values: dict[fx.Node, torch.Tensor] = {
        node: constants[node.target] for node in graph.nodes if node.op == "get_attr"
    }
    if written & set(values):
        return  # someone keeps numbers in a constant: leave all as it is
    folded = []
    for node in list(graph.nodes):
        if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
            continue
        value = constant_value(node, values)
        if value is not None and value.numel() <= LARGEST_CONSTANT and not reaches(node, written):
            values[node] = value
            folded.append(node)
    for node in folded:
        name = f"_folded_constant_{len(constants)}"
        constants[name] = values[node].detach()
        with graph.inserting_before(node):
            node.replace_all_uses_with(graph.get_attr(name))
        graph.erase_node(node)
        counts["constant folded"] += 1


def constant_value(node: fx.Node, values: dict[fx.Node, torch.Tensor]) -> torch.Tensor | None:
    """Returns the value of a node that is the same at every step; `None` for any other."""
    target = node.target
    if is_write(node) or target.namespace != "aten" or "empty" in target._opname:
        return None
    if torch.Tag.nondeterministic_seeded in target.tags:
        return None
    if node.target in _LIKE:
        made = node.meta.get("tensor_meta")
        source = node.args[0].meta.get("tensor_meta") if isinstance(node.args[0], fx.Node) else None
        if (
            made is None
            or source is None
            or not all(isinstance(size, int) for size in made.shape)
            or node.kwargs.get("device")
            or source.dtype != made.dtype
        ):
            return None
        val = node.meta.get("val")
        device = val.device if isinstance(val, torch.Tensor) else None
        if device is None or made.memory_format not in (None, torch.contiguous_format):
            return None
        return torch.full(made.shape, _LIKE[node.target], dtype=made.dtype, device=device)
    if any(used not in values for used in node.all_input_nodes):
        return None
    with torch.no_grad():
        result = node.target(*fx.map_arg(node.args, values.get), **fx.map_arg(node.kwargs, values.get))
    return result if isinstance(result, torch.Tensor) else None


def add_in_place(graph: fx.Graph, counts: Counter) -> None:
    """`copy_(total, add(total, x))`, as Keras' `assign_add` traces, is `add_(total, x)`, to the last bit."""
    for node in list(graph.nodes):
        if node.target is not aten.copy_.default or len(node.args) != 2:
            continue
        total, added = node.args
        if (
            isinstance(added, fx.Node)
            and added.target is aten.add.Tensor
            and added.args[0] is total
            and not added.kwargs
            and len(added.users) == 1
            and added.next is node
            and same_type(total, added)
        ):
            with graph.inserting_before(node):
                replacement = graph.call_function(aten.add_.Tensor, added.args)
            node.replace_all_uses_with(replacement)
            graph.erase_node(node)
            graph.erase_node(added)
            counts["assign_add in place"] += 1


def choose_branches(graph: fx.Graph, constants: dict[str, torch.Tensor], counts: Counter) -> None:
    """`where(condition, a, b)` with one constant condition is a or b: what guards a division by zero, say."""
    for node in list(graph.nodes):
        if node.target is not aten.where.self or node.args[0].op != "get_attr":
            continue
        condition = constants[node.args[0].target]
        chosen = node.args[1] if condition.numel() == 1 and condition.item() else node.args[2]
        if condition.numel() == 1 and same_type(node, chosen):
            node.replace_all_uses_with(chosen)
            graph.erase_node(node)
            counts["branch chosen"] += 1


def merge_equal_calls(graph: fx.Graph, counts: Counter) -> None:
    """A call that was made before, of the same values, is that one: Keras asks twice whether it divides by zero.

    What is written or returned stays by itself: who writes one of two must not write the other.
    """
    kept = written_nodes(graph) | set(graph.find_nodes(op="output")[0].all_input_nodes)
    made: dict[tuple, fx.Node] = {}
    for node in list(graph.nodes):
        if is_write(node):
            made.clear()
        elif is_repeatable(node) and not reaches(node, kept):
            first = made.setdefault((node.target, repr(node.args), repr(node.kwargs)), node)
            if first is not node:
                node.replace_all_uses_with(first)
                graph.erase_node(node)
                counts["equal calls merged"] += 1


def is_repeatable(node: fx.Node) -> bool:
    """Tells whether a node is a call that makes the same of the same values."""
    target = node.target
    return (
        isinstance(target, torch._ops.OpOverload)
        and target.namespace == "aten"
        and "empty" not in target._opname
        and torch.Tag.nondeterministic_seeded not in target.tags
    )

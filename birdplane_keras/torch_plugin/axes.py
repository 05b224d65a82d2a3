"""Axes of tensors in a graph: which order they have, what works number by number on them, what asks for an order."""

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx
from torch.fx.passes.shape_prop import TensorMetadata

from birdplane_keras.torch_plugin.graphs import is_view, reaches, written_nodes

aten = torch.ops.aten

# What is slow on memory that lies in another order than its axes, and what makes a turn worth while.
HEAVY = {
    aten.convolution.default, aten.convolution_backward.default,
    aten.max_pool2d_with_indices.default, aten.max_pool2d_with_indices_backward.default,
    aten.max_pool3d_with_indices.default, aten.max_pool3d_with_indices_backward.default,
    aten.avg_pool2d.default, aten.avg_pool2d_backward.default,
    aten.avg_pool3d.default, aten.avg_pool3d_backward.default,
    aten._adaptive_avg_pool2d.default, aten._adaptive_avg_pool2d_backward.default,
    aten.native_batch_norm.default, aten._native_batch_norm_legit.default, aten._native_batch_norm_legit.no_stats,
    aten._native_batch_norm_legit_no_training.default, aten.native_batch_norm_backward.default,
    aten.native_group_norm.default, aten.native_group_norm_backward.default,
    aten.upsample_nearest2d.vec, aten.upsample_nearest2d.default, aten.upsample_nearest2d_backward.default,
    aten.upsample_bilinear2d.vec, aten.upsample_bilinear2d.default, aten.upsample_bilinear2d_backward.default,
}  # fmt: skip
# Those that are at least as fast on images whose channels lie last in memory. Not group_norm, which crashes there.
IN_ANY_MEMORY = {
    aten.convolution.default, aten.convolution_backward.default,
    aten.max_pool2d_with_indices.default, aten.max_pool2d_with_indices_backward.default,
    aten.avg_pool2d.default, aten.avg_pool2d_backward.default,
    aten.native_batch_norm.default, aten._native_batch_norm_legit.default, aten._native_batch_norm_legit.no_stats,
    aten._native_batch_norm_legit_no_training.default, aten.native_batch_norm_backward.default,
    aten.upsample_nearest2d.vec, aten.upsample_nearest2d.default, aten.upsample_nearest2d_backward.default,
    aten.upsample_bilinear2d.vec, aten.upsample_bilinear2d.default, aten.upsample_bilinear2d_backward.default,
}  # fmt: skip
KERNELS = {aten.convolution.default: 1, aten.convolution_backward.default: 2}  # which argument is one
# Number by number, without PyTorch's mark for it.
POINTWISE = {
    aten.hardtanh_backward.default, aten.leaky_relu_backward.default, aten.hardswish_backward.default,
    aten.hardsigmoid_backward.default, aten.elu_backward.default, aten.softplus_backward.default,
    aten._to_copy.default, aten.mse_loss_backward.default, aten.huber_loss_backward.default,
    aten.smooth_l1_loss_backward.default,
}  # fmt: skip
# From two tensors of one shape to one number, in whatever order.
LOSSES = {
    aten.mse_loss.default, aten.huber_loss.default, aten.smooth_l1_loss.default,
    aten.binary_cross_entropy_with_logits.default,
}  # fmt: skip
REDUCTIONS = {
    aten.sum.dim_IntList, aten.mean.dim, aten.amax.default, aten.amin.default, aten.any.dim, aten.any.dims,
    aten.var.correction, aten.prod.dim_int,
}  # fmt: skip
VIEWS = {aten.view.default, aten._unsafe_view.default}
# What shows the numbers of another tensor, or copies them.
SHOWN = {
    *VIEWS, aten.permute.default, aten.transpose.int, aten.expand.default, aten.clone.default,
}  # fmt: skip
Permutation = tuple[int, ...]


@dataclass(frozen=True)
class Form:
    """How a value of the old graph is had in the new one: `node.permute(order)`.

    Args:
        node: In the new graph.
        order: `None` where the axes are as they were.
        is_dense: Whether the node's memory is known to lie in the order of its axes.
        is_touched: Whether its memory may lie otherwise than it did.
    """

    node: fx.Node
    order: Permutation | None = None
    is_dense: bool = False
    is_touched: bool = False


def read_in_place(graph: fx.Graph, inputs: Iterable[fx.Node]) -> None:
    """Lets a graph read the transposes of inputs where they lie, if they lie so: nothing is copied then.

    Args:
        graph: Changed in place.
        inputs: Its placeholders of matrices of which it may hold transposed copies, as a recurrent layer's kernels.
    """
    written = written_nodes(graph)
    for node in inputs:
        copies = [copy for user in node.users for copy in user.users]
        if reaches(node, written) or any(user.target is not aten.t.default for user in node.users):
            continue
        if not all(
            (
                copy.target is aten.clone.default
                and copy.kwargs.get("memory_format") is torch.contiguous_format
                and not leads_out(copy)
                and not reaches(copy, written)
            )
            or is_put_together(copy)
            for copy in copies
        ):
            continue
        for user in list(node.users):
            user.target, user.args = aten.permute.default, (node, [1, 0])
        for copy in copies:
            if copy.target is aten.clone.default:
                copy.target, copy.kwargs = aten.contiguous.default, {}


def is_put_together(node: fx.Node) -> bool:
    """Tells whether a node's parts are all joined in another order, as the gates of a GRU: in memory of their own."""
    parts = [part for part in node.users if part.target is operator.getitem]
    return (
        node.target in (aten.split.Tensor, aten.split_with_sizes.default)
        and len(parts) == len(node.users)
        and all(user.target is aten.cat.default for part in parts for user in part.users)
    )


def turned_inputs(graph: fx.Graph) -> dict[fx.Node, Permutation]:
    """Returns the inputs of a graph that it only reads in another order of axes, with that order.

    Kept in memory in that order, as PyTorch keeps a kernel, such an input need not be copied.
    """
    found: dict[fx.Node, Permutation] = {}
    for node in graph.find_nodes(op="placeholder"):
        turned = [user for user in node.users if user.target is aten.permute.default]
        orders = {tuple(user.args[1]) for user in turned}
        readers = [each for user in turned for each in user.users]
        copied = all(each.target is aten.contiguous.default or is_put_together(each) for each in readers)
        if turned and copied and len(orders) == 1 and len(turned) == len(node.users):
            found[node] = orders.pop()
    return found


def root_of(node: fx.Node) -> fx.Node:
    """Returns what a node is a view or a copy of."""
    while node.op == "call_function" and (is_view(node) or node.target is aten.clone.default) and node.all_input_nodes:
        node = node.all_input_nodes[0]
    return node


def source_of(node: Any) -> tuple[fx.Node, Permutation]:
    """Returns what a node shows or lays out in another order of axes, and that order."""
    order = tuple(range(rank_of(node) or 0))
    while node.target in (aten.permute.default, aten.contiguous.default) and rank_of(node.args[0]) is not None:
        if node.target is aten.permute.default:
            order = compose([axis % len(order) for axis in node.args[1]], order)
        node = node.args[0]
    return node, order


def leads_out(node: fx.Node) -> bool:
    """Tells whether an output of the graph shows or copies a node."""
    return any(user.op == "output" or (user.target in SHOWN and leads_out(user)) for user in node.users)


def compose(first: Sequence[int], then: Sequence[int]) -> Permutation:
    """Returns the order of axes that two turns, one after the other, make."""
    return tuple(first[axis] for axis in then)


def inverse(order: Sequence[int]) -> Permutation:
    """Returns the order that undoes another."""
    return tuple(order.index(axis) for axis in range(len(order)))


def rank_of(node: Any) -> int | None:
    """Returns how many axes a node's tensor had; `None` for what is no tensor."""
    made = node.meta.get("tensor_meta") if isinstance(node, fx.Node) else None
    return len(made.shape) if isinstance(made, TensorMetadata) else None


def shape_of(node: Any) -> list[int]:
    """Returns the shape of a node's tensor."""
    return list(node.meta["tensor_meta"].shape)


def is_vector(node: Any) -> bool:
    """Tells whether a node's tensor has more than one number along one axis at most, so that it lies in any order."""
    return rank_of(node) is not None and sum(size != 1 for size in shape_of(node)) <= 1


def is_contiguous(node: fx.Node) -> bool:
    """Tells whether a node's tensor lay in the order of its axes when it was traced."""
    made = node.meta.get("tensor_meta")
    return isinstance(made, TensorMetadata) and lie_in_order(made.shape, made.stride)


def lie_in_order(shape: Sequence[int], stride: Sequence[int]) -> bool:
    """Tells whether memory with these strides lies in the order of its axes, without gaps."""
    expected = 1
    for size, step in zip(reversed(shape), reversed(stride), strict=True):
        if size != 1 and step != expected:
            return False
        expected *= size
    return True


def meta_like(node: fx.Node, shape: Sequence[int]) -> dict[str, Any]:
    """Returns what is known of a tensor of a node's type, of another shape."""
    return {"tensor_meta": node.meta["tensor_meta"]._replace(shape=torch.Size(shape))}

"""Calls on tensors whose axes are turned: which axes, sizes and places they name then.

Each takes the walk through the old graph, and a node of that, and returns how the node is had in the new one; `None`
where its arguments are to be brought into their own order.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from birdplane_keras.torch_plugin.axes import (
    LOSSES,
    REDUCTIONS,
    Form,
    Permutation,
    inverse,
    is_vector,
    meta_like,
    rank_of,
    shape_of,
)
from birdplane_keras.torch_plugin.graphs import reaches

aten = torch.ops.aten


def compared(walk: Any, node: Any) -> Form | None:
    """A loss of two tensors, which are brought into one order."""
    first, second, *rest = node.args
    order = walk.forms[first].order or walk.forms[second].order
    if (
        order is None
        or rank_of(node) != 0
        or shape_of(first) != shape_of(second)
        or any(isinstance(each, fx.Node) for each in rest)
    ):
        return None
    made = walk.new.call_function(
        node.target, (walk.in_order(first, order), walk.in_order(second, order), *rest), node.kwargs
    )
    made.meta = dict(node.meta)
    return Form(made, is_dense=True, is_touched=True)


def reduced(walk: Any, node: Any) -> Form | None:
    """A sum or the like over axes."""
    form, rank = walk.forms[node.args[0]], rank_of(node.args[0])
    made, order = node.meta.get("tensor_meta"), form.order
    if made is None or rank is None or order is None or len(node.args) < 2 or node.args[1] is None:
        return None
    given = node.args[1] if isinstance(node.args[1], list | tuple) else [node.args[1]]
    axes = {axis % rank for axis in given}
    is_kept = len(made.shape) == rank
    dimensions = sorted(order[axis] for axis in axes)
    first = dimensions if isinstance(node.args[1], list | tuple) else dimensions[0]
    args = (form.node, first, *node.args[2:])
    result = walk.new.call_function(node.target, walk.mapped(args), walk.mapped(node.kwargs))
    rest = list(order) if is_kept else [order[axis] for axis in range(rank) if axis not in axes]
    left = tuple(sorted(rest).index(axis) for axis in rest)
    result.meta = meta_like(node, [made.shape[axis] for axis in inverse(left)])
    straight = left == tuple(range(len(left)))
    return Form(result, None if straight else left, form.is_dense or is_vector(result), True)


def joined(walk: Any, node: Any) -> Form | None:
    """Tensors one after the other along an axis; they are brought into one order."""
    parts, rank = node.args[0], rank_of(node)
    order = next((walk.forms[each].order for each in parts if walk.forms[each].order), None)
    if rank is None or order is None or any(rank_of(each) != rank for each in parts):
        return None
    axis = (node.args[1] if len(node.args) > 1 else 0) % rank
    args = [walk.in_order(each, order) for each in parts], order[axis]
    return made_in(walk, order, node, args, is_dense=all(walk.forms[each].is_dense for each in parts))


def padded(walk: Any, node: Any) -> Form | None:
    """Numbers around a tensor, which are given from its last axis on."""
    form, rank = walk.forms[node.args[0]], rank_of(node)
    order = form.order
    if order is None or rank is None:
        return None
    pads = list(node.args[1]) + [0] * (2 * rank - len(node.args[1]))
    by_axis = {order[axis]: pads[2 * (rank - 1 - axis) :][:2] for axis in range(rank)}
    turned = [size for axis in reversed(range(rank)) for size in by_axis[axis]]
    while turned[-2:] == [0, 0]:
        turned = turned[:-2]
    return made_in(walk, order, node, (form.node, turned, *node.args[2:]), is_dense=form.is_dense)


def expanded(walk: Any, node: Any) -> Form | None:
    """A tensor shown again and again along axes of one number."""
    form = walk.forms[node.args[0]]
    order = form.order
    if order is None or len(node.args[1]) != len(order):
        return None
    sizes = [node.args[1][axis] for axis in inverse(order)]
    return made_in(walk, order, node, (form.node, sizes), is_dense=False)


def sliced(walk: Any, node: Any) -> Form | None:
    """A part of a tensor along an axis."""
    form, rank = walk.forms[node.args[0]], rank_of(node)
    order = form.order
    if order is None or rank is None or reaches(node, walk.written):
        return None
    axis = (node.args[1] if len(node.args) > 1 else 0) % rank
    return made_in(walk, order, node, (form.node, order[axis], *node.args[2:]), is_dense=False)


def made_in(walk: Any, order: Permutation, node: Any, args: tuple, *, is_dense: bool) -> Form:
    """Makes a call on arguments whose axes are in an order, as its result's are."""
    made = walk.new.call_function(node.target, walk.mapped(args), walk.mapped(node.kwargs))
    made.meta = meta_like(node, [shape_of(node)[axis] for axis in inverse(order)])
    return Form(made, order, is_dense, True)


CALLS: dict[Any, Callable[[Any, Any], Form | None]] = {
    **dict.fromkeys(REDUCTIONS, reduced),
    **dict.fromkeys(LOSSES, compared),
    aten.cat.default: joined,
    aten.constant_pad_nd.default: padded,
    aten.expand.default: expanded,
    aten.slice.Tensor: sliced,
}

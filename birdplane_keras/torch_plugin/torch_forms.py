"""Rewrites into the form in which PyTorch's own layers compute: the same numbers, rounded as theirs are."""

import operator
from collections import Counter

import torch
from torch import fx

from birdplane_keras.torch_plugin.axes import source_of
from birdplane_keras.torch_plugin.graphs import shape_of, writes_between

aten = torch.ops.aten

TORCH_FORMS = {"addmm", "convolution with bias", "bias in convolution's gradient"}
_VIEWS = {aten.view.default, aten._unsafe_view.default}


def fuse_addmm(graph: fx.Graph, counts: Counter) -> None:
    """`add(mm(x, kernel), bias)`, a stock `Dense`, becomes `addmm(bias, x, kernel)`: it rounds as `nn.Linear` does."""
    for node in list(graph.nodes):
        if node.target is not aten.add.Tensor or node.kwargs or len(node.args) != 2:
            continue
        product, bias = node.args
        views = []
        while isinstance(product, fx.Node) and product.target in _VIEWS and len(product.users) == 1:
            views.append(product)
            product = product.args[0]
        if not (isinstance(product, fx.Node) and product.target is aten.mm.default and len(product.users) == 1):
            continue
        made = product.meta.get("tensor_meta")
        shape = shape_of(bias)
        outer = shape_of(views[0] if views else product)
        last = None if outer is None else outer[-1:]
        if made is None or shape is None or shape != made.shape[-1:] or shape != last or writes_between(product, node):
            continue
        if bias.meta["tensor_meta"].dtype != made.dtype:
            continue
        with graph.inserting_before(node):
            result = graph.call_function(aten.addmm.default, (bias, *product.args))
            result.meta = dict(product.meta)
            for view in reversed(views):
                result = graph.call_function(aten.view.default, (result, view.args[1]))
                result.meta = dict(view.meta)
        node.replace_all_uses_with(result)
        graph.erase_node(node)
        counts["addmm"] += 1


def fuse_convolution_bias(graph: fx.Graph, counts: Counter) -> None:
    """`add(convolution(x, kernel), bias)`, a stock `Conv2D` with channels first, becomes one operation, as `nn.Conv2d`.

    So does the gradient of that bias, which PyTorch sums up within the gradient of the convolution.
    """
    for node in list(graph.nodes):
        if node.target is aten.add.Tensor and not node.kwargs and len(node.args) == 2:
            convolution, view = node.args
            bias = bias_of(view)
            if (
                bias is None
                or not (isinstance(convolution, fx.Node) and convolution.target is aten.convolution.default)
                or convolution.args[2] is not None
                or len(convolution.users) != 1
                or shape_of(convolution) != shape_of(node)
                or bias.meta["tensor_meta"].dtype != convolution.meta["tensor_meta"].dtype
                or list(shape_of(view))[1:2] != list(shape_of(convolution))[1:2]
                or writes_between(convolution, node)
            ):
                continue
            with graph.inserting_before(node):
                args = (*convolution.args[:2], bias, *convolution.args[3:])
                result = graph.call_function(aten.convolution.default, args)
            result.meta = dict(node.meta)
            node.replace_all_uses_with(result)
            graph.erase_node(node)
            counts["convolution with bias"] += 1
        elif node.target is aten.convolution_backward.default and not node.kwargs and not node.args[10][2]:
            take_bias_gradient_from(node, graph, counts)


def bias_of(view: object) -> fx.Node | None:
    """Returns the vector (C,) that a node shows as (1, C, 1, ...); `None` for anything else."""
    if not (isinstance(view, fx.Node) and view.target in _VIEWS):
        return None
    bias, shape = view.args[0], shape_of(view)
    whole = shape_of(bias)
    if shape is None or whole is None or len(whole) != 1 or len(shape) < 3:
        return None
    return bias if list(shape) == [1, whole[0], *(1 for _ in shape[2:])] else None


def take_bias_gradient_from(backward: fx.Node, graph: fx.Graph, counts: Counter) -> None:
    """Has a convolution's gradient give the bias's, too, where the graph sums it up from the same tensor."""
    gradient = backward.args[0]
    shape = shape_of(gradient)
    if shape is None:
        return
    source, order = source_of(gradient)  # the sum may be over what it shows in another order
    others = sorted(set(range(len(shape))) - {order[1]})
    for total in list(source.users):
        axes = total.args[1] if total.target is aten.sum.dim_IntList and not total.kwargs else []
        if sorted(axis % len(shape) for axis in axes or []) != others:
            continue
        flat = [user for user in total.users if user.target in _VIEWS and list(shape_of(user) or ()) == [shape[1]]]
        early = any(user < backward for view in flat for user in view.users)
        if not flat or len(flat) != len(total.users) or early or writes_between(total, backward):
            continue
        wanted = [backward.args[10][0], backward.args[10][1], True]
        backward.args = (*backward.args[:3], [shape[1]], *backward.args[4:10], wanted)
        with graph.inserting_after(backward):
            bias = graph.call_function(operator.getitem, (backward, 2))
        bias.meta = dict(flat[0].meta)
        for view in flat:
            view.replace_all_uses_with(bias)
        counts["bias in convolution's gradient"] += 1
        return

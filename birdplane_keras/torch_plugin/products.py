"""A large weight's gradient as the two factors of a product, so that its update can be one product in place."""

from collections import Counter
from collections.abc import Container, Mapping

import torch
from torch import fx

from birdplane_keras.torch_plugin.graphs import is_view, shape_of, written_nodes
from birdplane_keras.torch_plugin.partition import linear_by_parts, parts_of

aten = torch.ops.aten

# Elements of a weight below which its gradient stays in the cache: fusing gains nothing there, and some products over
# few columns round once per term when they add to a weight.
SMALLEST_FUSED = 1 << 16


def split_products(graph: fx.Graph, products: Container[int], counts: Counter) -> dict[int, tuple[int, int]]:
    """Leaves a weight's gradient as its two factors, so that the update can be one in-place product."""
    output = next(node for node in graph.nodes if node.op == "output")
    results = list(output.args[0])
    inputs = {node for node in graph.nodes if node.op == "placeholder"}
    # A factor must still hold its value when the graph has ended.
    if written_nodes(graph) - inputs:
        return {}
    factors = {}
    for number, node in enumerate(list(results)):
        if number not in products:
            continue
        shape = shape_of(node)
        if shape is None or shape.numel() < SMALLEST_FUSED:
            continue
        if list(node.users) == [output] and results.count(node) == 1:
            pair = product_of(node, graph)
            if pair is None or any(reaches_input_write(factor, graph) for factor in pair):
                continue
            factors[number] = (len(results), len(results) + 1)
            results += pair
            results[number] = None
            counts["gradient left as factors"] += 1
    output.args = (results,)
    return factors


def keep_to_parts(graph: fx.Graph, kernels: Mapping[fx.Node, torch.Tensor], counts: Counter) -> None:
    """Forward products with large kernels, whose updates are products by parts, are made by the same parts."""
    for node in list(graph.nodes):
        kernel = kernels.get(node.args[2]) if node.target is aten.addmm.default and not node.kwargs else None
        if kernel is None or kernel.numel() < SMALLEST_FUSED or parts_of(kernel) == 1:
            continue
        with graph.inserting_before(node):
            replacement = graph.call_function(linear_by_parts, (*node.args, parts_of(kernel)))
        node.replace_all_uses_with(replacement)
        graph.erase_node(node)
        counts["product by parts"] += 1


def product_of(node: fx.Node, graph: fx.Graph) -> tuple[fx.Node, fx.Node] | None:
    """Returns the factors of a product, or of the transpose of one; `None` for anything else."""
    if node.target is aten.mm.default:
        return node.args
    inner = node.args[0] if node.target is aten.t.default else None
    if inner is None or inner.target is not aten.mm.default or len(inner.users) > 1:
        return None
    with graph.inserting_before(node):
        left, right = (graph.call_function(aten.t.default, (factor,)) for factor in reversed(inner.args))
    return left, right


def reaches_input_write(node: fx.Node, graph: fx.Graph) -> bool:
    """Tells whether a node is a view of an input that the graph writes."""
    while node.op == "call_function" and is_view(node) and node.all_input_nodes:
        node = node.all_input_nodes[0]
    return node in written_nodes(graph)

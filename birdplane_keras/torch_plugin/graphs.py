"""Questions about a traced graph, and the removal of what nobody uses."""

from typing import Any

import torch
from torch import fx


def is_write(node: fx.Node) -> bool:
    """Tells whether a node writes one of its arguments."""
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


def written_nodes(graph: fx.Graph) -> set[fx.Node]:
    """Returns the nodes that a node writes."""
    written: set[fx.Node] = set()
    for node in filter(is_write, graph.nodes):
        for position, argument in enumerate(node.target._schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                given = node.args[position] if position < len(node.args) else node.kwargs.get(argument.name)
                written |= {
                    item for item in (given if isinstance(given, list | tuple) else [given]) if item is not None
                }
    return written


def reaches(node: fx.Node, written: set[fx.Node]) -> bool:
    """Tells whether a node, or a view of it, is written."""
    if node in written:
        return True
    return any(reaches(user, written) for user in node.users if is_view(user))


def is_view(node: fx.Node) -> bool:
    """Tells whether a node's result may share memory with its arguments."""
    target = node.target
    if not isinstance(target, torch._ops.OpOverload):
        return True
    return any(output.alias_info is not None for output in target._schema.returns)


def same_type(one: fx.Node, other: fx.Node) -> bool:
    """Tells whether two nodes are known to have the same shape and type."""
    first, second = one.meta.get("tensor_meta"), other.meta.get("tensor_meta")
    return first is not None and second is not None and (first.shape, first.dtype) == (second.shape, second.dtype)


def shape_of(value: Any) -> torch.Size | None:
    """Returns the shape that a node's tensor had when it was traced."""
    made = value.meta.get("tensor_meta") if isinstance(value, fx.Node) else None
    return None if made is None else made.shape


def writes_between(first: fx.Node, last: fx.Node) -> bool:
    """Tells whether anything is written between two nodes."""
    node = first
    while node is not last:
        if is_write(node):
            return True
        node = node.next
    return False


# Operations that raise where the numbers of an index are out of range: to have no other use is one.
LOOKUPS = {"embedding", "gather", "index", "index_select", "take"}


def remove_dead(graph: fx.Graph) -> None:
    """Removes calls whose results nobody uses, unless they write, draw random numbers, or may raise."""
    for node in reversed(list(graph.nodes)):
        if node.op in ("call_function", "get_attr") and not node.users and not is_write(node):
            if isinstance(node.target, torch._ops.OpOverload) and (
                torch.Tag.nondeterministic_seeded in node.target.tags
                or not node.target._schema.returns  # a check, as that of a matrix that must be positive definite
                or node.target._opname in LOOKUPS
            ):
                continue
            graph.erase_node(node)

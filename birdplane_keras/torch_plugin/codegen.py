"""Writes a graph of ATen calls as one flat Python function."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx

from birdplane_keras.torch_plugin.native.recurrent_ops import PYTHON
from birdplane_keras.torch_plugin.randomness import SEEDED

# Operations whose Python binding takes the same arguments and costs a third of a call through `torch.ops`.
_BOUND = {
    "add.Tensor": torch.add,
    "addmm.default": torch.addmm,
    "argmax.default": torch.argmax,
    "contiguous.default": torch.Tensor.contiguous,
    "copy_.default": torch.Tensor.copy_,
    "add_.Tensor": torch.Tensor.add_,
    "div.Tensor": torch.div,
    "eq.Scalar": torch.eq,
    "eq.Tensor": torch.eq,
    "expand.default": torch.Tensor.expand,
    "mm.default": torch.mm,
    "mul.Tensor": torch.mul,
    "neg.default": torch.neg,
    "relu.default": torch.relu,
    "sub.Tensor": torch.sub,
    "sum.default": torch.sum,
    "sum.dim_IntList": torch.sum,
    "t.default": torch.t,
    "tanh.default": torch.tanh,
    "view.default": torch.Tensor.view,
    "where.self": torch.where,
    "_log_softmax.default": torch._log_softmax,
    "_log_softmax_backward_data.default": torch._log_softmax_backward_data,
    "_softmax.default": torch._softmax,
    "_softmax_backward_data.default": torch._softmax_backward_data,
}


def compile_graph(graph: fx.Graph, constants: dict[str, torch.Tensor], bound: Sequence[torch.Tensor]) -> Any:
    """Returns a function of the graph's inputs.

    Args:
        graph: Its last `len(bound)` placeholders are the tensors `bound`; the function takes the others.
        constants: Name -> tensor of each `get_attr` node.
        bound: Tensors that the function reads and writes in place.

    Returns:
        A function from tensors to the tuple of the graph's outputs; its text is in its attribute `source`.
    """
    names: dict[str, Any] = {}  # the function's globals
    lines: list[str] = []
    arguments: list[str] = []
    placeholders = [node for node in graph.nodes if node.op == "placeholder"]
    taken = placeholders[: len(placeholders) - len(bound)]
    names |= {node.name: tensor for node, tensor in zip(placeholders[len(taken) :], bound, strict=True)}
    last_use = last_uses(graph)

    def write(value: Any) -> str:
        if isinstance(value, fx.Node):
            return value.name
        if isinstance(value, list | tuple):
            inner = ", ".join(write(item) for item in value)
            return f"[{inner}]" if isinstance(value, list) else f"({inner}{',' if len(value) == 1 else ''})"
        if value is None or type(value) in (bool, int, str):
            return repr(value)
        name = f"value_{len(names)}"
        names[name] = value
        return name

    for node in graph.nodes:
        if node.op == "placeholder":
            if node in taken:
                arguments.append(node.name)
        elif node.op == "get_attr":
            names[node.name] = constants[node.target]
        elif node.op == "call_function":
            called = f"call_{node.name}"
            names[called], keywords = fastest(node)
            given = [write(item) for item in node.args] + [f"{key}={write(item)}" for key, item in keywords.items()]
            lines.append(f"    {node.name} = {called}({', '.join(given)})")
        elif node.op == "output":
            lines.append(f"    return {write(tuple(node.args[0]))}")
        dead = [name for name in last_use.get(node, ()) if name not in names]
        if dead and node.op == "call_function":
            lines.append(f"    del {', '.join(dead)}")
    source = "\n".join([f"def replay({', '.join(arguments)}):", *lines])
    exec(compile(source, "<birdplane_keras.torch_plugin>", "exec"), names)  # our own text, of our own graph
    function = names["replay"]
    function.source = source
    return function


def fastest(node: fx.Node) -> tuple[Callable, dict[str, Any]]:
    """Returns the cheapest callable that makes a node, and its keyword arguments."""
    target: Any = node.target
    keywords: dict[str, Any] = dict(node.kwargs)
    if not isinstance(target, torch._ops.OpOverload):
        return target, keywords
    called: Any = target._op
    if target.namespace == "birdplane":
        called = SEEDED[target._opname][0] if target._opname in SEEDED else PYTHON[target._opname]
    elif target is torch.ops.aten._to_copy.default and keywords.keys() == {"dtype"}:
        called = torch.Tensor.to
        keywords["copy"] = True
    elif target.namespace == "aten":
        called = _BOUND.get(f"{target._opname}.{target._overloadname}", called)
    return called, keywords


def last_uses(graph: fx.Graph) -> dict[fx.Node, list[str]]:
    """Returns, for each node, the names whose last user it is."""
    last: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        last[node] = node
        for used in node.all_input_nodes:
            last[used] = node
    uses: dict[fx.Node, list[str]] = {}
    for node, user in last.items():
        if node.op in ("call_function", "placeholder") and user.op != "output":
            uses.setdefault(user, []).append(node.name)
    return uses

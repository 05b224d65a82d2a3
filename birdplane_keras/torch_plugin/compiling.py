"""A graph through PyTorch's own compiler, inductor: what works number by number becomes loops in C++ or Triton.

The graph is the traced one, after its rewrites: one graph, without breaks and without guards of its own. Inductor keeps
what it compiles on disk, so that another process need not compile it again.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import fx

from birdplane_keras.torch_plugin.errors import NothingToCompileError, NotTraceableError
from birdplane_keras.torch_plugin.graphs import is_write, remove_dead

_NEW = (torch.ops.aten.empty_like.default, torch.ops.aten.new_empty_strided.default)


def compile_by_inductor(
    graph: fx.Graph, constants: dict[str, torch.Tensor], inputs: Sequence[torch.Tensor], state: Sequence[torch.Tensor]
) -> Callable[..., tuple]:
    """Returns a compiled function from the inputs of a graph to the tuple of its outputs; it has not run yet.

    Args:
        graph: Its placeholders are the inputs, then the state.
        constants: Name -> tensor of each `get_attr` node.
        inputs: Examples.
        state: Tensors that it reads and writes in place.

    Raises:
        NothingToCompileError: It is a call of PyTorch's already.
        NotTraceableError: It cannot be compiled here: there is no C++ compiler, say.
    """
    if any(str(node.target).startswith("birdplane.recurrent") for node in graph.nodes):
        raise NothingToCompileError("PyTorch's own recurrent layer is one call, which its compiler cannot enter")
    copy = fx.Graph()
    copy.output(copy.graph_copy(graph, {}))
    draw_anew(copy)
    module = fx.GraphModule(dict(constants), copy)
    bound = list(state)
    try:
        from torch._inductor.compile_fx import compile_fx

        with torch.no_grad(), settings():
            function: Any = compile_fx(module, [*inputs, *bound])
    except KeyboardInterrupt:
        raise
    except Exception as error:
        raise NotTraceableError(explain_failure(error)) from error

    def compiled(*given: torch.Tensor) -> tuple:
        with torch.no_grad():
            return tuple(function(*given, *bound))

    return compiled


def draw_anew(graph: fx.Graph) -> None:
    """Has masks drawn by an operation that returns them: inductor may read memory before it is drawn into, in place.

    Raises:
        NotTraceableError: Something else is drawn in place.
    """
    for node in list(graph.nodes):
        if not is_write(node) or torch.Tag.nondeterministic_seeded not in node.target.tags:
            continue
        memory, made = node.args[0], node.args[0].meta.get("tensor_meta")
        is_new = memory.target in _NEW and len(memory.users) == 1 and made is not None
        if node.target is not torch.ops.aten.bernoulli_.float or not is_new:
            raise NotTraceableError(f"`{node.target}` draws in place, which PyTorch's compiler may do too late")
        probability = node.args[1] if len(node.args) > 1 else 0.5
        with graph.inserting_before(node):
            # What the memory is like is an argument, so that draws stay in their order.
            args = memory.args[0], list(made.shape), list(made.stride), probability
            drawn = graph.call_function(torch.ops.birdplane.drawn_bernoulli.default, args)
        node.replace_all_uses_with(drawn)
        graph.erase_node(node)
    remove_dead(graph)


def settings() -> AbstractContextManager:
    """Returns inductor's settings: the draws of PyTorch's own generators, and no processes beside this one."""
    from torch._inductor import config

    return config.patch(fallback_random=True, compile_threads=1)


def explain_failure(error: Exception) -> str:
    """Returns the reason in words for what the compiler raised."""
    lines = str(error).strip().splitlines()
    return f"PyTorch's compiler cannot compile it ({type(error).__name__}: {lines[0] if lines else ''})"

"""From a Python function of tensors to the graph of its ATen calls."""

import operator
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import fx
from torch._guards import TracingContext, tracing
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from birdplane_keras.torch_plugin.departures import Departures
from birdplane_keras.torch_plugin.errors import NotTraceableError
from birdplane_keras.torch_plugin.sizes import Symbolic
from birdplane_keras.torch_plugin.trial import Trial
from birdplane_keras.torch_plugin.ways import Way


@dataclass(frozen=True, kw_only=True)
class Traced:
    """A graph over the inputs of a function and what it reads from outside.

    Args:
        graph: Its placeholders are the inputs, then the state.
        constants: Name -> tensor of each `get_attr` node.
    """

    graph: fx.Graph
    constants: dict[str, torch.Tensor]


def make_graph(trial: Trial, symbolic: Symbolic | None = None) -> Traced:
    """Returns the graph of a function over (inputs, state)."""
    made: list[fx.GraphModule] = []
    departures = Departures(traced=True)
    numbers = Way()

    def watched(*arguments: torch.Tensor) -> list:
        with departures:
            return trial.whole(*arguments)

    def traced(*_: torch.Tensor) -> list:
        if symbolic is None:
            run = make_fx(lambda *_: watched(*trial.inputs), tracing_mode="real")
            with tracing(TracingContext(FakeTensorMode(allow_fallback_kernels=True))):  # or each tensor makes its own
                made.append(run(*trial.inputs, *trial.state))
        else:
            symbols = Way(like=numbers)
            with symbols if numbers.instructions else nullcontext():
                made.append(symbolic.sizes.graph_of(watched, symbolic.inputs, trial.state))
            symbols.require_same(numbers)
        departures.check()
        return []

    try:
        if symbolic is None:
            trial.attempt(traced)
        else:
            with numbers:
                trial.attempt(trial.whole)
            trial.run_without_numbers(traced)
    except Exception as error:
        if symbolic is not None:  # Keras puts what is raised in other words
            symbolic.sizes.check()
        if departures.refusal:
            departures.check()
        if isinstance(error, NotTraceableError):
            raise
        raise NotTraceableError(explain_failure(error)) from error
    module = made[0]
    constants = {
        node.target: operator.attrgetter(node.target)(module).detach()
        for node in module.graph.nodes
        if node.op == "get_attr"
    }
    return Traced(graph=module.graph, constants=constants)


def require_fixed_shapes(graph: fx.Graph) -> None:
    """Makes sure that no shape follows from the numbers in a tensor: what comes after has it as a constant."""
    varies: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op == "placeholder" or varies.intersection(node.all_input_nodes):
            varies.add(node)
        if not isinstance(node.target, torch._ops.OpOverload) or torch.Tag.dynamic_output_shape not in node.target.tags:
            continue
        by_position = node.target is torch.ops.aten.index.Tensor and not any(
            isinstance(each, fx.Node) and each.meta["tensor_meta"].dtype in (torch.bool, torch.uint8)
            for each in node.args[1]
        )
        if node in varies and not by_position:
            raise NotTraceableError(f"the shape of what `{node.target}` returns depends on the numbers in a tensor")


def explain_failure(error: Exception) -> str:
    """Returns the reason in words for what `make_fx` raised."""
    text = str(error)
    if "_local_scalar_dense" in text or "data-dependent" in text.lower():
        return "its Python code depends on the numbers in a tensor (`if`, `int()` or the like)"
    first_line = text.strip().splitlines()[0] if text.strip() else ""
    return f"PyTorch cannot trace it ({type(error).__name__}: {first_line})"

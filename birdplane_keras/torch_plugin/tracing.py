"""From a Python function of tensors to a graph that provably does the same: tried, traced, replayed, compared."""

import operator
from collections.abc import Callable, Container, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx
from torch.fx.experimental.proxy_tensor import make_fx

from birdplane_keras.torch_plugin.agreement import require_close, require_same
from birdplane_keras.torch_plugin.codegen import compile_graph
from birdplane_keras.torch_plugin.departures import Departures
from birdplane_keras.torch_plugin.errors import NotTraceableError, UnsteadyError
from birdplane_keras.torch_plugin.guards import Guards
from birdplane_keras.torch_plugin.places import Place
from birdplane_keras.torch_plugin.rewrites import ROUNDING_REWRITES, Rewritten, rewrite
from birdplane_keras.torch_plugin.sizes import Symbolic
from birdplane_keras.torch_plugin.trial import Function, Trial
from birdplane_keras.torch_plugin.ways import Way


@dataclass(frozen=True, kw_only=True)
class Trace:
    """A traced function, ready to be replayed.

    Args:
        replay: From the inputs, tensors on their device, to the tuple of outputs. It reads and writes the tensors of
            `state` in place, as the function did.
        state: The tensors from outside that the function reads or writes, in order of first use.
        written: Those of them that it writes.
        outputs: What the replay that proved the trace returned. Its writes were kept: that step has been made.
        kept: Places in which the function leaves tensors that it makes; they are the last of the outputs.
        guards: Over the Python state that the function read.
        factors: Output number of a weight's gradient -> the numbers of the two outputs whose product it is.
        calls: ATen calls in a replay.
        ulp: Relative step between numbers of the coarsest floating-point type in the graph.
        rewrites: Name of a rewrite -> how often it was made.
        source: The text of `replay`.
        symbolic: The outputs without numbers, where sizes are free; empty elsewhere.
        plain: The replay before the rewrites, where sizes are free: each size is proved by it, to the last bit.
    """

    replay: Callable[..., tuple]
    state: list[torch.Tensor]
    written: list[torch.Tensor]
    outputs: tuple
    kept: list[tuple[Place, Any]]
    guards: Guards
    factors: dict[int, tuple[int, int]] = field(default_factory=dict)
    calls: int
    ulp: float
    rewrites: dict[str, int]
    source: str
    symbolic: list[torch.Tensor | None] = field(default_factory=list)
    plain: Callable[..., tuple] | None = None

    def leave(self, outputs: tuple) -> None:
        """Leaves the tensors of a replay where the function leaves its own."""
        for (place, key), value in zip(self.kept, outputs[len(outputs) - len(self.kept) :], strict=True):
            place.put(key, value)


def trace(
    function: Function,
    inputs: Sequence[torch.Tensor],
    *,
    roots: Sequence[Any] = (),
    given: Sequence[Any] = (),
    products: Container[int] = (),
    most_calls: float = float("inf"),
    symbolic: Symbolic | None = None,
) -> Trace:
    """Traces a function and proves the trace on its inputs.

    The function runs twice as it is, which shows what it reads and whether it does the same each time; a third time
    under `make_fx`; then its replay runs, before the rewrites and after them. All but the last are taken back, in
    tensors and in Python's state.

    Args:
        function: From the inputs to a flat list of tensors; `None` stays `None`. It may write tensors in place.
        inputs: Tensors.
        roots: Objects that are there before the function runs; state that they lead to is guarded where it is read.
        given: Containers of the inputs, which are others at the next step.
        products: Outputs that may be left as two factors where they are a product of matrices.
        most_calls: ATen calls beyond which the function is not traced.
        symbolic: The inputs with free sizes, where the trace is to serve other sizes, too.

    Raises:
        NotTraceableError: The replay would not be the function. Everything is as it was.
        UnsteadyError: Neither of two trials repeated itself. Everything is as it was.
        TooLargeError: The function makes more ATen calls than that. Everything is as it was.
        StateChangedError: The function makes what it keeps at its first call only. Everything is as it was.
        Exception: What the function itself raises.
    """

    def tried() -> Trace:
        trial = Trial(function, inputs, roots, given, most_calls)
        try:
            return _trace(trial, products, symbolic)
        except BaseException:
            trial.undo()
            raise

    try:
        return tried()
    except UnsteadyError:
        return tried()


def _trace(trial: Trial, products: Container[int], symbolic: Symbolic | None) -> Trace:
    inputs = trial.inputs
    trial.observe()
    first, first_written, seen, state = trial.first, trial.first_written, trial.seen, trial.state
    graph, constants = make_graph(trial, symbolic)
    shapes = [getattr(node, "meta", {}).get("val") for node in graph.find_nodes(op="output")[0].args[0]]
    # The copy is proved bit for bit; what the rewrites then change is known rewrite by rewrite.
    plain = torch.no_grad()(compile_graph(graph, constants, state))
    copied, copied_written, _ = trial.attempt(plain)
    require_same("its replay gives another result", (first, first_written), (copied, copied_written))

    rewritten: Rewritten = rewrite(graph, constants, state, products)
    require_fixed_shapes(rewritten.graph)
    if symbolic is not None:
        symbolic.sizes.require_free(rewritten.graph)
    replay = compile_graph(rewritten.graph, rewritten.constants, state)
    tried, _, tried_journal = trial.attempt(with_products(replay, rewritten.factors, len(first)))
    if [*map(id, tried_journal.written())] != [*map(id, seen.written())]:
        raise NotTraceableError("its rewritten replay writes other tensors")
    exact = not (ROUNDING_REWRITES & rewritten.counts.keys())
    require_close(first, tried, 0.0 if exact else coarsest_step(graph))
    with torch.no_grad():
        outputs = replay(*inputs)
    made = Trace(
        replay=replay,
        state=state,
        written=[tensor for tensor in seen.written() if id(tensor) in set(map(id, state))],
        outputs=outputs,
        kept=trial.kept,
        guards=trial.guards,
        factors=rewritten.factors,
        calls=sum(node.op == "call_function" for node in rewritten.graph.nodes),
        ulp=coarsest_step(graph),
        rewrites=rewritten.counts,
        source=replay.source,
        symbolic=shapes if symbolic is not None else [],
        plain=plain if symbolic is not None else None,
    )
    made.leave(outputs)
    return made


def make_graph(trial: Trial, symbolic: Symbolic | None = None):
    """Returns the graph of a function over (inputs, state), and its constants by name."""
    made: list[fx.GraphModule] = []
    departures = Departures(traced=True)
    numbers = Way()

    def watched(*arguments: torch.Tensor) -> list:
        with departures:
            return trial.whole(*arguments)

    def traced(*_: torch.Tensor) -> list:
        if symbolic is None:
            run = make_fx(lambda *_: watched(*trial.inputs), tracing_mode="real")
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
    return module.graph, constants


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


def with_products(replay: Callable, factors: dict[int, tuple[int, int]], count: int) -> Callable:
    """Returns the replay with each pair of factors multiplied out, for a comparison."""

    def multiplied(*inputs: torch.Tensor) -> list:
        with torch.no_grad():
            outputs = replay(*inputs)
        return [outputs[factors[n][0]] @ outputs[factors[n][1]] if n in factors else outputs[n] for n in range(count)]

    return multiplied


def coarsest_step(graph: fx.Graph) -> float:
    """Returns the relative step between numbers of the coarsest floating-point type in a graph."""
    made = [node.meta["tensor_meta"] for node in graph.nodes if "tensor_meta" in node.meta]
    types = {each.dtype for each in made if isinstance(getattr(each, "dtype", None), torch.dtype)}
    steps = [torch.finfo(dtype).eps for dtype in types if dtype.is_floating_point]
    return max(steps, default=0.0)

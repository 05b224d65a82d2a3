"""From a Python function of tensors to a graph that provably does the same: tried, traced, replayed, compared."""

import operator
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field

import torch
from torch import fx
from torch.fx.experimental.proxy_tensor import make_fx

from birdplane_keras.torch_plugin.codegen import compile_graph
from birdplane_keras.torch_plugin.errors import NotTraceableError, StateChangedError
from birdplane_keras.torch_plugin.journal import Journal, TorchRandomState, python_randomness_restored
from birdplane_keras.torch_plugin.randomness import has_global_seed, tracing_mode
from birdplane_keras.torch_plugin.rewrites import ROUNDING_REWRITES, Rewritten, rewrite

Outputs = list[torch.Tensor | None]
Function = Callable[..., Outputs]

# A replay with a rewritten product rounds differently: by some units in the last place of the coarsest type in the
# graph, where a wrong replay is off by far more. The bound only has to tell the two apart; it is 1e-3 of a tensor's
# largest value in float32. What is zero but for rounding, as a bias's gradient before a normalisation is, is held
# against the others.
REWRITTEN_ULPS = 8192
NOISE_ULPS = 64
# Some CUDA operations add in no fixed order.
UNORDERED_TOLERANCE = 1e-4


@dataclass(frozen=True, kw_only=True)
class Trace:
    """A traced function, ready to be replayed.

    Args:
        replay: From the inputs, tensors on their device, to the tuple of outputs. It reads and writes the tensors of
            `state` in place, as the function did.
        state: The tensors from outside that the function reads or writes, in order of first use.
        outputs: What the replay that proved the trace returned. Its writes were kept: that step has been made.
        factors: Output number of a weight's gradient -> the numbers of the two outputs whose product it is.
        calls: ATen calls in a replay.
        rewrites: Name of a rewrite -> how often it was made.
        source: The text of `replay`.
    """

    replay: Callable[..., tuple]
    state: list[torch.Tensor]
    outputs: tuple
    factors: dict[int, tuple[int, int]] = field(default_factory=dict)
    calls: int
    rewrites: dict[str, int]
    source: str


def trace(
    function: Function,
    inputs: Sequence[torch.Tensor],
    *,
    products: Container[int] = (),
    before_commit: Callable[[list[torch.Tensor]], None] = lambda state: None,
) -> Trace:
    """Traces a function and proves the trace on its inputs.

    The function runs twice as it is, which shows what it reads and whether it does the same each time; a third time
    under `make_fx`; then its replay runs, before the rewrites and after them. All but the last are taken back.

    Args:
        function: From the inputs to a flat list of tensors; `None` stays `None`. It may write tensors in place.
        inputs: Tensors.
        products: Outputs that may be left as two factors where they are a product of matrices.
        before_commit: Called with the tensors from outside before the run that counts; may refuse the trace.

    Raises:
        NotTraceableError: The replay would not be the function.
        Exception: What the function itself raises.
    """
    random_state = TorchRandomState()

    def attempt(callable_: Callable) -> tuple[list, list, Journal]:
        journal = Journal()
        random_state.restore()
        try:
            with journal:
                outputs = list(callable_(*inputs))
            kept = [None if output is None else output.detach().clone() for output in outputs]
            written = [tensor.detach().clone() for tensor in journal.written()]
        finally:
            journal.roll_back()
            random_state.restore()
        return kept, written, journal

    with python_randomness_restored():
        had_global_seed = has_global_seed()
        first, first_written, seen = attempt(function)
        if has_global_seed() and not had_global_seed:
            raise StateChangedError("it makes Keras' global seed generator")
        second, second_written, seen_again = attempt(function)
        require_same("the step gives different results", (first, first_written), (second, second_written))
        given = {id(tensor) for tensor in inputs}
        state = [tensor for key, tensor in seen.outside.items() if key in seen_again.outside and key not in given]
        require_equal_constants(seen, seen_again, given)

        graph, constants = make_graph(function, inputs, state, attempt)
        # The copy is proved bit for bit; what the rewrites then change is known rewrite by rewrite.
        plain, plain_written, _ = attempt(torch.no_grad()(compile_graph(graph, constants, state)))
        require_same("its replay gives another result", (first, first_written), (plain, plain_written))

    rewritten: Rewritten = rewrite(graph, constants, state, products)
    replay = compile_graph(rewritten.graph, rewritten.constants, state)
    tried, _, tried_journal = attempt(with_products(replay, rewritten.factors, len(first)))
    if [*map(id, tried_journal.written())] != [*map(id, seen.written())]:
        raise NotTraceableError("its rewritten replay writes other tensors")
    exact = not (ROUNDING_REWRITES & rewritten.counts.keys())
    require_close(first, tried, 0.0 if exact else coarsest_step(graph))
    before_commit(state)
    with torch.no_grad():
        outputs = replay(*inputs)
    return Trace(
        replay=replay,
        state=state,
        outputs=outputs,
        factors=rewritten.factors,
        calls=sum(node.op == "call_function" for node in rewritten.graph.nodes),
        rewrites=rewritten.counts,
        source=replay.source,
    )


def make_graph(function: Function, inputs: Sequence[torch.Tensor], state: list[torch.Tensor], attempt: Callable):
    """Returns the graph of the function over (inputs, state), and its constants by name."""
    made: list[fx.GraphModule] = []

    def traced(*arguments: torch.Tensor) -> list:
        with tracing_mode():
            made.append(make_fx(lambda *_: function(*inputs), tracing_mode="real")(*arguments, *state))
        return []

    try:
        attempt(traced)
    except NotTraceableError:
        raise
    except Exception as error:
        raise NotTraceableError(explain_failure(error)) from error
    module = made[0]
    constants = {
        node.target: operator.attrgetter(node.target)(module).detach()
        for node in module.graph.nodes
        if node.op == "get_attr"
    }
    return module.graph, constants


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


def require_equal_constants(first: Journal, second: Journal, given: set[int]) -> None:
    """Makes sure that tensors which Python makes anew at each run hold the same numbers each time."""
    fresh = [
        [tensor for key, tensor in one.outside.items() if key not in other.outside and key not in given]
        for one, other in ((first, second), (second, first))
    ]
    same = len(fresh[0]) == len(fresh[1]) and all(map(same_bits, *fresh))
    if not same:
        raise NotTraceableError("it makes tensors from Python or NumPy numbers that differ from step to step")


def require_same(what: str, first: tuple[list, list], second: tuple[list, list]) -> None:
    """Makes sure that two runs from the same state returned and wrote the same, bit for bit."""
    ours, theirs = [*first[0], *first[1]], [*second[0], *second[1]]
    unordered = any(tensor is not None and tensor.is_cuda for tensor in ours)
    if [len(part) for part in first] != [len(part) for part in second]:
        raise NotTraceableError(f"{what} when it is run twice from the same state")
    for one, other in zip(ours, theirs, strict=True):
        if not same_bits(one, other) and not (unordered and distance(one, other) <= UNORDERED_TOLERANCE):
            raise NotTraceableError(f"{what} when it is run twice from the same state")


def coarsest_step(graph: fx.Graph) -> float:
    """Returns the relative step between numbers of the coarsest floating-point type in a graph."""
    made = [node.meta["tensor_meta"] for node in graph.nodes if "tensor_meta" in node.meta]
    types = {each.dtype for each in made if isinstance(getattr(each, "dtype", None), torch.dtype)}
    steps = [torch.finfo(dtype).eps for dtype in types if dtype.is_floating_point]
    return max(steps, default=0.0)


def require_close(first: list, second: list, step: float) -> None:
    """Makes sure that the rewritten replay returns the function's outputs, up to rounding of relative size `step`."""
    finite = [float(each.nan_to_num().abs().max()) for each in first if each is not None and is_float(each)]
    noise = min(NOISE_ULPS * step, 0.1) * max(finite, default=0.0)
    for one, other in zip(first, second, strict=True):
        if not same_bits(one, other) and not distance(one, other, noise) <= min(REWRITTEN_ULPS * step, 0.1):
            raise NotTraceableError(
                f"its rewritten replay is {distance(one, other):.1e} away from it, more than rounding"
            )


def is_float(tensor: torch.Tensor) -> bool:
    """Tells whether a tensor holds floating-point numbers, and any."""
    return tensor.dtype.is_floating_point and tensor.numel() > 0


def same_bits(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    """Tells whether two tensors agree in shape, type and every value; NaN equals NaN, and -0 is not 0."""
    if one is None or other is None:
        return one is other
    if (one.shape, one.dtype, one.device) != (other.shape, other.dtype, other.device):
        return False
    if not one.dtype.is_floating_point:
        return torch.equal(one, other)
    return bool(((one == other) & (one.signbit() == other.signbit()) | one.isnan() & other.isnan()).all())


def distance(one: torch.Tensor | None, other: torch.Tensor | None, noise: float = 0.0) -> float:
    """Returns the largest difference relative to the largest value; infinite where the tensors cannot be compared.

    A difference up to `noise` counts as none.
    """
    if one is None or other is None or (one.shape, one.dtype) != (other.shape, other.dtype):
        return float("inf")
    if not one.dtype.is_floating_point:
        return 0.0 if torch.equal(one, other) else float("inf")
    if not torch.equal(one.isfinite(), other.isfinite()):
        return float("inf")
    if not one.numel():
        return 0.0
    one, other = one.double().nan_to_num(), other.double().nan_to_num()
    difference = float((one - other).abs().max())
    return 0.0 if difference <= noise else difference / max(float(one.abs().max()), 1e-30)

"""From a Python function of tensors to a graph that provably does the same: tried, traced, replayed, compared."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from birdplane_keras.torch_plugin.agreement import require_same
from birdplane_keras.torch_plugin.codegen import compile_graph
from birdplane_keras.torch_plugin.errors import UnsteadyError
from birdplane_keras.torch_plugin.guards import Guards
from birdplane_keras.torch_plugin.making import make_graph
from birdplane_keras.torch_plugin.places import Place
from birdplane_keras.torch_plugin.proving import LayOut, coarsest_step, prove_replay
from birdplane_keras.torch_plugin.rewrites import NOTHING, Allowed, rounds
from birdplane_keras.torch_plugin.sizes import Symbolic
from birdplane_keras.torch_plugin.trial import Function, Trial


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
        turned: Tensors of `state` that are only read in another order of axes, with that order.
        notes: What `explain` says besides.
        compiled: The replay through PyTorch's compiler, where that was asked for and can be had.
        compile_refusal: Why it was not compiled, where it was to be.
        symbolic: The outputs without numbers, where sizes are free; empty elsewhere.
        plain: The replay before the rewrites, where these round or sizes are free: it has stock Keras' bits.
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
    turned: list[tuple[torch.Tensor, tuple[int, ...]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    compiled: Callable[..., tuple] | None = None
    compile_refusal: str = ""
    strides: list[tuple[int, ...]] = field(default_factory=list)
    symbolic: list[torch.Tensor | None] = field(default_factory=list)
    plain: Callable[..., tuple] | None = None

    def lies_as_compiled(self) -> bool:
        """Tells whether its state lies in memory as it did when it was compiled, which compiled code relies on."""
        if self.compiled is None:
            return True
        return all(tensor.stride() == stride for tensor, stride in zip(self.state, self.strides, strict=True))

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
    allowed: Allowed = NOTHING,
    most_calls: float = float("inf"),
    symbolic: Symbolic | None = None,
    lay_out: LayOut | None = None,
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
        allowed: What rewrites may do besides.
        most_calls: ATen calls beyond which the function is not traced.
        symbolic: The inputs with free sizes, where the trace is to serve other sizes, too.
        lay_out: Where PyTorch's compiler is to have it: lays out tensors of the state as the graph reads them.

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
            return _trace(trial, allowed, symbolic, lay_out)
        except BaseException:
            trial.undo()
            raise

    try:
        return tried()
    except UnsteadyError:
        return tried()


def _trace(trial: Trial, allowed: Allowed, symbolic: Symbolic | None, lay_out: LayOut | None) -> Trace:
    inputs = trial.inputs
    trial.observe()
    first, first_written, seen, state = trial.first, trial.first_written, trial.seen, trial.state
    made = make_graph(trial, symbolic)
    shapes = [getattr(node, "meta", {}).get("val") for node in made.graph.find_nodes(op="output")[0].args[0]]
    # The copy is proved bit for bit; what the rewrites then change is known rewrite by rewrite.
    plain = torch.no_grad()(compile_graph(made.graph, made.constants, state))
    copied, copied_written, _ = trial.attempt(plain)
    require_same("its replay gives another result", (first, first_written), (copied, copied_written))

    proved = prove_replay(trial, made, plain, allowed, symbolic, lay_out=lay_out)
    replay, rewritten = proved.replay, proved.rewritten
    with torch.no_grad():
        outputs = replay(*inputs)
    traced = Trace(
        replay=replay,
        state=state,
        written=[tensor for tensor in seen.written() if id(tensor) in set(map(id, state))],
        outputs=outputs,
        kept=trial.kept,
        guards=trial.guards,
        factors=rewritten.factors,
        turned=[(state[number], order) for number, order in rewritten.turned.items()],
        notes=proved.notes,
        compiled=proved.compiled,
        compile_refusal=proved.compile_refusal,
        strides=[tensor.stride() for tensor in state],
        calls=sum(node.op == "call_function" for node in rewritten.graph.nodes),
        ulp=coarsest_step(made.graph),
        rewrites=rewritten.counts,
        source=replay.source,
        symbolic=shapes if symbolic is not None else [],
        plain=plain if symbolic is not None or rounds(rewritten.counts) else None,
    )
    traced.leave(outputs)
    return traced

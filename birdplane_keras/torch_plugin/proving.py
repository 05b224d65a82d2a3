"""Proves that a rewritten graph is the function that it was made of.

The untouched graph was shown to repeat the function to the last bit. What was rewritten must mean the same: the two
graphs agree in double precision, where rounding cannot hide a difference. And it must round as well: in the type that
it computes in it is no further from the function than rounding takes the function from itself.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx

from birdplane_keras.torch_plugin.agreement import apart, distance, require_close, same_bits
from birdplane_keras.torch_plugin.codegen import compile_graph
from birdplane_keras.torch_plugin.compiling import compile_by_inductor
from birdplane_keras.torch_plugin.errors import NothingToCompileError, NotTraceableError
from birdplane_keras.torch_plugin.in_double import in_double
from birdplane_keras.torch_plugin.journal import TorchRandomState
from birdplane_keras.torch_plugin.making import Traced, make_graph, require_fixed_shapes
from birdplane_keras.torch_plugin.native.forms import standing_in
from birdplane_keras.torch_plugin.native.registry import FORMS
from birdplane_keras.torch_plugin.noise import Spread, nudged, rounding_explains
from birdplane_keras.torch_plugin.rewrites import Allowed, Rewritten, rewrite, rounds
from birdplane_keras.torch_plugin.sizes import Symbolic
from birdplane_keras.torch_plugin.trial import Trial

# In double precision, relative to a tensor's largest number: constants that Keras rounds to single precision are some
# 1e-8 away from PyTorch's, and what is wrong is far more.
SAME_MEANING = 1e-6
ZERO = 1e-9  # of the largest number of all: what is zero but for rounding


@dataclass(frozen=True, kw_only=True)
class Proved:
    """A rewritten graph, proved.

    Args:
        replay: From the inputs to the outputs, call by call.
        rewritten: The graph.
        compiled: The same through PyTorch's compiler, where that was asked for and can be had.
        notes: What `explain` says besides.
        compile_refusal: Why it was not compiled, where it was to be.
    """

    replay: Any
    rewritten: Rewritten
    compiled: Callable[..., tuple] | None = None
    notes: list[str] = field(default_factory=list)
    compile_refusal: str = ""


# Of tensors that are read in another order of axes, with that order.
LayOut = Callable[[Sequence[tuple[torch.Tensor, Sequence[int]]]], None]


def prove_replay(
    trial: Trial,
    plain: Traced,
    replay: Callable,
    allowed: Allowed,
    symbolic: Symbolic | None,
    *,
    lay_out: LayOut | None = None,
) -> Proved:
    """Returns the replay of a graph after its rewrites, which gives what the function gives, up to their rounding.

    Where it can be had it is the graph of PyTorch's own operations in the place of what Keras composes.

    Args:
        trial: Of the function; it has been observed.
        plain: Its graph, untouched.
        replay: Of that graph.
        allowed: What rewrites may do besides.
        symbolic: The inputs with free sizes, where there are any.
        lay_out: Where PyTorch's compiler is to have it: lays out tensors of the state as the graph reads them.

    Raises:
        NotTraceableError: It gives something else.
    """
    proof = _Proof(trial, plain, replay, allowed, symbolic, lay_out)
    counts: Counter[str] = Counter()
    notes = []
    try:
        with standing_in(FORMS) as counts:
            native = make_graph(trial, symbolic)
        if counts:
            return proof.of(native, {f"native {name}": number for name, number in counts.items()}, [])
    except NotTraceableError as reason:
        used = ", ".join(counts) or "operations"
        notes.append(f"without PyTorch's own {used}, because with them {reason}")
    return proof.of(plain, {}, notes)


class _Proof:
    """What a rewritten graph is held against."""

    def __init__(
        self,
        trial: Trial,
        plain: Traced,
        replay: Callable,
        allowed: Allowed,
        symbolic: Symbolic | None,
        lay_out: LayOut | None,
    ) -> None:
        self._trial, self._plain, self._replay = trial, plain, replay
        self._allowed, self._symbolic, self._lay_out = allowed, symbolic, lay_out

    def of(self, traced: Traced, forms: dict[str, int], notes: list[str]) -> Proved:
        """Rewrites a graph and proves it.

        Args:
            traced: The untouched graph, or one with PyTorch's own operations.
            forms: Name of such an operation -> how often it is in the graph.
            notes: What `explain` says besides.
        """
        trial = self._trial
        rewritten = rewrite(traced.graph, traced.constants, trial.state, self._allowed)
        rewritten.counts.update(forms)
        require_fixed_shapes(rewritten.graph)
        if self._symbolic is not None:
            self._symbolic.sizes.require_free(rewritten.graph)
        replay = compile_graph(rewritten.graph, rewritten.constants, trial.state)
        count = len(trial.first)
        whole = with_products(replay, rewritten.factors, count)
        ours, _, journal = trial.attempt(whole)
        if {*map(id, journal.written())} != {*map(id, trial.seen.written())}:
            raise NotTraceableError("its rewritten replay writes other tensors")
        if not rounds(rewritten.counts):
            require_close(trial.first, ours, 0.0)
        else:
            self._require_close(ours, self._require_same_meaning(rewritten), lambda: trial.attempt(whole)[0])
        if self._lay_out is None:
            return Proved(replay=replay, rewritten=rewritten, notes=notes)
        self._lay_out([(trial.state[number], order) for number, order in rewritten.turned.items()])
        try:
            compiled = self._compiled(rewritten)
        except NothingToCompileError as reason:
            return Proved(replay=replay, rewritten=rewritten, notes=[*notes, f"not compiled: {reason}"])
        except NotTraceableError as reason:
            return Proved(replay=replay, rewritten=rewritten, notes=notes, compile_refusal=str(reason))
        rewritten.counts["compiled"] = 1
        return Proved(replay=replay, rewritten=rewritten, compiled=compiled, notes=notes)

    def _compiled(self, rewritten: Rewritten) -> Callable[..., tuple]:
        """Returns the graph through PyTorch's compiler, which ends where the function does, up to rounding.

        Nobody sees what compiled code writes, so that it is taken back by hand.
        """
        if self._symbolic is not None:
            raise NothingToCompileError("its sizes are free, and each would be compiled by itself")
        trial = self._trial
        compiled = compile_by_inductor(rewritten.graph, rewritten.constants, trial.inputs, trial.state)
        written = {id(each) for each in trial.seen.written()}

        def run() -> tuple[list, list]:
            before = [tensor.detach().clone() for tensor in trial.state]
            random_state = TorchRandomState()
            try:
                outputs = multiplied(compiled(*trial.inputs), rewritten.factors, len(trial.first))
                ours = [None if each is None else each.detach().clone() for each in outputs]
                others = [
                    (each, value) for each, value in zip(trial.state, before, strict=True) if id(each) not in written
                ]
                if not all(same_bits(each.detach(), value) for each, value in others):
                    raise NotTraceableError("its compiled form writes other tensors")
                return ours, [each.detach().clone() for each in trial.seen.written()]
            finally:
                with torch.no_grad():
                    for each, value in zip(trial.state, before, strict=True):
                        each.copy_(value)
                random_state.restore()

        ours, left = run()
        require_close(trial.first_written, left, coarsest_step(self._plain.graph))
        self._require_close(ours, True, lambda: run()[0])
        return compiled

    def _require_close(self, ours: list, means_the_same: bool, run: Callable) -> None:
        """Makes sure that outputs are no further from the function's than rounding takes them.

        Args:
            ours: The outputs.
            means_the_same: Whether that was shown in double precision.
            run: Makes them, by `attempt` or by itself.
        """
        trial, step = self._trial, coarsest_step(self._plain.graph)
        furthest = max(apart(trial.first, ours, step), default=0.0)
        if not furthest:
            return

        def moved(draw: int) -> tuple[list, list]:
            def plainly(*inputs: torch.Tensor) -> tuple:
                with nudged(trial.state, draw), torch.no_grad():
                    return self._replay(*inputs)

            right = trial.attempt(plainly)[0]
            with nudged(trial.state, draw):
                return right, run()

        def agree(right: list, other: list) -> bool:
            return not any(apart(right, other, step))

        def spans(draws: list[list]) -> bool:
            spread = Spread(trial.first, draws)
            found = enumerate(apart(trial.first, ours, step))
            return all(not away or spread.holds(number, ours[number]) for number, away in found)

        can_be_rounding = means_the_same and math.isfinite(furthest)
        if not can_be_rounding or not rounding_explains(moved, agree, spans):
            raise NotTraceableError(f"its rewritten replay is {furthest:.1e} away from it, more than rounding")

    def _require_same_meaning(self, rewritten: Rewritten) -> bool:
        """Holds the two graphs against each other in double precision; returns whether that could be done."""
        try:
            theirs = self._in_double(self._plain.graph, self._plain.constants, {})
        except (NotImplementedError, RuntimeError):  # PyTorch has no such form of an operation of Keras'
            return False
        try:
            ours = self._in_double(rewritten.graph, rewritten.constants, rewritten.factors)
        except (NotImplementedError, RuntimeError) as error:
            raise NotTraceableError(f"its rewritten graph has no form in double precision: {error}") from error
        largest = max((largest_in(each) for each in theirs), default=0.0)
        for one, other in zip(theirs, ours, strict=True):
            away = 0.0 if one is None and other is None else distance(one, other, ZERO * largest)
            if away > SAME_MEANING:
                raise NotTraceableError(f"its rewritten graph is {away:.1e} away from it in double precision")
        return True

    def _in_double(self, graph: fx.Graph, constants: dict, factors: dict) -> list:
        def run(*inputs: torch.Tensor) -> list:
            outputs, state = in_double(graph, constants, inputs, self._trial.state)
            count = len(self._trial.first)
            return [*multiplied(outputs, factors, count), *state]

        outputs, _, _ = self._trial.attempt(run)
        return outputs


def largest_in(tensor: torch.Tensor | None) -> float:
    """Returns the largest number of a tensor; 0 where it holds none with a point."""
    if tensor is None or not tensor.is_floating_point() or not tensor.numel():
        return 0.0
    return float(tensor.nan_to_num().abs().max())


def with_products(replay: Callable, factors: dict[int, tuple[int, int]], count: int) -> Callable:
    """Returns the replay with each pair of factors multiplied out, for a comparison."""

    def whole(*inputs: torch.Tensor) -> list:
        with torch.no_grad():
            outputs = replay(*inputs)
        return multiplied(outputs, factors, count)

    return whole


def multiplied(outputs: Sequence, factors: dict[int, tuple[int, int]], count: int) -> list:
    """Returns the first outputs, each pair of factors multiplied out."""
    return [outputs[factors[n][0]] @ outputs[factors[n][1]] if n in factors else outputs[n] for n in range(count)]


def coarsest_step(graph: fx.Graph) -> float:
    """Returns the relative step between numbers of the coarsest floating-point type in a graph."""
    made = [node.meta["tensor_meta"] for node in graph.nodes if "tensor_meta" in node.meta]
    types = {each.dtype for each in made if isinstance(getattr(each, "dtype", None), torch.dtype)}
    steps = [torch.finfo(dtype).eps for dtype in types if dtype.is_floating_point]
    return max(steps, default=0.0)

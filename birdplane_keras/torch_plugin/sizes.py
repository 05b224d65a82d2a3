"""Sizes of a batch that stand for any number in a trace, such as its length; what holds of them is noted.

The step runs on tensors without numbers, whose free sizes are symbols. Where its Python code asks whether one size is
smaller than another, say, the answer is that of the batch at hand, and a condition of the trace. Code that needs a
size as a number, in a loop or an index, ties it to that number; `ways` sees what is asked of a symbol that no
condition notes.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import sympy
import torch
from torch import fx
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from birdplane_keras.torch_plugin.errors import NotTraceableError

Dimension = tuple[int, int]  # number of a tensor, number of its axis
SMALLEST = 2  # an axis of one element may be broadcast, and an empty one leaves nothing: neither is any number
_SYMBOLIC = (torch.SymInt, torch.SymFloat, torch.SymBool)


class Sizes:
    """A batch whose free sizes are symbols, and the conditions of them.

    Args:
        leaves: The tensors of a batch, contiguous.
        free: Their dimensions that are free; the others are numbers.
    """

    def __init__(self, leaves: Sequence[torch.Tensor], free: Collection[Dimension]) -> None:
        self._environment = ShapeEnv()
        self._mode = FakeTensorMode(shape_env=self._environment, allow_non_fake_inputs=True)
        self.leaves = [
            self._mode.from_tensor(
                leaf,
                symbolic_context=StatelessSymbolicContext(
                    dynamic_sizes=[
                        DimDynamic.DYNAMIC if (number, axis) in free else DimDynamic.STATIC for axis in range(leaf.ndim)
                    ]
                ),
            )
            for number, leaf in enumerate(leaves)
        ]
        self._symbols: dict[Dimension, sympy.Symbol] = {}
        for number, axis in sorted(free):
            size: Any = self.leaves[number].shape[axis]
            if not isinstance(size, torch.SymInt):
                raise NotTraceableError(f"a size that varies is smaller than {SMALLEST}")
            self._symbols[number, axis] = size.node.expr
        self._fixed = {
            (number, axis): size
            for number, leaf in enumerate(leaves)
            for axis, size in enumerate(leaf.shape)
            if (number, axis) not in self._symbols
        }
        self._looked_at = 0  # conditions, by `check`
        self._refusal = ""

    def graph_of(
        self, function: Callable, inputs: Sequence[torch.Tensor], state: Sequence[torch.Tensor]
    ) -> fx.GraphModule:
        """Returns the graph of a function over (inputs, state).

        Args:
            function: From the inputs to a list of tensors.
            inputs: `leaves`, or what a graph over them has made.
            state: Tensors from outside that the function reads or writes.
        """

        def run(*arguments: torch.Tensor) -> Any:
            given, standing_in = arguments[: len(inputs)], arguments[len(inputs) :]
            with _InPlaceOf(state, standing_in, self.check), _SizesAsNumbers():
                return function(*given)

        stand_ins = [self._mode.from_tensor(tensor, static_shapes=True) for tensor in state]
        return make_fx(run, tracing_mode="symbolic", _allow_non_fake_inputs=True)(*inputs, *stand_ins)

    def require_free(self, graph: fx.Graph) -> None:
        """Makes sure that no size was tied to its number, and that every size in a graph is computed by it.

        Raises:
            NotTraceableError: That is not so.
        """
        self.check()
        for node in graph.nodes:
            if any(isinstance(each, _SYMBOLIC) for each in tree_leaves((node.args, node.kwargs))):
                raise NotTraceableError("a size that varies is in its graph as a number")

    def check(self) -> None:
        """Makes sure that no size was tied to its number so far.

        Raises:
            NotTraceableError: One was.
        """
        if len(self._environment.guards) > self._looked_at:
            self._looked_at = len(self._environment.guards)
            for (number, axis), symbol in self._symbols.items():
                if not self._environment.replace(symbol).free_symbols:
                    self._refusal = f"it needs the size of axis {axis} of tensor {number} of a batch as a number"
        if self._refusal:
            raise NotTraceableError(self._refusal)

    def words(self) -> str:
        """Returns which sizes are free, and under how many conditions."""
        free = ", ".join(f"axis {axis} of tensor {number}" for number, axis in self._symbols)
        return f"one trace serves any size of {free}, under {len(self._environment.guards)} conditions"

    def fit(self, leaves: Sequence[torch.Tensor]) -> bool:
        """Tells whether another batch has the fixed sizes of this one, and the conditions hold of the others."""
        if any(leaves[number].shape[axis] != size for (number, axis), size in self._fixed.items()):
            return False
        sizes = {symbol: leaves[number].shape[axis] for (number, axis), symbol in self._symbols.items()}
        if min(sizes.values()) < SMALLEST:
            return False
        sizes = {symbol: sympy.Integer(size) for symbol, size in sizes.items()}
        return all(guard.expr.xreplace(sizes) is sympy.true for guard in self._environment.guards)


@dataclass(frozen=True)
class Symbolic:
    """Inputs of a function without numbers.

    Args:
        sizes: Their free sizes.
        inputs: The leaves of the batch, or what a graph over them has made.
    """

    sizes: Sizes
    inputs: Sequence[torch.Tensor]


class _InPlaceOf(TorchDispatchMode):
    """Has operations take tensors without numbers in the place of those from outside."""

    def __init__(
        self, tensors: Sequence[torch.Tensor], stand_ins: Sequence[torch.Tensor], check: Callable[[], None]
    ) -> None:
        super().__init__()
        self._check = check
        self._stand_ins = {id(tensor): other for tensor, other in zip(tensors, stand_ins, strict=True)}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        def other(value: Any) -> Any:
            return self._stand_ins.get(id(value), value) if isinstance(value, torch.Tensor) else value

        self._check()
        return func(*tree_map(other, args), **tree_map(other, kwargs or {}))


class _SizesAsNumbers(TorchFunctionMode):
    """Has `torch.tensor` and `torch.as_tensor` make tensors of symbols, which they would take as numbers."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in (torch.tensor, torch.as_tensor) and args and _has_symbols(args[0]):
            return _tensor_of(*args, **kwargs)
        return func(*args, **kwargs)


def _has_symbols(data: Any) -> bool:
    return isinstance(data, _SYMBOLIC) or (isinstance(data, list | tuple) and any(map(_has_symbols, data)))


def _tensor_of(data: Any, dtype: torch.dtype | None = None, device: Any = None) -> torch.Tensor:
    if isinstance(data, list | tuple):
        return torch.stack([_tensor_of(each, dtype, device) for each in data])
    if isinstance(data, torch.Tensor):
        return data.to(dtype=dtype, device=device)
    if dtype is None:
        is_float = isinstance(data, float | torch.SymFloat)
        dtype = (
            torch.get_default_dtype() if is_float else torch.bool if isinstance(data, torch.SymBool) else torch.int64
        )
    return torch.scalar_tensor(data, dtype=dtype, device=device)

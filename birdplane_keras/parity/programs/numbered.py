"""The calls of PyTorch functions on a reference's way to the loss: numbered, looked at, given other results.

A call is above autograd: what stands in the place of its result has gradients of its own.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from birdplane_keras.parity.private_torch import tree_leaves, tree_map
from birdplane_keras.parity.programs.dispatched import value_of
from birdplane_keras.parity.programs.program import Value
from birdplane_keras.parity.sides.examples import Examples
from birdplane_keras.parity.sides.torch_run import TorchRun


@dataclass(frozen=True, kw_only=True)
class At:
    """Where a tensor of the reference is met.

    Args:
        call: The number of a call.
        leaf: Which tensor of its results, or of its arguments.
        taken: Whether it is an argument.
    """

    call: int
    leaf: int
    taken: bool = False


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A tensor that a call made, or took from outside.

    Args:
        at: Where.
        name: Of the function.
        value: What it holds.
        weights: Names of the weights that the call takes.
        sources: The results of earlier calls that it takes.
        shows: Whether it is a view of one of them.
    """

    at: At
    name: str
    value: Value
    weights: frozenset[str] = frozenset()
    sources: Sequence[At] = ()
    shows: bool = False


Stand = Callable[["Calls", torch.Tensor], torch.Tensor]  # makes what a call returns of its result


class Calls:
    """Numbers the calls within a step's forward pass and loss: a rewrite of a run of the reference.

    Args:
        run: Of the reference.
    """

    last = True  # of the rewrites: others know functions by themselves, not by what is called in their place

    def __init__(self, run: TorchRun) -> None:
        self._module = run.module
        self.weights: Mapping[str, torch.Tensor] = dict(run.module.state_dict(keep_vars=True))
        self.stands: dict[At, Stand] = {}
        self.needed: set[At] = set()  # what the stands take
        self.rows = 0  # examples of the batch
        self.batch: np.ndarray | None = None  # their numbers; `None` where they are not trained on
        self.tensors: dict[At, torch.Tensor] = {}
        self.seen: list[Seen] | None = None  # filled where it is a list
        self._names = {id(tensor): name for name, tensor in self.weights.items()}
        self._made: dict[int, tuple[At, torch.Tensor]] = {}  # id of a result -> where; the tensor lives as long
        self._count = 0
        self._begun = False

    def begin(self, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """Begins to count again: a batch is about to be given to the module."""
        self.rows = next((len(each) for each in tree_leaves(given) if isinstance(each, torch.Tensor) and each.ndim), 0)
        self._begun = True
        self._count, self.tensors, self._made = 0, {}, {}  # last: what is asked of a tensor is a call, too
        return given

    def __call__(self, func: Any, args: tuple, kwargs: dict) -> tuple[Any, tuple, dict]:
        """Returns the call with what is to be seen of it, or put in the place of its result."""
        if not self._begun:  # the judge's own calls, which make tensors of the examples
            return func, args, kwargs

        def called(*args: Any, **kwargs: Any) -> Any:
            number = self._count
            given = tensors_of((args, kwargs)) if self._looks(number) else []
            for leaf, tensor in enumerate(given):
                if At(call=number, leaf=leaf, taken=True) in self.needed:
                    self.tensors[At(call=number, leaf=leaf, taken=True)] = tensor
            result = func(*args, **kwargs)
            if not any(tensor.is_floating_point() for tensor in tensors_of(result)):
                return result  # not numbered: what is asked of shapes and counts differs from mode to mode
            self._count += 1
            return self._noted(number, getattr(func, "__name__", str(func)), given, result)

        return called, args, kwargs

    def _looks(self, number: int) -> bool:
        return self.seen is not None or any(at.call == number and at.taken for at in self.needed)

    def _noted(self, number: int, name: str, given: list[torch.Tensor], result: Any) -> Any:
        if isinstance(result, torch.Tensor | tuple | list):
            places = iter(range(len(tensors_of(result))))
            result = tree_map(
                lambda leaf: self._stood_for(number, next(places), leaf) if isinstance(leaf, torch.Tensor) else leaf,
                result,
            )
        made = tensors_of(result)
        for leaf, tensor in enumerate(made):
            at = At(call=number, leaf=leaf)
            if at in self.needed:
                self.tensors[at] = tensor
        if self.seen is not None and made:
            self._look_at(number, name, given, made, self.seen)
        return result

    def _stood_for(self, number: int, leaf: int, tensor: torch.Tensor) -> torch.Tensor:
        stand = self.stands.get(At(call=number, leaf=leaf))
        if stand is None:
            return tensor
        self.tensors[At(call=number, leaf=leaf)] = tensor  # what it was may be what the other is made of
        if self._module.training:
            return stand(self, tensor)
        try:
            return stand(self, tensor)
        except Exception:  # what trains need not be able to predict: it is then as it was
            return tensor

    def _look_at(
        self, number: int, name: str, given: list[torch.Tensor], made: list[torch.Tensor], seen: list[Seen]
    ) -> None:
        weights = frozenset(self._names[id(tensor)] for tensor in given if id(tensor) in self._names)
        sources = [self._made[id(tensor)][0] for tensor in given if id(tensor) in self._made]
        for leaf, tensor in enumerate(given):
            if id(tensor) not in self._made and id(tensor) not in self._names:
                at = At(call=number, leaf=leaf, taken=True)
                seen.append(Seen(at=at, name=name, value=value_of(tensor)))
        memory = {tensor.untyped_storage().data_ptr() for tensor in given}
        for leaf, tensor in enumerate(made):
            at, shows = At(call=number, leaf=leaf), tensor.untyped_storage().data_ptr() in memory
            value = value_of(tensor)
            seen.append(Seen(at=at, name=name, value=value, weights=weights, sources=sources, shows=shows))
            self._made[id(tensor)] = at, tensor


def tensors_of(given: Any) -> list[torch.Tensor]:
    """Returns the tensors in nested arguments or results."""
    return [leaf for leaf in tree_leaves(given) if isinstance(leaf, torch.Tensor)]


def calls_of(run: TorchRun) -> Calls:
    """Returns what numbers the calls of a run; from the first time that it is asked for."""
    for rewrite in run.rewrites:
        if isinstance(rewrite, Calls):
            return rewrite
    calls, change = Calls(run), run.change_inputs
    run.rewrites.append(calls)
    run.loss_rewrites.append(calls)
    run.change_inputs = lambda given: calls.begin(given if change is None else change(given))
    run.examples = Noting(run.examples, calls)
    return calls


class Noting(Examples):
    """A side's examples: notes in its calls which were taken last.

    Args:
        examples: The side's own.
        calls: What numbers its calls.
    """

    def __init__(self, examples: Examples, calls: Calls) -> None:
        self._examples, self._calls = examples, calls

    def take(self, numbers: np.ndarray) -> Any:
        """Returns inputs and targets of the examples of some numbers, (B,)."""
        self._calls.batch = numbers
        return self._examples.take(numbers)


def put(run: TorchRun, at: At, stand: Stand, needed: Iterable[At]) -> None:
    """Puts something in the place of what a call of a run returns."""
    calls = calls_of(run)
    calls.stands[at] = stand
    calls.needed |= set(needed)

"""Records what is computed as a program, whatever code makes it: every ATen operation, its values and its line."""

import sys
import weakref
from collections.abc import Callable, Collection, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count
from typing import Any

import numpy as np
import torch

from birdplane_keras.parity.private_torch import TorchDispatchMode, tree_leaves, tree_map
from birdplane_keras.parity.programs.composed import compose, is_composite
from birdplane_keras.parity.programs.dispatched import COPIES, parts, shape_of, shows, tensors_in, value_of
from birdplane_keras.parity.programs.frames import call_of, user_line
from birdplane_keras.parity.programs.memory import Maker, geometry
from birdplane_keras.parity.programs.program import (
    BACKWARD,
    FORWARD,
    Argument,
    Line,
    Operation,
    Program,
    Source,
    Value,
)


@dataclass(frozen=True, kw_only=True)
class Slot:
    """Where a tensor stood among the arguments of an operation: the place of its source."""

    place: int


@dataclass(frozen=True, kw_only=True)
class Made:
    """How an operation was called, so that it can be called again.

    Args:
        function: Of ATen.
        args: As they were given, a `Slot` in place of each tensor.
        kwargs: Likewise.
        sources: Every tensor that was given, in the order of the slots.
        leaf: Which tensor of the result was recorded; `None` where it was an argument that no result shows, or a part
            of a call for many tensors: such a call is not made again.
        graded: Whether autograd was on.
    """

    function: Any
    args: tuple
    kwargs: Mapping[str, Any]
    sources: Sequence[Source]
    leaf: int | None
    graded: bool


class Recording(TorchDispatchMode):
    """Under `with`, records the operations of this thread. Values are kept as statistics, tensors are not held.

    Args:
        names: `id` of a module -> its name within the model.
        weights: Returns address of a weight's memory -> its name; asked when the first operation is made.
        wanted: Numbers of operations of which the tensors that they take are kept in full, in `kept`.
        kept_results: Numbers of operations of which what they make is kept, in `results`.
        measured: Whether the values are looked at: where a step is made once more, only what is to be kept matters.
        put: Operation -> the numbers that its result is given in place of its own.
        composed: Operations of ATen that are made in several others, and recorded as these.
    """

    def __init__(
        self,
        names: Mapping[int, str],
        weights: Callable[[], Mapping[int, str]] = dict,
        wanted: Container[int] = (),
        put: Mapping[int, np.ndarray] | None = None,
        composed: Collection[Any] = (),
        kept_results: Container[int] = (),
        *,
        measured: bool = True,
    ) -> None:
        super().__init__()
        self._value_of = value_of if measured else shape_of
        self._names, self._composed = names, set(composed)
        self._weights_of, self._wanted, self._kept_results, self._put = weights, wanted, kept_results, put or {}
        self._composing = False
        self._operations: list[Operation] = []
        self._makers: dict[int, Maker] = {}  # id of a storage that is alive -> who made what lies in it
        self._forward: dict[int, int] = {}  # sequence number of autograd's node -> operation that it is of
        self._call: tuple = ()  # of the last operation: the code at work and the place in it, function by function
        self._outside: dict[tuple, Value] = {}  # where a tensor from outside lies, and its version -> what it holds
        self.made: list[Made] = []  # one for each operation
        self.kept: dict[tuple[int, int], torch.Tensor] = {}  # operation and slot -> what was taken there
        self.results: dict[int, torch.Tensor] = {}  # operation -> what it made

    def program(self) -> Program:
        """Returns what was recorded."""
        return Program(operations=list(self._operations))

    def close(self) -> None:
        """Lets go of what was watched: what was recorded is kept for longer than that."""
        self._weights_of = dict

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in self._composed or (self._composing and is_composite(func)):
            made = self._compose(func, args, kwargs)
            self._call = call_of(sys._getframe(1))
            if made is not NotImplemented:
                return made
        sequence = torch._C._autograd._get_sequence_nr() - 1
        tensors = tensors_in((args, kwargs))
        taken = [(tensor, self._source(tensor)) for tensor in tensors]
        first, call = len(self._operations), call_of(sys._getframe(1))
        # Autograd detaches what it saves, within the same call: nobody takes that further.
        own = func is torch.ops.aten.detach.default and self._call == call
        self._call = call
        if first in self._wanted:
            self.kept |= {(first, slot): tensor.detach().clone() for slot, tensor in enumerate(tensors)}
        called = _as_called(func, args, kwargs, [source for _, source in taken])
        result = func(*args, **kwargs)
        cuts = func is torch.ops.aten.detach.default and not own and tensors[0].requires_grad
        for made, sources, arguments in parts(func, args, kwargs, result, taken):
            self._note(func, made, sources, arguments, remembered=not own, cuts=cuts)
        leaves = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        alone = not func._schema.name.startswith(("aten::_foreach_", "aten::_fused_"))
        for place in range(len(self._operations) - first):
            self.made.append(replace(called, leaf=place if alone and place < len(leaves) else None))
        if len(self._operations) > first and self._operations[first].phase == FORWARD:
            self._forward.setdefault(sequence, first)
        return result

    def _compose(self, func: Any, args: tuple, kwargs: dict) -> Any:
        """Records an operation as several others, and returns what it makes itself: its gradient takes that."""
        composing, self._composing = self._composing, True
        try:
            with self:
                made = compose(func, args, kwargs)
        finally:
            self._composing = composing
        if composing or made is NotImplemented:
            return made
        result = func(*args, **kwargs)
        for own, other in zip(tensors_in((result,)), tensors_in((made,)), strict=False):
            maker = self._makers.get(id(other.untyped_storage()))
            number = None if maker is None else maker.of(other)[0]
            if number is not None and own.shape == other.shape:
                self._remember(own, number, writes=True, cuts=False)
        return result

    @cached_property
    def _weights(self) -> Mapping[int, str]:
        return self._weights_of()

    def _source(self, tensor: torch.Tensor) -> Source:
        if tensor.layout != torch.strided:
            return Source(made=None, value=self._value_of(tensor))
        storage = tensor.untyped_storage()
        maker = self._makers.get(id(storage))
        number, exact = (None, False) if maker is None else maker.of(tensor)
        weight = self._weights.get(storage.data_ptr(), "")
        if number is not None:
            value = self._operations[number].value if exact else self._value_of(tensor)
            return Source(made=number, value=value, weight=weight)
        if not weight:
            return Source(made=None, value=self._value_of(tensor))
        key = (storage.data_ptr(), geometry(tensor), tensor._version)
        if key not in self._outside:
            self._outside[key] = self._value_of(tensor)
        return Source(made=None, value=self._outside[key], weight=weight)

    def _note(
        self,
        func: Any,
        made: torch.Tensor,
        sources: list[Source],
        arguments: list[Argument],
        *,
        remembered: bool,
        cuts: bool,
    ) -> None:
        number, node = len(self._operations), torch._C._current_autograd_node()
        if number in self._put:
            made.copy_(torch.as_tensor(self._put[number]))
        if number in self._kept_results:
            self.results[number] = made.detach().clone()
        name = func._schema.name.partition("::")[2].removeprefix("_foreach_")
        made_by = None
        if node is None:
            line, layer = user_line(sys._getframe(2), self._names)
            phase = FORWARD
        else:  # the line is that of the forward pass
            made_by = self._forward.get(node._sequence_nr())
            line, layer = (None, "") if made_by is None else _where(self._operations[made_by])
            phase = BACKWARD
        value = self._value_of(made)
        same = bool(sources) and np.array_equal(sources[0].value.statistics, value.statistics, equal_nan=True)
        whole_source = same and sources[0].value.size == value.size
        self._operations.append(
            Operation(
                number=number,
                name=name,
                phase=phase,
                sources=sources,
                arguments=arguments,
                value=value,
                views=shows(func),
                cuts=cuts,
                reshapes=whole_source and (shows(func) or name in COPIES),
                line=line,
                layer=layer,
                behind=made_by,
            )
        )
        if remembered and made.layout == torch.strided:
            self._remember(made, number, writes=not shows(func), cuts=name == "detach")

    def _remember(self, made: torch.Tensor, number: int, *, writes: bool, cuts: bool) -> None:
        storage = made.untyped_storage()
        maker = self._makers.get(id(storage))
        if maker is None:
            key = id(storage)
            maker = self._makers[key] = Maker(weakref.ref(storage, lambda _: self._makers.pop(key, None)))
        maker.note(made, number, writes=writes, cuts=cuts)


def _as_called(func: Any, args: tuple, kwargs: Mapping[str, Any], sources: Sequence[Source]) -> Made:
    places = count()
    slotted = tree_map(
        lambda leaf: Slot(place=next(places)) if isinstance(leaf, torch.Tensor) else leaf, (args, dict(kwargs))
    )
    graded = torch.is_grad_enabled()
    return Made(function=func, args=slotted[0], kwargs=slotted[1], sources=sources, leaf=None, graded=graded)


def _where(operation: Operation) -> tuple[Line | None, str]:
    return operation.line, operation.layer

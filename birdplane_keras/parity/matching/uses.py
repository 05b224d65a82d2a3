"""Where a PyTorch module uses its weights: what each part of it takes and what it makes of that, in one prediction."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from birdplane_keras.parity.kinds.kind import Kind, TorchUnit
from birdplane_keras.parity.kinds.registry import kind_of_torch, torch_units
from birdplane_keras.parity.private_torch import TorchDispatchMode, tree_leaves
from birdplane_keras.parity.programs.dispatched import tensors_in, value_of
from birdplane_keras.parity.programs.program import Value

PARAMETRIZED = "parametrizations."  # a module's own weights that PyTorch keeps in modules within it


@dataclass(kw_only=True, eq=False)
class Use:
    """A part of the reference that uses weights: a module that has some of its own, or an operation on some.

    Args:
        name: The module's dotted name, "" for the root.
        kind: Of the module; `None` for a module of no known kind, and for an operation.
        tensors: Part -> dotted name, without the tensors of modules within it.
        unit: The module as its kind takes it, where it has one.
        received: What it was given at its first call; empty where that was not seen.
        returned: What it made of that; `None` where that was not seen.
        place: Its place in the order of first uses.
    """

    name: str
    kind: Kind | None = None
    tensors: Mapping[str, str]
    unit: TorchUnit | None = None
    received: Sequence[Value] = ()
    returned: torch.Tensor | None = None
    place: int = 0


@dataclass(kw_only=True)
class Uses:
    """All uses of a module's weights in one prediction, in the order in which they begin, and the weights' values.

    Args:
        found: The uses.
        weights: Dotted name -> value, of parameters and buffers; tied ones under each name.
        first: Dotted name -> place at which the weight was first taken, of those that were.
    """

    found: list[Use] = field(default_factory=list)
    weights: Mapping[str, torch.Tensor] = field(default_factory=dict)
    first: dict[str, int] = field(default_factory=dict)


def read_uses(module: nn.Module, predict: Callable[[], Any]) -> Uses:
    """Predicts with a module, and notes where it uses its weights.

    Args:
        module: In evaluation mode; calls of it are watched, and it is left as it is.
        predict: Calls it.
    """
    weights = {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }
    uses = Uses(weights=weights)
    watch = Watch(module, uses)
    with contextlib.ExitStack() as stack:
        stack.enter_context(watch.hooked())
        stack.enter_context(sublayers_called())
        stack.enter_context(torch.no_grad())
        stack.enter_context(watch)
        predict()
    uses.found.sort(key=lambda use: use.place)
    return uses


@contextlib.contextmanager
def sublayers_called() -> Iterator[None]:
    """Within it, PyTorch's own attention calls the modules that it has in evaluation mode, too."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def own_tensors(module: nn.Module, name: str) -> dict[str, str]:
    """Returns the floating-point tensors that a module has itself: part -> dotted name."""
    prefix = f"{name}." if name else ""
    named = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    return {
        part: prefix + part
        for part, tensor in named
        if tensor.is_floating_point() and ("." not in part or part.startswith(PARAMETRIZED))
    }


class Watch(TorchDispatchMode):
    """Within it, operations on weights are noted; a module of a known kind is noted by `hooked`, as a whole."""

    def __init__(self, module: nn.Module, uses: Uses) -> None:
        super().__init__()
        self.uses = uses
        self._module = module
        self._names: dict[int, list[tuple[int, str]]] = {}  # where a storage lies -> where in it weights begin
        for name, tensor in uses.weights.items():
            if tensor.layout == torch.strided and tensor.numel():
                own, begin = (
                    self._names.setdefault(tensor.untyped_storage().data_ptr(), []),
                    int(tensor.storage_offset()),
                )
                own += (
                    [] if any(begin == known for known, _ in own) else [(begin, name)]
                )  # a tied one by its first name
        self._place = 0
        self._running: list[tuple[nn.Module, bool]] = []
        self._quiet = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if self._quiet:
            return result
        given = tensors_in((args, kwargs or {}))
        named = [self._name_of(tensor) for tensor in given]
        taken = list(dict.fromkeys(name for name in named if name is not None))
        for name in taken:
            self.uses.first.setdefault(name, self._next())
        if taken and not (self._running and self._running[-1][1]):
            made = next((leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)), None)
            others = [tensor for tensor, name in zip(given, named, strict=True) if name is None]
            if others and made is not None and made.is_floating_point():
                self._note_operation(taken, others, made)
        return result

    def _name_of(self, tensor: torch.Tensor) -> str | None:
        """Returns the weight that a tensor is, or shows a part of; `None` where it is none."""
        if tensor.layout != torch.strided or not tensor.numel():
            return None
        begun = [
            each
            for each in self._names.get(tensor.untyped_storage().data_ptr(), ())
            if each[0] <= tensor.storage_offset()
        ]
        return max(begun)[1] if begun else None

    def _next(self) -> int:
        self._place += 1
        return self._place

    def _note_operation(self, names: Sequence[str], others: Sequence[torch.Tensor], made: torch.Tensor) -> None:
        self._quiet += 1
        try:
            self.uses.found.append(
                Use(
                    name=names[0].rpartition(".")[0],
                    tensors={name.rpartition(".")[2]: name for name in names},
                    received=[value_of(tensor) for tensor in others],
                    returned=made.detach().clone(),
                    place=self._next(),
                )
            )
        finally:
            self._quiet -= 1

    @contextlib.contextmanager
    def hooked(self) -> Iterator[None]:
        """Within it, the first calls of all modules that have weights of their own are noted."""
        units: dict[int, list[TorchUnit]] = {}
        for unit in torch_units(self._module):
            units.setdefault(id(unit.module), []).append(unit)
        hooks = []
        for name, module in self._module.named_modules():
            if PARAMETRIZED in f"{name}.":
                continue
            tensors = own_tensors(module, name)
            if tensors:
                others = any(own_tensors(inner, "") for inner in list(module.modules())[1:])
                alone = kind_of_torch(module) is not None and not others
                call = ModuleCall(self, name, module, tensors, units.get(id(module), []), alone=alone)
                hooks.append(module.register_forward_pre_hook(call.begin, with_kwargs=True, prepend=False))
                hooks.append(module.register_forward_hook(call.end, with_kwargs=True, prepend=True))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


class ModuleCall:
    """The first call of a module that has weights of its own, as hooks; `alone`: nothing in it is of interest."""

    def __init__(
        self,
        watch: Watch,
        name: str,
        module: nn.Module,
        tensors: Mapping[str, str],
        units: Sequence[TorchUnit],
        *,
        alone: bool,
    ) -> None:
        self._watch, self._name, self._tensors = watch, name, tensors
        self._units, self._alone = list(units), alone
        self._kind = kind_of_torch(module)
        self._noted: list[Use] | None = None

    def begin(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        """Notes what the module is given."""
        watch = self._watch
        watch._running.append((module, self._alone))
        if self._noted is None:
            place = watch._next()
            watch._quiet += 1
            received = [value_of(tensor) for tensor in tensors_in((args, kwargs))]
            watch._quiet -= 1
            of_units: list[tuple[Mapping[str, str], TorchUnit | None]] = [(unit.tensors, unit) for unit in self._units]
            of_units = of_units or [(self._tensors, None)]
            self._noted = [
                Use(name=self._name, kind=self._kind, tensors=tensors, unit=unit, place=place, received=received)
                for tensors, unit in of_units
            ]
            for later in self._noted[1:]:  # the layers in a recurrent module: what is handed on is not seen
                later.received = []
            watch.uses.found += self._noted

    def end(self, module: nn.Module, args: tuple, kwargs: dict, output: Any) -> None:
        """Notes what it made of that."""
        self._watch._running.pop()
        made = next((leaf for leaf in tree_leaves(output) if isinstance(leaf, torch.Tensor)), None)
        if self._noted and self._noted[-1].returned is None and made is not None and made.is_floating_point():
            self._watch._quiet += 1
            self._noted[-1].returned = made.detach().clone()
            self._watch._quiet -= 1

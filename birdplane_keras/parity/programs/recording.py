"""Records a training step as a program, whatever code makes it: every ATen operation, its values and its line."""

import linecache
import sys
import types
import weakref
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
import torch

from birdplane_keras.parity.private_torch import TorchDispatchMode, tree_leaves
from birdplane_keras.parity.programs.program import BACKWARD, FORWARD, Argument, Line, Operation, Program, Source, Value
from birdplane_keras.parity.sides.keras_run import KerasRun
from birdplane_keras.parity.sides.torch_run import TorchRun

_LIBRARIES = ("torch", "keras", "optree", "numpy", "greenlet")
_JUDGE = Path(__file__).parents[1]
_PLUGIN = Path(__file__).parents[2] / "torch_plugin"
_STANDARD_LIBRARY = Path(linecache.__file__).parent
_MADE_WHERE = ("device", "layout", "pin_memory", "memory_format", "out")
_HIDDEN = ("running_mean", "running_var")  # written, and no schema says so
_COPIES = {"clone", "_to_copy", "contiguous", "copy", "copy_", "lift_fresh", "lift_fresh_copy", "detach_copy"}


class Recording(TorchDispatchMode):
    """Under `with`, records the operations of this thread. Values are kept as statistics, tensors are not held.

    Args:
        names: `id` of a module -> its name within the model.
    """

    def __init__(self, names: Mapping[int, str]) -> None:
        super().__init__()
        self._names = names
        self._operations: list[Operation] = []
        self._makers: dict[int, _Maker] = {}  # id of a storage that is alive -> who made what lies in it
        self._forward: dict[int, int] = {}  # sequence number of autograd's node -> operation that it is of

    def program(self) -> Program:
        """Returns what was recorded."""
        return Program(operations=list(self._operations))

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        sequence = torch._C._autograd._get_sequence_nr() - 1
        taken = [self._source(tensor) for tensor in tensors_in((args, kwargs))]
        result = func(*args, **kwargs)
        first = len(self._operations)
        for made, sources, arguments in parts(func, args, kwargs, result, taken):
            self._note(func, made, sources, arguments)
        if len(self._operations) > first and self._operations[first].phase == FORWARD:
            self._forward.setdefault(sequence, first)
        return result

    def _source(self, tensor: torch.Tensor) -> "tuple[torch.Tensor, Source]":
        maker = self._makers.get(id(tensor.untyped_storage())) if tensor.layout == torch.strided else None
        return tensor, Source(made=None if maker is None else maker.of(tensor), value=value_of(tensor))

    def _note(self, func: Any, made: torch.Tensor, sources: list[Source], arguments: list[Argument]) -> None:
        number, node = len(self._operations), torch._C._current_autograd_node()
        name = func._schema.name.partition("::")[2].removeprefix("_foreach_")
        if node is None:
            line, layer = user_line(sys._getframe(2), self._names)
            phase = FORWARD
        else:  # the line is that of the forward pass
            made_by = self._forward.get(node._sequence_nr())
            line, layer = (None, "") if made_by is None else _where(self._operations[made_by])
            phase = BACKWARD
        value = value_of(made)
        whole_source = bool(sources) and sources[0].value.size == value.size
        self._operations.append(
            Operation(
                number=number,
                name=name,
                phase=phase,
                sources=sources,
                arguments=arguments,
                value=value,
                reshapes=whole_source and (shows(func) or name in _COPIES),
                line=line,
                layer=layer,
            )
        )
        if made.layout == torch.strided:
            self._remember(made, number, writes=not shows(func))

    def _remember(self, made: torch.Tensor, number: int, *, writes: bool) -> None:
        storage = made.untyped_storage()
        maker = self._makers.get(id(storage))
        if maker is None:
            key = id(storage)
            maker = self._makers[key] = _Maker(weakref.ref(storage, lambda _: self._makers.pop(key, None)))
        maker.note(made, number, writes=writes)


class _Maker:
    """Who made what lies in a piece of memory, view by view."""

    def __init__(self, alive: Any) -> None:
        self._alive = alive
        self._views: dict[tuple, int] = {}
        self._written: int | None = None

    def note(self, tensor: torch.Tensor, number: int, *, writes: bool) -> None:
        """Notes that an operation showed a view, or made or wrote its numbers."""
        self._views[_geometry(tensor)] = number
        if writes:
            self._written = number

    def of(self, tensor: torch.Tensor) -> int | None:
        """Returns the number of the operation that a view is of; `None` where only others were shown.

        That is the one which showed it, unless another has written there since.
        """
        numbers = [number for number in (self._views.get(_geometry(tensor)), self._written) if number is not None]
        return max(numbers, default=None)


def _geometry(tensor: torch.Tensor) -> tuple:
    return tensor.storage_offset(), tuple(tensor.shape), tensor.stride()


def _where(operation: Operation) -> tuple[Line | None, str]:
    return operation.line, operation.layer


def parts(
    func: Any, args: tuple, kwargs: dict, result: Any, taken: "list[tuple[torch.Tensor, Source]]"
) -> Iterator[tuple[torch.Tensor, list[Source], list[Argument]]]:
    """Yields what a call made or wrote, with the sources and the arguments of each: one for each tensor of a list."""
    sources = {id(tensor): source for tensor, source in taken}
    written = written_by(func, args, kwargs)
    name = func._schema.name
    if name.startswith(("aten::_foreach_", "aten::_fused_")):
        made = written or [item for item in tree_leaves(result) if isinstance(item, torch.Tensor)]
        count = max((len(arg) for arg in args if isinstance(arg, list | tuple)), default=0)
        for place, tensor in enumerate(made):
            index = place % max(count, 1)
            own = [arg[index] if isinstance(arg, list | tuple) and len(arg) == count else arg for arg in args]
            yield tensor, sources_of(func, (own, kwargs), sources), arguments_of(func, own, kwargs)
        return
    made = [item for item in tree_leaves(result) if isinstance(item, torch.Tensor)]
    known = {id(tensor) for tensor in made}
    for tensor in [*made, *(tensor for tensor in written if id(tensor) not in known)]:
        yield tensor, sources_of(func, (args, kwargs), sources), arguments_of(func, args, kwargs)


def sources_of(func: Any, given: Any, sources: dict[int, Source]) -> list[Source]:
    """Returns the sources among the arguments of a call."""
    found = [sources[id(tensor)] for tensor in tensors_in(given) if id(tensor) in sources]
    return found[1:2] if func._schema.name == "aten::copy_" else found  # what it writes on does not count


def arguments_of(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Argument]:
    """Returns what of a call's arguments is no tensor, without what says where its result is made."""
    found = []
    for position, argument in enumerate(func._schema.arguments):
        usual = argument.default_value if argument.has_default_value() else None
        value = args[position] if position < len(args) else kwargs.get(argument.name, usual)
        if argument.name not in _MADE_WHERE and value is not None and not tensors_in(value):
            found.append(Argument(name=argument.name, value=plain(value), usual=plain(value) == plain(usual)))
    return found


def plain(value: Any) -> Any:
    """Returns an argument as plain data."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value).removeprefix("torch.")


def tensors_in(given: Any) -> list[torch.Tensor]:
    """Returns the tensors in nested arguments."""
    return [leaf for leaf in tree_leaves(given) if isinstance(leaf, torch.Tensor)]


def written_by(func: Any, args: tuple, kwargs: dict) -> list[torch.Tensor]:
    """Returns the arguments that a call writes; the running statistics of a normalisation, too."""
    written = []
    for position, argument in enumerate(func._schema.arguments):
        writes = argument.alias_info is not None and argument.alias_info.is_write
        hidden = argument.name in _HIDDEN and "batch_norm" in func._schema.name and "backward" not in func._schema.name
        if writes or hidden:
            given = args[position] if position < len(args) else kwargs.get(argument.name)
            written += tensors_in(given)
    return written


@cache
def shows(func: Any) -> bool:
    """Tells whether an operation returns a view of what it takes."""
    aliases = [each.alias_info for each in func._schema.returns]
    return bool(aliases) and all(alias is not None and not alias.is_write for alias in aliases)


def value_of(tensor: torch.Tensor) -> Value:
    """Returns what is kept of a tensor."""
    whole = not (tensor.is_floating_point() or tensor.is_complex())
    if tensor.numel() == 0:
        return Value(shape=tuple(tensor.shape), statistics=np.zeros(5), whole=whole)
    flat = tensor.detach()
    flat = (torch.view_as_real(flat) if flat.is_complex() else flat).to(torch.float64)
    low, high = torch.aminmax(flat)
    numbers = torch.stack([flat.sum(), flat.abs().sum(), flat.square().sum(), low, high])
    return Value(shape=tuple(tensor.shape), statistics=numbers.cpu().numpy(), whole=whole)


def user_line(frame: types.FrameType | None, names: Mapping[int, str]) -> tuple[Line | None, str]:
    """Returns the innermost line of the user's own on the stack, and the innermost layer or module at work."""
    line, layer = None, ""
    while frame is not None and not (line and layer):
        if is_judges(frame.f_code.co_filename) and not frame.f_code.co_name.startswith("__torch_"):
            break  # whoever called the judge made no operation
        if line is None and is_users(frame.f_code.co_filename):
            file, number = frame.f_code.co_filename, frame.f_lineno
            text = linecache.getline(file, number).strip()
            line = Line(file=Path(file).name, number=number, function=frame.f_code.co_name, text=text)
        if not layer:
            layer = layer_of(frame, names)
        frame = frame.f_back
    return line, layer


def layer_of(frame: types.FrameType, names: Mapping[int, str]) -> str:
    """Returns the layer, module or loss whose method a frame is, in words; nothing where it is none's."""
    code = frame.f_code
    owner = frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None
    if isinstance(owner, keras.Model | torch.optim.Optimizer | keras.optimizers.Optimizer):
        return ""
    if isinstance(owner, keras.layers.Layer):
        return f"{type(owner).__name__} {owner.path or owner.name}"
    if isinstance(owner, keras.losses.Loss | keras.metrics.Metric | torch.nn.Module):
        return f"{type(owner).__name__} {names.get(id(owner), '')}".strip()
    return ""


@cache
def is_judges(file: str) -> bool:
    """Tells whether a file is of the judge's own."""
    return _JUDGE in Path(file).parents


@cache
def is_users(file: str) -> bool:
    """Tells whether a file is the user's own: of no library that a step runs through."""
    if file.startswith("<"):
        return False
    path = Path(file)
    if _JUDGE in path.parents or _PLUGIN in path.parents:
        return False
    if "site-packages" in path.parts:
        return path.parts[path.parts.index("site-packages") + 1] not in _LIBRARIES
    return _STANDARD_LIBRARY not in path.parents


def record(run: KerasRun | TorchRun, rows: np.ndarray) -> Program:
    """Makes the next step of a run and returns its program.

    Args:
        run: Of either side.
        rows: (B,) numbers of examples.
    """
    modules = run.module.named_modules() if isinstance(run, TorchRun) else ()
    recording = run.watch = Recording({id(module): name for name, module in modules})
    run.step(rows)
    return recording.program()

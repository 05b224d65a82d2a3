"""A call of an ATen operation taken apart: what it took, what it made or wrote, what else it was given."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch

from birdplane_keras.parity.private_torch import tree_leaves
from birdplane_keras.parity.programs.program import MASK, Argument, Source, Value

HALVES = (torch.float16, torch.bfloat16)
BLOCK = 2**18  # numbers that are looked at together
_MADE_WHERE = ("device", "layout", "pin_memory", "memory_format", "out")
_HIDDEN = ("running_mean", "running_var")  # written, and no schema says so
COPIES = {"clone", "_to_copy", "contiguous", "copy", "copy_", "lift_fresh", "lift_fresh_copy", "detach_copy"}


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


def shape_of(tensor: torch.Tensor) -> Value:
    """Returns a value of which nothing but the shape is known."""
    return Value(shape=tuple(tensor.shape), statistics=np.full(5, np.nan))


def value_of(array: torch.Tensor | np.ndarray) -> Value:
    """Returns what is kept of a tensor or an array."""
    tensor = torch.as_tensor(np.asarray(array, order="C")) if isinstance(array, np.ndarray) else array
    whole, half = not (tensor.is_floating_point() or tensor.is_complex()), tensor.dtype in HALVES
    if tensor.numel() == 0:
        return Value(shape=tuple(tensor.shape), statistics=np.zeros(5), whole=whole, half=half)
    numbers = tensor.detach()
    numbers = torch.view_as_real(numbers) if numbers.is_complex() else numbers
    blocks = numbers.reshape(-1).split(BLOCK) if numbers.numel() > BLOCK else (numbers,)  # in the memory of a block
    found = torch.stack([statistics_of(block) for block in blocks])
    statistics = torch.cat([found[:, :3].sum(0), found[:, 3].min()[None], found[:, 4].max()[None]])
    return Value(shape=tuple(tensor.shape), statistics=statistics.cpu().numpy(), whole=whole, half=half)


def statistics_of(block: torch.Tensor) -> torch.Tensor:
    """Returns the statistics of some numbers, as `Value` has them, (5,) float64."""
    low, high = torch.aminmax(block)
    block = block.to(torch.float64)
    if not max(-float(low), float(high)) < MASK:  # what a mask puts there would hide all else; what is no number stays
        block = torch.where(block.abs() >= MASK, 0.0, block)
        low, high = torch.aminmax(block)
    norm = torch.linalg.vector_norm  # in one pass, without a copy
    return torch.stack([block.sum(), norm(block, 1), norm(block).square(), low.double(), high.double()])

"""Runs a piece of a step on trial: sees every tensor that it reads and writes, and can take the writes back."""

import weakref
from functools import partial
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes


class Journal(TorchDispatchMode):
    """Notes the tensors from outside that operations read, and what they held before.

    A tensor is from outside if no operation under the journal made it. Under `with`, operations run as always. Every
    tensor from outside is copied at its first use: not every operation that writes one says so (batch normalization in
    PyTorch does not).
    """

    def __init__(self) -> None:
        super().__init__()
        self.outside: dict[int, torch.Tensor] = {}  # id -> tensor, in order of first use
        self._before: dict[int, torch.Tensor] = {}  # id -> value before the first use
        self._marked: set[int] = set()  # ids of what an operation's schema says it writes
        self._made: dict[int, weakref.ref] = {}  # id -> what an operation made, as long as somebody holds it
        self.calls = 0  # operations that ran
        self.lifted: set[int] = set()  # ids of what Python numbers were made into
        self.draws = False  # whether any of them may draw from PyTorch's own generators
        self.after: dict[int, torch.Tensor] = {}  # id of a tensor that was written -> what it held before `roll_back`
        self._survivors: list[torch.Tensor] = []  # what operations made and somebody kept
        self._written: list[torch.Tensor] | None = None  # once it has been taken back
        self._outside_storages: dict[int, list[int]] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        self.calls += 1
        if torch.Tag.nondeterministic_seeded in func.tags:
            self.draws = True
        for tensor in tensors_in((args, kwargs)):
            if id(tensor) not in self._made:
                self._add_outside(tensor)
        if func is torch.ops.aten.lift_fresh.default:
            self.lifted.add(id(args[0]))
        for tensor in written_tensors(func, args, kwargs):
            self._marked.update(self._outside_storages.get(storage_key(tensor), ()))
        result = func(*args, **kwargs)
        for tensor in tensors_in(result):
            if id(tensor) not in self.outside:
                self._made[id(tensor)] = weakref.ref(tensor, partial(self._forget, id(tensor)))
        return result

    def _forget(self, key: int, reference: weakref.ref) -> None:
        """Lets another tensor have the id of one that nobody holds any more."""
        if self._made.get(key) is reference:
            del self._made[key]

    def _add_outside(self, tensor: torch.Tensor) -> None:
        if id(tensor) not in self.outside:
            self.outside[id(tensor)] = tensor
            with _disable_current_modes():  # a graph that is being made must not hold the copy
                self._before[id(tensor)] = tensor.detach().clone()
            self._outside_storages.setdefault(storage_key(tensor), []).append(id(tensor))

    def written(self) -> list[torch.Tensor]:
        """Returns the tensors from outside that were written, in order of their first use.

        No operation makes a tensor of a Python number, so it is from outside, too; who writes it writes what is new.
        """
        if self._written is not None:
            return self._written
        return [
            self.outside[key]
            for key, before in self._before.items()
            if key not in self.lifted and (key in self._marked or not unchanged(self.outside[key], before))
        ]

    def has_made(self, tensor: torch.Tensor) -> bool:
        """Tells whether an operation made this tensor, until `roll_back`."""
        return id(tensor) in self._made

    def survivors(self) -> set[int]:
        """Returns the ids of what operations made and somebody still holds after `roll_back`; they live on."""
        return set(map(id, self._survivors))

    def roll_back(self) -> None:
        """Gives every tensor from outside the value that it had before, and lets go of the copies."""
        self._written = self.written()
        self.after = {id(tensor): tensor.detach().clone() for tensor in self._written}
        with torch.no_grad():
            for key, before in self._before.items():
                if not unchanged(self.outside[key], before):
                    self.outside[key].copy_(before)
        self._before.clear()
        references = list(self._made.values())
        self._made.clear()
        self._survivors = [tensor for reference in references if (tensor := reference()) is not None]
        for tensor in self._survivors:
            tensor._fix_weakref()  # type: ignore[attr-defined]  # PyTorch 2.6 loses a tensor that a weak reference brought back


def unchanged(tensor: torch.Tensor, before: torch.Tensor) -> bool:
    """Tells whether a tensor holds what it held before; NaN equals NaN."""
    if torch.equal(tensor, before):
        return True
    if not (tensor.dtype.is_floating_point or tensor.dtype.is_complex):
        return False
    return bool(((tensor == before) | tensor.isnan() & before.isnan()).all())


def leaves_of(tree: object) -> list[Any]:
    """Returns what nested tuples, lists and dictionaries hold, in order, without calls that would be seen."""
    waiting, found = [tree], []
    while waiting:
        each = waiting.pop()
        if isinstance(each, tuple | list):
            waiting += each[::-1]
        elif isinstance(each, dict):
            waiting += [*each.values()][::-1]
        else:
            found.append(each)
    return found


def tensors_in(tree: object) -> list[torch.Tensor]:
    """Returns the tensors in nested arguments."""
    return [leaf for leaf in leaves_of(tree) if isinstance(leaf, torch.Tensor)]


def written_tensors(func, args: tuple, kwargs: dict) -> list[torch.Tensor]:
    """Returns the arguments that an ATen operation writes, as its schema says."""
    if not func._schema.is_mutable:
        return []
    written = []
    for position, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            written.append(args[position] if position < len(args) else kwargs.get(argument.name))
    return tensors_in(written)


def storage_key(tensor: torch.Tensor) -> int:
    """Returns what tensors over the same memory share."""
    if tensor.layout != torch.strided:
        return id(tensor)
    return tensor.untyped_storage()._cdata


class TorchRandomState:
    """The state of PyTorch's global generators when this was made."""

    def __init__(self) -> None:
        self._cpu = torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None

    def restore(self) -> None:
        """Brings the generators back to it."""
        torch.set_rng_state(self._cpu)
        if self._cuda is not None:
            torch.cuda.set_rng_state_all(self._cuda)

    def restore_if_changed(self) -> None:
        """Brings those back that have moved on."""
        if not torch.equal(torch.get_rng_state(), self._cpu):
            torch.set_rng_state(self._cpu)
        if self._cuda is not None:
            torch.cuda.set_rng_state_all(self._cuda)

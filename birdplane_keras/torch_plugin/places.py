"""Places where Python keeps state: what each held when it was first seen, what it holds now, and how to put it back."""

import types
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Container, Iterator
from typing import Any

import numpy as np
import torch

ABSENT = type("Absent", (), {"__repr__": lambda self: "nothing"})()
PLAIN = (bool, int, float, complex, str, bytes, type(None))
_BY_VALUE = (torch.dtype, torch.device, torch.Size, np.dtype, np.generic, range, slice)
Change = tuple["Place", Any, Any, Any]  # place, key, what it held, what it holds


class Place(ABC):
    """State under one or more keys.

    Args:
        words: Whose state it is, for people.
        before: Key -> what it held when it was first seen.
        of_library: Whether it is a class or a module of Keras or PyTorch, whose code is not replaced as a rule.
    """

    of_library = False

    def __init__(self, words: str) -> None:
        self.words = words
        self.before: dict[Any, Any] = {}

    @abstractmethod
    def now(self, key: Any) -> Any:
        """Returns what a key holds, or `ABSENT`."""

    @abstractmethod
    def put(self, key: Any, value: Any) -> None:
        """Lets a key hold a value, or nothing where it is `ABSENT`."""

    def changes(self) -> Iterator[Change]:
        """Yields what is no longer as it was."""
        for key, value in self.before.items():
            now = self.now(key)
            if not same(now, value):
                yield self, key, value, now

    def renew(self) -> None:
        """Takes the objects that are there for what is to be there, where they are equal to it."""
        found = [(key, then, self.now(key)) for key, then in self.before.items()]
        self.before = {key: now if same(now, then) else then for key, then, now in found}

    def name(self, key: Any) -> str:
        """Returns a key in words."""
        return f"`{key}` of {self.words}"


class Names(Place):
    """Keys of a dictionary: an object's attributes, a class's, a module's globals, or items.

    Args:
        mapping: The dictionary; the read-only view of a class's.
        words: Whose.
        owner: The class, where it is one's.
    """

    def __init__(self, mapping: Any, words: str, owner: type | None = None) -> None:
        super().__init__(words)
        self.mapping, self._owner = mapping, owner
        # Whose methods reach what it holds, whatever a class of the user's own makes of them.
        self._kind: Any = OrderedDict if isinstance(mapping, OrderedDict) else dict

    def now(self, key):
        return self.mapping.get(key, ABSENT) if type(self.mapping) is not dict else dict.get(self.mapping, key, ABSENT)

    def put(self, key, value):
        if self._owner is not None:
            delattr(self._owner, key) if value is ABSENT else setattr(self._owner, key, value)
        elif value is ABSENT:
            self._kind.pop(self.mapping, key, None)
        else:
            self._kind.__setitem__(self.mapping, key, value)


class Items(Names):
    """All items of a dictionary, in their order, but for some keys."""

    def __init__(self, mapping: dict, words: str, skipped: tuple = ()) -> None:
        super().__init__(mapping, words)
        self._skipped = skipped
        self.before = self._items()

    def _items(self) -> dict:
        return {key: value for key, value in self._kind.items(self.mapping) if key not in self._skipped}

    def changes(self):
        now = self._items()
        if list(now) != list(self.before) or not all(map(same, now.values(), self.before.values())):
            for key in [*self.before, *(key for key in now if key not in self.before)]:
                then = self.before.get(key, ABSENT)
                if not same(now.get(key, ABSENT), then):
                    yield self, key, then, now.get(key, ABSENT)
                    return
            yield self, next(iter(now), None), ABSENT, ABSENT  # another order

    def restore(self) -> None:
        """Puts all items back, in their order."""
        others = {
            key: dict.__getitem__(self.mapping, key) for key in self._skipped if dict.__contains__(self.mapping, key)
        }
        self._kind.clear(self.mapping)
        for key, value in (self.before | others).items():
            self._kind.__setitem__(self.mapping, key, value)


class Whole(Place):
    """A container or an array that is looked at as a whole.

    Args:
        held: It.
        words: Whose.
        take: Copies what it holds.
        give: Writes a copy back.
        equal: Compares two copies.
    """

    def __init__(self, held: Any, words: str, take: Callable, give: Callable, equal: Callable) -> None:
        super().__init__(words)
        self.held, self._take, self._give, self._equal = held, take, give, equal
        self.before = {None: take(held)}

    def now(self, key):
        return self._take(self.held)

    def put(self, key, value):
        self._give(self.held, value)

    def changes(self):
        now = self._take(self.held)
        if not self._equal(now, self.before[None]):
            yield self, None, self.before[None], now

    def renew(self):
        now = self._take(self.held)
        if self._equal(now, self.before[None]):
            self.before = {None: now}

    def name(self, key):
        return f"the contents of {self.words}"


def names_of_scope(scope: Any, words: str, skipped: Container[str]) -> Callable[[], Whole]:
    """Returns what makes a place of the names, but for some, that an object's or a class's attributes have."""

    def names(held: Any) -> frozenset:
        return frozenset(name for name in held if name not in skipped)

    def keep(held: Any, wanted: frozenset) -> None:
        for name in names(held) - wanted:
            if isinstance(held, dict):  # a class's is a view; what a step sets there is put back name by name
                del held[name]

    return lambda: Whole(scope, words, names, keep, frozenset.__eq__)


class Attribute(Place):
    """One attribute that is in no dictionary: a slot, the contents of a closure's cell, a function's defaults.

    Args:
        held: Its owner.
        attribute: Its name.
        words: Whose.
    """

    def __init__(self, held: Any, attribute: str, words: str) -> None:
        super().__init__(words)
        self.held, self.attribute = held, attribute
        self.before = {attribute: self.now(attribute)}

    def now(self, key):
        try:
            return getattr(self.held, key, ABSENT)
        except ValueError:  # an empty cell
            return ABSENT

    def put(self, key, value):
        if value is ABSENT:
            delattr(self.held, key)
        else:
            setattr(self.held, key, value)

    def name(self, key):
        return self.words if isinstance(self.held, types.CellType) else super().name(key)


class Reading(Place):
    """What a function returns.

    Args:
        read: It.
        write: Makes it return a value.
        words: What it returns.
    """

    def __init__(self, read: Callable[[], Any], write: Callable[[Any], None], words: str) -> None:
        super().__init__(words)
        self._read, self._write = read, write
        self.before = {None: read()}

    def now(self, key):
        return self._read()

    def put(self, key, value):
        self._write(value)

    def name(self, key):
        return self.words


def sequence(held: Any, words: str) -> Whole:
    """Returns the place of the items of a list or a deque."""

    def give(into: Any, items: list) -> None:
        if isinstance(into, list):
            list.__setitem__(into, slice(None), items)
        else:
            into.clear()
            into.extend(items)

    return Whole(held, words, list, give, lambda one, other: len(one) == len(other) and all(map(same, one, other)))


def members(held: set, words: str) -> Whole:
    """Returns the place of the members of a set."""

    def give(into: set, items: set) -> None:
        into.clear()
        into.update(items)

    return Whole(held, words, set, give, lambda one, other: one == other)


def view(held: types.MappingProxyType, words: str) -> Whole:
    """Returns the place of the items behind a read-only view of a dictionary."""

    def equal(one: dict, other: dict) -> bool:
        return list(one) == list(other) and all(map(same, one.values(), other.values()))

    return Whole(held, words, dict, lambda *_: None, equal)


def contents(held: np.ndarray, words: str) -> Whole:
    """Returns the place of the numbers in an array."""

    def give(into: np.ndarray, copy: np.ndarray) -> None:
        into[...] = copy

    def equal(one: np.ndarray, other: np.ndarray) -> bool:
        return (one.shape, one.dtype) == (other.shape, other.dtype) and one.tobytes() == other.tobytes()

    return Whole(held, words, np.copy, give, equal)


def of_bytes(held: Any, words: str) -> Whole:
    """Returns the place of the bytes in a `bytearray` or an `array.array`."""

    def give(into: Any, copy: bytes) -> None:
        memoryview(into).cast("B")[:] = copy

    return Whole(held, words, bytes, give, lambda one, other: one == other)


def same(now: Any, then: Any) -> bool:
    """Tells whether a value is what another was: the same object, or an equal plain one of the same type."""
    if now is then:
        return True
    if type(now) is not type(then):
        return False
    if isinstance(now, float | complex):
        return repr(now) == repr(then)  # 0.0 is not -0.0, and NaN is NaN
    if isinstance(now, tuple):
        return len(now) == len(then) and all(map(same, now, then))
    if isinstance(now, types.MethodType):
        return now.__self__ is then.__self__ and now.__func__ is then.__func__
    return isinstance(now, PLAIN + _BY_VALUE) and bool(now == then)


def put_back(places: list[Place]) -> None:
    """Gives every place what it held when it was first seen."""
    for place in places:
        for _, key, value, _ in list(place.changes()):
            if isinstance(place, Items):
                place.restore()
                break
            place.put(key, value)

"""What a piece of code may read of a value: its names are followed, and what each place holds is noted."""

import types
from collections.abc import Container, Iterable
from typing import Any

import torch

from birdplane_keras.torch_plugin.code_names import CodeNames, is_users
from birdplane_keras.torch_plugin.errors import NotTraceableError
from birdplane_keras.torch_plugin.kinds import (
    PATCHED,
    Kind,
    OfLibrary,
    bookkeeping,
    described,
    is_full,
    kind_of,
    member_of,
    of_library,
    words_of,
)
from birdplane_keras.torch_plugin.places import (
    ABSENT,
    Attribute,
    Items,
    Names,
    Place,
    contents,
    members,
    sequence,
    view,
)

_MOST_PLACES = 200_000
_LARGEST_ARRAY = 1 << 25  # bytes that may be compared before every replay
_HEAP_TYPE = 1 << 9
_OF_KERAS = ("_torch_params",)  # an item by which Keras tells PyTorch of its variables, made anew now and then


class Following:
    """Notes the places that code may read or write.

    Args:
        given: Containers that are made anew for each step; not looked into.
        refuses: Stop at what cannot be watched.
    """

    def __init__(self, given: Iterable[Any], refuses: bool) -> None:
        self.refuses, self.refusal = refuses, ""
        self.places: dict[tuple, Place] = {}
        self.owners: dict[tuple, int] = {}  # place -> id of the object whose state it is; 0 for modules and classes
        self.of_library: set[int] = set()  # ids of containers that a library's modules and classes hold
        self.rooted: set[int] = set()  # ids of what is reached from state that was there before
        self.alive: dict[int, Any] = {}  # ids stay their own
        self._given = {id(each) for each in given}
        self._seen: set[tuple[int, int, bool]] = set()
        self._found: dict[tuple[type, int], list[tuple[str, type, Any]]] = {}

    def lasting(self, earlier: dict[int, Any]) -> dict[tuple, Place]:
        """Returns the places of objects that outlast a step.

        Args:
            earlier: id -> object of what an earlier run saw; all of it is alive.
        """
        return {
            key: place
            for key, place in self.places.items()
            if (owner := self.owners[key]) == 0 or owner in self.rooted or owner in earlier
        }

    def looked_at(self, value: Any) -> bool:
        """Tells whether any attribute of an object was noted."""
        return ("names", id(vars(value)), True) in self.places

    def attributes(self, owner: Any, names: Iterable[str]) -> None:
        """Notes attributes that a step reads elsewhere."""
        code = CodeNames(code=(lambda: None).__code__, names=frozenset(names), trusted=True)
        self.alive[id(code)] = code
        self.follow(owner, code, True)

    def refuse(self, reason: str) -> None:
        """Stops the step at what cannot be watched, unless everything is to be let through."""
        if not self.refuses:
            return
        self.refusal = self.refusal or reason
        raise NotTraceableError(reason)

    def follow_globals(self, scope: dict, code: CodeNames) -> None:
        present = [name for name in code.code.co_names if name in scope]
        words = f"the module {scope.get('__name__', '')}"
        users = is_users(scope.get("__name__") or "")
        for name in present:
            self._note(Names, scope, words, name, scope[name], owner=0)
            self.follow(scope[name] if users else of_library(name, scope[name]), code, True)

    def follow(self, value: Any, code: CodeNames, rooted: bool) -> None:
        """Notes what a piece of code may read of a value, and of what that leads to."""
        waiting = [value]
        while waiting:
            each = waiting.pop()
            if isinstance(each, OfLibrary):
                self.of_library.add(id(each.value))
                each = each.value
            kind = kind_of(type(each))
            if kind is Kind.ATOM or id(each) in self._given:
                continue
            key = (id(code), id(each), rooted)
            if key in self._seen:
                continue
            self._seen.add(key)
            if kind is not Kind.TENSOR:
                self.alive[id(each)] = each
            if rooted:
                self.rooted.add(id(each))
            if len(self.places) > _MOST_PLACES:
                self.refuse(f"it reads more than {_MOST_PLACES:,} places, too many to watch")
            waiting += self._state_of(each, kind, code, rooted)

    def _state_of(self, value: Any, kind: Kind, code: CodeNames, rooted: bool) -> Iterable[Any]:
        match kind:
            case Kind.TENSOR:
                return self._of_tensor(value, code) if rooted else ()
            case Kind.OBJECT | Kind.DICT | Kind.SEQUENCE | Kind.SET | Kind.PROXY:
                return [*self._items(value, kind, code), *self._attributes(value, code)]
            case Kind.TUPLE:
                return [*value, *self._attributes(value, code)]
            case Kind.MODULE:
                scope = vars(value)
                for name in code.names:
                    if name in scope:
                        self._note(Names, scope, f"the module {value.__name__}", name, scope[name], owner=0)
                found = [(name, scope[name]) for name in code.names if name in scope]
                users = is_users(value.__name__)
                return [item if users else of_library(name, item) for name, item in found]
            case Kind.CLASS:
                members_ = self._class_attributes(value, code.names)
                return members_ if is_users(value.__module__) else [of_library("", item) for item in members_]
            case Kind.FUNCTION:
                return self._function(value, code)
            case Kind.METHOD:
                return [value.__func__, value.__self__]
            case Kind.PARTIAL:
                return [value.func, value.args, value.keywords, *self._attributes(value, code)]
            case Kind.DESCRIPTOR:
                parts = [getattr(value, name, None) for name in ("fget", "fset", "__func__", "__wrapped__", "func")]
                return [part for part in parts if part is not None]
            case Kind.REFERENCE:
                return [value()]
            case Kind.ARRAY:
                if value.nbytes > _LARGEST_ARRAY and not code.trusted and rooted:
                    self.refuse(f"it reads an array of {value.nbytes >> 20} MB, too large to compare at every step")
                if value.nbytes <= _LARGEST_ARRAY and value.dtype != object:
                    self._note_place(("array", id(value)), lambda: contents(value, words_of(value)), value)
                return list(value.flat)[:1000] if value.dtype == object else []
            case Kind.LOCAL:
                return self._local(value, code) if not code.trusted else ()  # Keras' own is part of a signature
            case Kind.OPAQUE:
                if rooted and not code.trusted:
                    self.refuse(f"it reads {described(value)}, whose state cannot be watched")
        return []

    def _items(self, value: Any, kind: Kind, code: CodeNames) -> Iterable[Any]:
        if kind is Kind.DICT:
            skipped = _OF_KERAS if code.trusted else ()
            self._note_place(("items", id(value)), lambda: Items(value, words_of(value), skipped), value)
            return [*dict.keys(value), *(item for key, item in dict.items(value) if key not in skipped)]
        if kind is Kind.SEQUENCE:
            self._note_place(("items", id(value)), lambda: sequence(value, words_of(value)), value)
            return list(value)
        if kind is Kind.SET:
            self._note_place(("items", id(value)), lambda: members(value, words_of(value)), value)
            return list(value)
        if kind is Kind.PROXY:
            if code.trusted:  # Keras looks at signatures by them
                return ()
            self._note_place(("items", id(value)), lambda: view(value, words_of(value)), value)
            return [*value.values()]
        return []

    def _of_tensor(self, value: torch.Tensor, code: CodeNames) -> Iterable[Any]:
        """Python attributes that somebody hung on a tensor."""
        own = vars(value)
        found = [name for name in code.names if name in own and name != "_keras_mask"] if own else []
        for name in found:
            self._note(Names, own, "a tensor", name, own[name], owner=id(value))
        return [own[name] for name in found]

    def _attributes(self, value: Any, code: CodeNames) -> Iterable[Any]:
        kind = type(value)
        own = (
            getattr(value, "__dict__", None)
            if kind.__dictoffset__ or isinstance(value, types.SimpleNamespace)
            else None
        )
        found = []
        if is_users(kind.__module__) and not isinstance(value, types.FunctionType):
            for name in ("__class__", "__dict__") if own is not None else ("__class__",):
                self._note_place((name, id(value)), lambda name=name: Attribute(value, name, words_of(value)), value)
        skipped: Container[str] = bookkeeping(value) if code.trusted else ()
        if own is not None:
            names = own.keys() if code.looks_up and not code.trusted else code.names
            words = words_of(value)
            for name in list(names):
                if name in own and name not in skipped:
                    self._note(Names, own, words, name, own[name], owner=id(value))
                    found.append(own[name])
        for name, owner, member in self._members(kind, code):
            if isinstance(member, types.MemberDescriptorType):
                self._note_place(
                    ("slot", id(value), name), lambda name=name: Attribute(value, name, words_of(value)), value
                )
                found.append(getattr(value, name, None))
                continue
            may_be_patched = name not in skipped and (is_users(kind.__module__) or isinstance(value, PATCHED))
            if own is not None and may_be_patched and name not in own and not hasattr(type(member), "__set__"):
                self._note(Names, own, words_of(value), name, ABSENT, owner=id(value))
            found.append(member)
            self._note_class(kind, owner, name)
        if own is not None and code.looks_up:
            for name in code.strings & code.names:
                if name not in own and name.isidentifier() and member_of(kind, name) is None:
                    self._note(Names, own, words_of(value), name, ABSENT, owner=id(value))
        return found

    def _local(self, value: Any, code: CodeNames) -> Iterable[Any]:
        """What a thread keeps for itself: looked at in whatever thread a step runs."""
        for name in code.names:
            if name.isidentifier() and not hasattr(type(value), name):
                self._note_place(
                    ("local", id(value), name), lambda name=name: Attribute(value, name, "a thread"), value
                )
        return [getattr(value, name, None) for name in code.names if name.isidentifier()]

    def _members(self, kind: type, code: CodeNames) -> list[tuple[str, type, Any]]:
        """Returns the names of a piece of code that are attributes of a class: name, the class that has it, what."""
        key = (kind, id(code))
        found = self._found.get(key)
        if found is None:
            members_ = [(name, member_of(kind, name)) for name in code.names]
            found = self._found[key] = [(name, *member) for name, member in members_ if member is not None]
        return found

    def _class_attributes(self, kind: type, names: Iterable[str]) -> Iterable[Any]:
        found = []
        for name in names:
            member = member_of(kind, name)
            if member is not None:
                self._note_class(kind, member[0], name)
                found.append(member[1])
        return found

    def _note_class(self, kind: type, owner: type, name: str) -> None:
        """Notes a class's attribute, and that no class before it has one."""
        for each in kind.__mro__:
            if each.__flags__ & _HEAP_TYPE:
                self._note(
                    Names,
                    vars(each),
                    f"the class {each.__name__}",
                    name,
                    vars(each).get(name, ABSENT),
                    owner=0,
                    of=each,
                )
            if each is owner:
                return

    def _function(self, function: types.FunctionType, code: CodeNames) -> Iterable[Any]:
        if not is_users(function.__module__ or ""):  # its own code and defaults are not watched
            return [getattr(cell, "cell_contents", None) for cell in function.__closure__ or () if is_full(cell)]
        words = f"the function {function.__qualname__}"
        for name in ("__defaults__", "__kwdefaults__", "__code__"):
            self._note_place((name, id(function)), lambda name=name: Attribute(function, name, words), function)
        found = [*(function.__defaults__ or ()), function.__kwdefaults__]
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
            held = f"`{name}` in the closure of {function.__qualname__}"
            self._note_place(
                ("cell", id(cell)), lambda cell=cell, held=held: Attribute(cell, "cell_contents", held), cell
            )
            found.append(getattr(cell, "cell_contents", None) if is_full(cell) else None)
        return [*found, *(self._attributes(function, code) if vars(function) else ())]

    def _note(
        self, kind: type[Names], mapping: Any, words: str, name: Any, value: Any, *, owner: int, of: type | None = None
    ):
        key = ("names", id(mapping) if of is None else id(of), of is None)
        place = self.places.get(key)
        if place is None:
            place = self.places[key] = kind(mapping, words, of)
            place.of_library = owner == 0 and not is_users(of.__module__ if of else mapping.get("__name__") or "")
            self.owners[key] = owner
        place.before.setdefault(name, value)

    def _note_place(self, key: tuple, make: Any, owner: Any) -> None:
        if key not in self.places:
            self.places[key] = make()
            self.places[key].of_library = id(owner) in self.of_library
            self.owners[key] = id(owner)
            self.alive[id(owner)] = owner

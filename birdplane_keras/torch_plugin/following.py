"""What a piece of code may read of a value: its names are followed, and what each place holds is noted."""

import abc
import builtins
import types
from collections.abc import Container, Iterable
from functools import partial
from typing import Any

import torch

from birdplane_keras.torch_plugin.code_names import CodeNames, is_users
from birdplane_keras.torch_plugin.kinds import (
    LOOKUPS,
    PATCHED,
    Kind,
    OfLibrary,
    answers_unseen,
    bookkeeping,
    described,
    is_full,
    keeps_unseen,
    kind_of,
    member_of,
    of_library,
    words_of,
)
from birdplane_keras.torch_plugin.noting import Noted
from birdplane_keras.torch_plugin.places import (
    ABSENT,
    PLAIN,
    Attribute,
    Items,
    Reading,
    contents,
    members,
    names_of_scope,
    of_bytes,
    sequence,
    view,
)

_MOST_PLACES = 200_000
_LARGEST_ARRAY = 1 << 25  # bytes that may be compared before every replay
_REGISTERED = "which classes are registered with abstract ones"
_OF_KERAS = ("_torch_params",)  # an item by which Keras tells PyTorch of its variables, made again now and then


def _keep(_: Any) -> None:
    """What is registered stays so."""


class Following(Noted):
    """Notes the places that code may read or write.

    Args:
        given: Containers that are made again for each step; not looked into.
        refuses: Stop at what cannot be watched.
    """

    def __init__(self, given: Iterable[Any], refuses: bool) -> None:
        super().__init__(refuses)
        self._given = {id(each) for each in given}
        self._seen: set[tuple[int, int, bool]] = set()
        self._found: dict[tuple[type, int], list[tuple[str, type, Any]]] = {}

    def attributes(self, owner: Any, names: Iterable[str]) -> None:
        """Notes attributes that a step reads elsewhere."""
        code = CodeNames(code=(lambda: None).__code__, names=frozenset(names), trusted=True)
        self.alive[id(code)] = code
        self.follow(owner, code, True)

    def follow_globals(self, scope: dict, code: CodeNames) -> None:
        present = [name for name in code.code.co_names if name in scope]
        words = f"the module {scope.get('__name__', '')}"
        users = is_users(scope.get("__name__") or "")
        for name in present:
            self.note(scope, words, name, scope[name], owner=0)
            self.follow(of_library(name, scope[name]) if code.trusted and not users else scope[name], code, True)
        if users:
            for name in code.code.co_names:
                if name not in scope and (code.catches or hasattr(builtins, name)):  # somebody may define or cover it
                    self.note(scope, words, name, ABSENT, owner=0)

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
                return self._of_module(value, code)
            case Kind.CLASS:
                if getattr(value, "_is_runtime_protocol", False) and rooted and not code.trusted:
                    self.refuse(f"it asks for the protocol `{value.__name__}`, and who follows that cannot be watched")
                if isinstance(value, abc.ABCMeta) and is_users(value.__module__):
                    self.note_place(("registered",), partial(Reading, abc.get_cache_token, _keep, _REGISTERED), value)
                own = [*self._class_attributes(value, code), *self._class_attributes(type(value), code)]
                self.note_absent(value, None, code)
                trusted = code.trusted and not is_users(value.__module__)
                return [of_library("", item) for item in own] if trusted else own
            case Kind.FUNCTION:
                return self._function(value, code)
            case Kind.METHOD:
                return [value.__func__, value.__self__]
            case Kind.BUILTIN:
                return [value.__self__]  # a module, or whose method it is
            case Kind.BUFFER:
                self.note_place(("bytes", id(value)), partial(of_bytes, value, words_of(value)), value)
            case Kind.PARTIAL:
                if value.func in LOOKUPS and rooted and not code.trusted:
                    self.refuse(
                        f"it calls a partial of `{value.func.__name__}`, and what that looks up cannot be watched"
                    )
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
                    self.note_place(("array", id(value)), partial(contents, value, words_of(value)), value)
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
            self.note_place(("items", id(value)), partial(Items, value, words_of(value), skipped), value)
            return [*dict.keys(value), *(item for key, item in dict.items(value) if key not in skipped)]
        if kind is Kind.SEQUENCE:
            self.note_place(("items", id(value)), partial(sequence, value, words_of(value)), value)
            return list(value)
        if kind is Kind.SET:
            self.note_place(("items", id(value)), partial(members, value, words_of(value)), value)
            return list(value)
        if kind is Kind.PROXY:
            if code.trusted:  # Keras looks at signatures by them
                return ()
            self.note_place(("items", id(value)), partial(view, value, words_of(value)), value)
            return [*value.values()]
        return []

    def _of_module(self, module: types.ModuleType, code: CodeNames) -> Iterable[Any]:
        scope, found = vars(module), []
        names = [*code.names, "__getattr__"]  # which a module may have, too
        if code.looks_up and not code.trusted and is_users(module.__name__):
            names += [name for name in scope if name not in code.names and not name.startswith("__")]
            words = f"the names of the module {module.__name__}"
            self.note_place(("named", id(module)), names_of_scope(scope, words, ()), module)
        for name in names:
            if name not in scope and code.catches and is_users(module.__name__):
                self.note(scope, f"the module {module.__name__}", name, ABSENT, owner=0)
            elif name in scope:
                self.note(scope, f"the module {module.__name__}", name, scope[name], owner=0)
                trusted = code.trusted and not is_users(module.__name__)
                found.append(of_library(name, scope[name]) if trusted else scope[name])
        return found if type(module) is types.ModuleType else [*found, *self._attributes(module, code)]

    def _of_tensor(self, value: torch.Tensor, code: CodeNames) -> Iterable[Any]:
        """Python attributes that somebody hung on a tensor."""
        own = vars(value)
        found = [name for name in code.names if name in own and name != "_keras_mask"] if own else []
        for name in found:
            self.note(own, "a tensor", name, own[name], owner=id(value))
        return [own[name] for name in found]

    def _attributes(self, value: Any, code: CodeNames) -> Iterable[Any]:
        kind = type(value)
        own = (
            getattr(value, "__dict__", None)
            if kind.__dictoffset__ or isinstance(value, types.SimpleNamespace)
            else None
        )
        found = []
        unseen = not code.trusted and keeps_unseen(kind)
        if is_users(kind.__module__) and not isinstance(value, types.FunctionType):
            for name in ("__class__", "__dict__") if own is not None else ("__class__",):
                self.note_place((name, id(value)), partial(Attribute, value, name, words_of(value)), value)
        skipped: Container[str] = bookkeeping(value) if code.trusted else ()
        if own is not None:
            names = own.keys() if unseen or (code.looks_up and not code.trusted) else code.names
            words = words_of(value)
            for name in list(names):
                if name in own and name not in skipped:
                    self.note(own, words, name, own[name], owner=id(value))
                    found.append(own[name])
        for name, _, member in self._members(kind, code):
            if isinstance(member, types.MemberDescriptorType):
                self.note_place(("slot", id(value), name), partial(Attribute, value, name, words_of(value)), value)
                found.append(getattr(value, name, None))
                continue
            if not code.trusted and answers_unseen(member):
                self._answer(value, name)
                continue
            may_be_patched = name not in skipped and (is_users(kind.__module__) or isinstance(value, PATCHED))
            if own is not None and may_be_patched and name not in own and not hasattr(type(member), "__set__"):
                self.note(own, words_of(value), name, ABSENT, owner=id(value))
            found += self._class_attribute(kind, name, code)
        self.note_absent(value, own, code)
        return found

    def _local(self, value: Any, code: CodeNames) -> Iterable[Any]:
        """What a thread keeps for itself: looked at in whatever thread a step runs."""
        for name in code.names:
            if name.isidentifier() and not hasattr(type(value), name):
                self.note_place(("local", id(value), name), partial(Attribute, value, name, "a thread"), value)
        return [getattr(value, name, None) for name in code.names if name.isidentifier()]

    def _members(self, kind: type, code: CodeNames) -> list[tuple[str, type, Any]]:
        """Returns the names of a piece of code that are attributes of a class: name, the class that has it, what."""
        key = (kind, id(code))
        found = self._found.get(key)
        if found is None:
            members_ = [(name, member_of(kind, name)) for name in code.names]
            found = self._found[key] = [(name, *member) for name, member in members_ if member is not None]
        return found

    def _answer(self, value: Any, name: str) -> None:
        """Notes what an attribute answers that a library computes, where that is a plain value."""
        if not isinstance(getattr(value, name, None), PLAIN):
            self.refuse(f"it reads `{name}` of {words_of(value)}, which cannot be watched")
        self.note_place(("answer", id(value), name), partial(Attribute, value, name, words_of(value)), value)

    def _class_attributes(self, kind: type, code: CodeNames) -> list[Any]:
        if kind is type:
            return []
        return [item for name in code.names for item in self._class_attribute(kind, name, code)]

    def _class_attribute(self, kind: type, name: str, code: CodeNames) -> list[Any]:
        """Notes and returns what a class, or, where `super` may be asked, each of its bases has under a name."""
        member = member_of(kind, name)
        if member is None:
            return []
        self.note_class(kind, member[0], name)
        found = [member[1]]
        if "super" in code.names:
            for base in kind.__mro__[kind.__mro__.index(member[0]) + 1 : -1]:
                self.note_class(base, base, name)
                found += [vars(base)[name]] if name in vars(base) else []
        return found

    def _function(self, function: types.FunctionType, code: CodeNames) -> Iterable[Any]:
        if not is_users(function.__module__ or ""):  # its own code and defaults are not watched
            return [getattr(cell, "cell_contents", None) for cell in function.__closure__ or () if is_full(cell)]
        words = f"the function {function.__qualname__}"
        for name in ("__defaults__", "__kwdefaults__", "__code__"):
            self.note_place((name, id(function)), partial(Attribute, function, name, words), function)
        found = [*(function.__defaults__ or ()), function.__kwdefaults__]
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
            held = f"`{name}` in the closure of {function.__qualname__}"
            self.note_place(("cell", id(cell)), partial(Attribute, cell, "cell_contents", held), cell)
            found.append(getattr(cell, "cell_contents", None) if is_full(cell) else None)
        return [*found, *self._attributes(function, code)]

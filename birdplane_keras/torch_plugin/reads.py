"""What a step read: the code that ran is watched, not the places where state is thought to live.

While a step is tried, `sys.setprofile` shows each Python function before its body runs. Its bytecode says which names
it may read or write (`code_names`); its arguments, closure and globals say on which objects. From these the names are
followed (`following`), through attributes, classes, modules, slots and containers, and what each place holds is noted,
before the function can change it. The state that a step reads is then the state to guard, and what it changed can be
put back.
"""

import dataclasses
import gc
import sys
import types
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from birdplane_keras.torch_plugin.code_names import CodeNames, is_users, names_of
from birdplane_keras.torch_plugin.errors import NotTraceableError, StateChangedError
from birdplane_keras.torch_plugin.following import Following
from birdplane_keras.torch_plugin.kinds import Kind, described, kind_of
from birdplane_keras.torch_plugin.places import Place

# Built-in functions that reach the outside world, or names that nobody sees.
_REFUSED_BUILTINS = {"print", "input", "open", "exec", "eval", "compile", "globals", "breakpoint"}
_CALLABLE_MODULES = {
    "builtins", "math", "cmath", "operator", "_operator", "itertools", "_functools", "functools", "_collections",
    "_collections_abc", "_abc", "_struct", "_bisect", "_heapq", "_weakref", "_warnings", "_thread", "_contextvars",
    "torch", "numpy", "optree", "sys", "_imp", "_sre", "_string", "_typing", "_codecs",
}  # fmt: skip
_NO_NAMES = CodeNames(code=(lambda: None).__code__)
# What is passed by without a look.
_PASSED_BY = frozenset({torch.Tensor, str, int, bool, float, type(None), bytes, complex, torch.dtype, torch.Size})
_WITH_STATE = {Kind.OBJECT, Kind.DICT, Kind.SEQUENCE, Kind.SET, Kind.ARRAY, Kind.OPAQUE}


class Reads(Following):
    """Under `with`, notes what the code that runs in this thread reads of Python's state.

    Args:
        roots: Objects that are there before the step.
        given: Containers that are made again for each step; not looked into.
        refuses: Stop at what cannot be watched, before it runs.
    """

    def __init__(self, roots: Iterable[Any], given: Iterable[Any] = (), refuses: bool = True) -> None:
        super().__init__(given, refuses)
        self.unrooted: dict[int, tuple[Any, str]] = {}  # id -> what only the user's own code was seen to hold
        self._roots = list(roots)
        self._codes: dict[int, CodeNames] = {}
        self._variants: dict[tuple, CodeNames] = {}
        self._entered: set[int] = set()
        self._fresh: set[int] = set()  # ids of objects that were made meanwhile
        self.makes_anew = ""
        self._outer: Any = None
        self._collects = True
        self._catching = 0  # depth of calls of the user's own code that may catch what is raised
        self._muted = 0  # depth of calls that show a warning, import or name an object

    def __enter__(self) -> "Reads":
        self._outer = sys.getprofile()
        for root in self._roots:
            self.alive[id(root)] = root
            self.rooted.add(id(root))
            if isinstance(root, types.FunctionType) and is_users(root.__module__ or ""):
                self.follow(root, _NO_NAMES, True)
        self._collects = gc.isenabled()
        gc.disable()  # who is called where garbage is collected, no step computes with
        sys.setprofile(self._on_event)
        return self

    def __exit__(self, *_: object) -> None:
        if self._outer is None or callable(self._outer):
            sys.setprofile(self._outer)
        else:  # of cProfile, until Python 3.12
            self._outer.enable()
        if self._collects:
            gc.enable()

    def check(self) -> None:
        """Raises where something ran that cannot be watched, also if the user's code caught it then."""
        if self.makes_anew:
            raise StateChangedError(self.makes_anew)
        if self.refusal:
            raise NotTraceableError(self.refusal)

    def to_put_back(self) -> list[Place]:
        """Returns the places of objects that were there before."""
        return [place for key, place in self.places.items() if self.owners[key] not in self._fresh]

    def _on_event(self, frame: types.FrameType, event: str, argument: Any) -> None:
        if event in ("c_return", "c_exception"):
            return
        code = self._codes.get(id(frame.f_code))
        if code is None:
            code = self._code(frame)
        if code.mutes or self._muted:  # what shows a warning, imports or names an object: no step computes with it
            self._muted += (event == "call") - (event == "return") if code.mutes else 0
            return
        if event == "call":
            if code.skipped:
                if code.refused or code.refused_by_users:
                    self._check_call(frame, code)
                return
            self._catching += code.catches
            self._enter(frame, code)
        elif event == "return":
            self._catching -= code.catches
            if argument is not None and type(argument) not in _PASSED_BY and frame.f_back is not None:
                caller = self._codes.get(id(frame.f_back.f_code))
                if caller is not None and not caller.skipped:
                    self.follow(argument, caller, id(argument) in self.rooted)
            if not code.skipped and not code.trusted:
                self._leave(frame, code)
        elif event == "c_call" and not code.trusted and not code.skipped:
            self._check_builtin(argument, code)

    def _code(self, frame: types.FrameType) -> CodeNames:
        code = names_of(frame.f_code, frame.f_globals.get("__name__") or "")
        self._codes[id(frame.f_code)] = code
        return code

    def _check_call(self, frame: types.FrameType, code: CodeNames) -> None:
        caller = frame.f_back and (self._codes.get(id(frame.f_back.f_code)) or self._code(frame.f_back))
        if caller is None or caller.skipped:
            return
        if self.refuses and caller.trusted and frame.f_globals.get("__name__") == "random":
            self.makes_anew = "it seeds what it makes"  # as Keras does where it makes a generator
            raise StateChangedError(self.makes_anew)
        if code.refused or not caller.trusted:
            self.refuse(code.refused or code.refused_by_users)

    def _check_builtin(self, function: Any, code: CodeNames) -> None:
        owner = getattr(function, "__self__", None)
        name = getattr(function, "__name__", "?")
        if isinstance(owner, types.ModuleType) or owner is None:
            module = getattr(function, "__module__", None) or "builtins"
            if module.partition(".")[0] not in _CALLABLE_MODULES or module.startswith("numpy.random"):
                self.refuse(f"it calls `{module}.{name}`")
            if module == "builtins" and name in _REFUSED_BUILTINS:
                self.refuse(f"it calls `{name}`")
        elif id(owner) in self.rooted and kind_of(type(owner)) is Kind.OPAQUE:
            self.refuse(f"it calls `{name}` of {described(owner)}, whose state cannot be watched")
        elif isinstance(owner, np.random.RandomState | np.random.Generator) and id(owner) not in self._fresh:
            self.refuse("it draws from NumPy's random numbers")

    def _enter(self, frame: types.FrameType, code: CodeNames) -> None:
        local = frame.f_locals
        if frame.f_code.co_name == "__init__" and "self" in local:
            self._fresh.add(id(local["self"]))
        if code.looks_up and code.trusted:
            code = self._with_strings_in(local, code)
        elif self._catching and not code.catches and not code.trusted:
            code = self._variant(code, (), catches=True)
        if id(code) not in self._entered:
            self._entered.add(id(code))
            self.follow_globals(frame.f_globals, code)
        for value in local.values():
            if type(value) not in _PASSED_BY:
                self.follow(value, code, id(value) in self.rooted)

    def _leave(self, frame: types.FrameType, code: CodeNames) -> None:
        for name, value in frame.f_locals.items():
            if type(value) in _PASSED_BY or id(value) in self._given or id(value) in self._fresh:
                continue
            if id(value) not in self.rooted:
                self.follow(value, code, False)
                if kind_of(type(value)) in _WITH_STATE:
                    self.unrooted.setdefault(id(value), (value, f"`{name}` in `{code.code.co_qualname}`"))

    def _with_strings_in(self, local: dict[str, Any], code: CodeNames) -> CodeNames:
        """Keras' code looks attributes up by names that it is given."""
        strings = frozenset(value for value in local.values() if type(value) is str and value not in code.names)
        if not strings:
            return code
        return self._variant(code, strings, names=code.names | strings, strings=code.strings | strings, looks_up=False)

    def _variant(self, code: CodeNames, key: Any, **changes: Any) -> CodeNames:
        """Returns what is known of a code object with changes, one for each key."""
        if (id(code), key) not in self._variants:
            self._variants[id(code), key] = dataclasses.replace(code, **changes)
        return self._variants[id(code), key]

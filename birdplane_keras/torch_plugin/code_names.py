"""Which names a piece of code may read or write: seen in its bytecode, before it runs."""

import dis
import functools
import sys
import types
from dataclasses import dataclass
from typing import Any

from birdplane_keras.torch_plugin.private_keras import auto_name

# Whose code is seen to read state, and is trusted with objects that cannot be watched, such as locks.
_TRUSTED = ("keras", "torch.nn")
# Whose code is not looked into: what it computes depends on its arguments only.
_SKIPPED_PACKAGES = {
    "torch",
    "numpy",
    "optree",
    "ml_dtypes",
    "scipy",
    "sympy",
    "packaging",
    "absl",
    "typing_extensions",
}
_OWN = "birdplane_keras.torch_plugin"
# Of the standard library: what a step may call, as it neither remembers anything nor reaches the outside world.
_PURE = {
    "__future__", "_collections_abc", "_weakrefset", "abc", "ast", "bisect", "cmath", "collections", "contextlib",
    "contextvars", "copy", "copyreg", "dataclasses", "decimal", "dis", "enum", "fractions", "functools", "heapq",
    "importlib", "inspect", "itertools", "keyword", "linecache", "math", "numbers", "operator", "re", "reprlib",
    "statistics", "string", "textwrap", "tokenize", "traceback", "types", "typing", "warnings", "weakref", "threading",
}  # fmt: skip
# What changes how every later step draws; a replay would not do it.
_REFUSED = {"torch.random", "torch.cuda.random"}
_LOOKS_UP = {"getattr", "setattr", "hasattr", "delattr", "vars", "__dict__", "attrgetter", "__getattribute__", "dir"}
_LONGEST_NAME = 60


@dataclass(frozen=True, kw_only=True, eq=False)
class CodeNames:
    """What is known of a code object.

    Args:
        code: The code; held, so that its id stays its own.
        names: Attributes and globals that it names, and strings that may be names or keys.
        strings: Those that are strings.
        looks_up: Whether it may name an attribute by a string that is made while it runs.
        catches: Whether it may catch that a name is missing, or is called by the user's code that may.
        trusted: Whether it is Keras' or a PyTorch module's.
        skipped: Whether nothing of it is looked at.
        mutes: Whether nothing of what it calls is looked at, either.
        refused: Why a step that runs it cannot be traced; empty where it can.
        refused_by_users: The same, where the user's own code calls it.
    """

    code: types.CodeType
    names: frozenset[str] = frozenset()
    strings: frozenset[str] = frozenset()
    looks_up: bool = False
    catches: bool = False
    trusted: bool = False
    skipped: bool = False
    mutes: bool = False
    refused: str = ""
    refused_by_users: str = ""


def names_of(code: types.CodeType, module: str) -> CodeNames:
    """Returns what a code object may read.

    Args:
        code: Of a function that is about to run.
        module: Name of the module whose globals it sees.
    """
    package = module.partition(".")[0]
    if module.startswith(_OWN):
        return CodeNames(code=code, skipped=True)
    if module == "warnings" or module.startswith("importlib.") or code is auto_name.__code__:
        return CodeNames(code=code, skipped=True, mutes=True)
    if module in _REFUSED:
        return CodeNames(code=code, skipped=True, refused=f"it calls `{module}.{code.co_name}`")
    trusted = any(module == each or module.startswith(f"{each}.") for each in _TRUSTED)
    if package in sys.stdlib_module_names and package not in _PURE and package != "__main__":
        # What of the standard library remembers or reaches out, such as `random`, `time` and `logging`.
        return CodeNames(code=code, skipped=True, refused_by_users=f"it calls `{module}.{code.co_qualname}`")
    if not trusted and (package in _SKIPPED_PACKAGES or (package in sys.stdlib_module_names and package != "__main__")):
        return CodeNames(code=code, skipped=True)
    strings = frozenset(_strings_in(code.co_consts))
    return CodeNames(
        code=code,
        names=frozenset(code.co_names) | strings,
        strings=strings,
        looks_up=bool(_LOOKS_UP.intersection(code.co_names)) or (not trusted and matches_classes(code)),
        catches=bool(code.co_exceptiontable) and not trusted,
        trusted=trusted,
    )


def matches_classes(code: types.CodeType) -> bool:
    """Tells whether code holds a pattern such as `case Point(x=0)`, which asks for attributes that may be missing."""
    return any(instruction.opname == "MATCH_CLASS" for instruction in dis.get_instructions(code))


@functools.cache
def is_users(module: str) -> bool:
    """Tells whether a module is neither Keras', PyTorch's, NumPy's nor of the standard library."""
    package = module.partition(".")[0]
    libraries = _SKIPPED_PACKAGES | {"keras", "builtins"}
    if module.startswith(_OWN):
        return False
    return module == "__main__" or (package not in libraries and package not in sys.stdlib_module_names)


def _strings_in(constants: tuple[Any, ...]) -> list[str]:
    found = []
    for constant in constants:
        if isinstance(constant, tuple):
            found += _strings_in(constant)
        elif isinstance(constant, str) and len(constant) <= _LONGEST_NAME:
            found.append(constant)
    return found

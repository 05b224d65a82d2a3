"""Loads the pair that `package.module:function` makes; says which file that is without running it."""

import contextlib
import dataclasses
import hashlib
import importlib
import os
import pkgutil
import sys
from collections.abc import Iterable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from birdplane_keras.errors import PairError, errors_of_pair

WANTED = "expected --pair package.module:function, a function without arguments that returns a Pair, received"


def load_pair(source: str) -> Any:
    """Calls `package.module:function` and returns the `Pair` that it makes; the current folder is searched first.

    Raises:
        PairError: There is no such function, it fails, it ends the program, or it makes something else.
    """
    module_name, name = split_source(source)
    with current_folder_importable():
        with errors_of_pair(f"{WANTED} {source!r}: {module_name} cannot be imported"):
            module = importlib.import_module(module_name)
            make = getattr(module, name, None)
        if not callable(make):
            raise PairError(f"{WANTED} {source!r}: {module_name} has no function {name}")
        from birdplane_keras.parity import Pair

        with errors_of_pair(f"{source} failed"):
            pair = make()
    if not isinstance(pair, Pair):
        raise PairError(f"{WANTED} {source!r}, which returned {type(pair).__name__}")
    return dataclasses.replace(pair, source=source)


def split_source(source: str) -> tuple[str, str]:
    """Returns the module and the function that `package.module:function` names.

    Raises:
        PairError: It names none.
    """
    module_name, _, name = source.partition(":")
    if not module_name or not name:
        raise PairError(f"{WANTED} {source!r}")
    if "/" in module_name or module_name.endswith(".py"):
        as_module = module_name.removesuffix(".py").strip("./").replace("/", ".")
        raise PairError(f"{WANTED} {source!r}, a path: write {as_module}:{name}, and run it in the folder above")
    return module_name, name


def describe_source(source: str) -> str:
    """Returns the file that a source lies in, and its SHA-256 sum, in words. Nothing is imported for it."""
    with current_folder_importable():
        file = find_file(split_source(source)[0])
    if file is None:
        return f"{source}, which no file holds"
    return f"{source} in {file}, sha256 {hashlib.sha256(file.read_bytes()).hexdigest()}"


def find_file(module_name: str) -> Path | None:
    """Returns the file of a module, as an import would find it; `None` where it has none or cannot be found.

    `importlib.util.find_spec` would import the packages above it.
    """
    first, *others = module_name.split(".")
    specs = (finder.find_spec(first, None) for finder in sys.meta_path if hasattr(finder, "find_spec"))
    spec, name = next((spec for spec in specs if spec is not None), None), first
    for part in others:
        if spec is None:
            return None
        name = f"{name}.{part}"
        spec = find_below(name, spec.submodule_search_locations or ())
    if spec is None:
        return None
    frozen = getattr(spec.loader_state, "filename", None)  # of a module that the interpreter brings compiled
    file = spec.origin if spec.has_location else frozen
    return None if file is None else Path(file)


def find_below(name: str, places: Iterable[str]) -> ModuleSpec | None:
    """Returns what a module in a package is made from; a package without a file may lie in several places."""
    parts: list[str] = []
    for place in places:
        finder = pkgutil.get_importer(place)
        spec = None if finder is None else finder.find_spec(name)
        if spec is not None and spec.loader is not None:
            return spec
        parts += [] if spec is None else spec.submodule_search_locations or []
    if not parts:
        return None
    found = ModuleSpec(name, None, is_package=True)
    found.submodule_search_locations = parts
    return found


@contextlib.contextmanager
def current_folder_importable() -> Iterator[None]:
    """Within it, modules of the current folder are found, before any others."""
    folder = os.getcwd()
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)

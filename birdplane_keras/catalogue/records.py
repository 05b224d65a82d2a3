"""What the catalogue is made of, and the decorators that turn a function from a seed to a pair into an entry."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import torch

from birdplane_keras.parity import Pair

Make = Callable[[int], Pair]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A port that is right but for one mistake.

    Args:
        name: Of the mistake, unique in the catalogue.
        mistake: What the porter did, in a sentence.
        make: Builds the pair from a seed.
        rung: The first rung that is to fail.
        cause: What the diagnosis is to call it.
    """

    name: str
    mistake: str
    make: Make
    rung: str
    cause: str


@dataclass(frozen=True, kw_only=True)
class Clean:
    """A port without a mistake: its name, and what builds the pair from a seed."""

    name: str
    make: Make


def seeded(function: Make) -> Make:
    """Returns the function with both frameworks seeded before it."""

    @functools.wraps(function)
    def make(seed: int) -> Pair:
        keras.utils.set_random_seed(seed)
        torch.manual_seed(seed)
        return function(seed)

    return make


def source_of(entry: "Fault | Clean") -> tuple[Path, str]:
    """Returns the file in which an entry's pair is built, and the function that builds it."""
    build: Any = inspect.unwrap(entry.make)
    while isinstance(build, functools.partial):
        build = build.func
    return Path(inspect.getsourcefile(build) or ""), inspect.getsource(build)


def fault(mistake: str, *, rung: str, cause: str) -> Callable[[Make], Fault]:
    """Turns a function into the fault of its name."""
    return lambda function: Fault(
        name=function.__name__, mistake=mistake, make=seeded(function), rung=rung, cause=cause
    )


def clean(function: Make) -> Clean:
    """Turns a function into the clean pair of its name."""
    return Clean(name=function.__name__, make=seeded(function))

"""Changes of a Keras layer, or of anything, for a while: how a fix is tried on the port without keeping it."""

import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from birdplane_keras.parity.kinds.kind import Repair

ABSENT = object()


@contextmanager
def attributes_set(member: Any, **values: Any) -> Iterator[None]:
    """Within it, a layer (or any object) has other attributes of its own, past whatever watches them."""
    own = vars(member)
    before = {name: own.get(name, ABSENT) for name in values}
    own.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is ABSENT:
                own.pop(name, None)
            else:
                own[name] = value


@contextmanager
def class_set(member: Any, other: type) -> Iterator[None]:
    """Within it, a layer is of another class that keeps the same in its attributes."""
    before = type(member)
    object.__setattr__(member, "__class__", other)
    try:
        yield
    finally:
        object.__setattr__(member, "__class__", before)


def setting(**values: Any) -> Repair:
    """Returns what sets attributes of a layer."""
    return lambda layer: attributes_set(layer, **values)


def calling(function: Callable[..., Any]) -> Repair:
    """Returns what gives a layer another `call`: function(layer, inputs, ...)."""
    return lambda layer: attributes_set(layer, call=types.MethodType(function, layer))

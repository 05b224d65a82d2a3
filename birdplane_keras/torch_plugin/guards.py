"""Guards: the state that a traced step was seen to read, looked at before each replay."""

import copy
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from itertools import chain
from operator import attrgetter
from typing import Any

import torch

from birdplane_keras.torch_plugin.checks import Check, changed, is_whole
from birdplane_keras.torch_plugin.places import PLAIN, Names, Place, Whole

# What a replay does not look at, and stock Keras would. Only what needs a gradient can have hooks on it.
_FACTS = {"requires_grad": "`requires_grad`", "dtype": "the type"}
_HOOKS = dict.fromkeys(("_backward_hooks", "_post_accumulate_grad_hooks"), "a hook on the gradient")
_facts, _hooks = attrgetter(*_FACTS), attrgetter(*_HOOKS)


class Guards:
    """Tells whether the state that a step read is still what it was.

    Args:
        places: Key -> place, with what it holds while the trace is valid.
        tensors: Whose type and need of a gradient are to stay; their numbers may change.
    """

    def __init__(self, places: Mapping[tuple, Place], tensors: Iterable[torch.Tensor] = ()) -> None:
        found = {key: own for key, place in places.items() if (own := without_code(place)) is not None}
        self.state = Check({key: place for key, place in found.items() if place.before or is_whole(place)})
        self.code = Check({key: own for key, place in places.items() if (own := code_of(place)).before})
        self.tensors = list(tensors)
        self._hooked = [tensor for tensor in self.tensors if tensor.requires_grad]
        self._facts, self._hooks = [*map(_facts, self.tensors)], [*map(_hooks, self._hooked)]
        self._ids = {id(value) for place in self.state.places.values() for value in held_by(place)}

    def hold(self) -> bool:
        """Tells whether everything is as it was, but for the code of libraries: before each replay."""
        return (
            self.state.hold()
            and [*map(_facts, self.tensors)] == self._facts
            and [*map(_hooks, self._hooked)] == self._hooks
        )

    def first_change(self) -> str | None:
        """Returns the name of the first place that holds something else; `None` where all are as they were."""
        found = changed([*self.state.places.values(), *self.code.places.values()])
        if found is not None:
            return found
        for tensors, read, known, words in (
            (self.tensors, _facts, self._facts, _FACTS),
            (self._hooked, _hooks, self._hooks, _HOOKS),
        ):
            for tensor, facts in zip(tensors, known, strict=True):
                for what, one, other in zip(words.values(), read(tensor), facts, strict=True):
                    if one != other:
                        return f"{what} of a weight"
        return None

    def holds(self, tensor: torch.Tensor) -> bool:
        """Tells whether a guarded place holds this tensor, so that its replacement would be seen."""
        return id(tensor) in self._ids

    def count(self) -> int:
        """Returns how many values are looked at before each replay."""
        return sum(len(held_by(place)) for place in self.state.places.values()) + len(self.tensors)


def held_by(place: Place) -> list[Any]:
    """Returns the values that a place holds, each item of a container by itself."""
    if isinstance(place, Whole):
        held = place.before[None]
        return list(held) if isinstance(held, list | set) else [held]
    values: list[Any] = []
    for value in place.before.values():
        values += [value, *value] if isinstance(value, tuple) and len(value) < 1000 else [value]
    return values


def merged(guards: Iterable[Guards]) -> Guards:
    """Returns guards over all places and tensors of several."""
    places: dict[tuple, Place] = {}
    tensors: dict[int, torch.Tensor] = {}
    for each in guards:
        for key, place in chain(each.state.places.items(), each.code.places.items()):
            if key not in places:
                places[key] = place
            elif isinstance(place, Names):
                places[key] = with_keys(places[key], places[key].before | place.before)
        tensors |= {id(tensor): tensor for tensor in each.tensors}
    return Guards(places, tensors.values())


def with_keys(place: Place, before: dict) -> Place:
    """Returns a copy of a place that holds other keys."""
    found = copy.copy(place)
    found.before = before
    return found


def without_code(place: Place) -> Place | None:
    """Returns a place without the functions, classes and modules in it, where it is a library's; `None` if all is."""
    if not place.of_library:
        return place
    if is_whole(place):
        return None
    return with_keys(place, {key: value for key, value in place.before.items() if is_a_setting(key, value)})


def code_of(place: Place) -> Place:
    """Returns a place with its functions, classes and modules only, and none where it is not a library's."""
    if place.of_library and is_whole(place):
        return place
    kept = {key: value for key, value in place.before.items() if not is_a_setting(key, value)}
    return with_keys(place, kept if place.of_library else {})


def is_a_setting(key: Any, value: Any) -> bool:
    """Tells whether a library's module or class holds a plain value, or hooks, that may be set while it is at work."""
    return isinstance(value, (*PLAIN, OrderedDict)) and key != "__name__"

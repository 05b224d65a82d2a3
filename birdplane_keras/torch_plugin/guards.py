"""Guards: the state that a traced step was seen to read, looked at before each replay, at the speed of C."""

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from operator import attrgetter, call, eq, is_, itemgetter
from typing import Any

import torch

from birdplane_keras.torch_plugin.places import ABSENT, PLAIN, Attribute, Items, Names, Place, Reading, Whole

# What a replay does not look at, and stock Keras would.
_FACTS = {
    "requires_grad": "`requires_grad`",
    "dtype": "the type",
    "_backward_hooks": "a hook on the gradient",
    "_post_accumulate_grad_hooks": "a hook on the gradient",
}
_facts = attrgetter(*_FACTS)


class Check:
    """Tells whether places still hold what they held, at the speed of C where they do.

    Args:
        places: Key -> place.
    """

    def __init__(self, places: dict[tuple, Place]) -> None:
        self.places = places
        self._prepare()

    def _prepare(self) -> None:
        places = list(self.places.values())
        names = [place for place in places if isinstance(place, Names)]
        attributes = [
            each for each in places if isinstance(each, Attribute) and each.before[each.attribute] is not ABSENT
        ]
        lists = [place for place in places if isinstance(place, Whole) and isinstance(place.held, list)]
        sets = [place for place in places if isinstance(place, Whole) and isinstance(place.held, set)]
        dicts = [place for place in names if isinstance(place, Items)]
        fast = {id(place) for place in [*names, *attributes, *lists, *sets]}
        self._others = [place for place in places if id(place) not in fast]
        self._sets = [place.held for place in sets]
        self._set_values = [place.before[None] for place in sets]
        told_apart = [(place, keys_held(place, tells_apart)) for place in names]
        others = [(place, keys_held(place, lambda value: not tells_apart(value))) for place in names]
        self._picks = [itemgetter(*keys) for _, keys in told_apart if keys]
        self._mappings = [place.mapping for place, keys in told_apart if keys]
        self._tuples = [tuple([place.before[key] for key in keys]) for place, keys in told_apart if keys]
        self._other_picks = [itemgetter(*keys) for _, keys in others if keys]
        self._other_mappings = [place.mapping for place, keys in others if keys]
        self._values = [place.before[key] for place, keys in others for key in keys]
        absent = [(place, missing) for place in names if (missing := keys_not_held(place))]
        self._free = [place.mapping.keys().isdisjoint for place, _ in absent]
        self._names = [missing for _, missing in absent]
        self._items = [place.held for place in lists]
        self._item_values = [value for place in lists for value in place.before[None]]
        self._lengths = [len(place.before[None]) for place in lists]
        self._dicts = [place.mapping for place in dicts]
        self._dict_lengths = list(map(len, self._dicts))
        self._readers = [attrgetter(place.attribute) for place in attributes]
        self._owners = [place.held for place in attributes]
        self._single_values = [place.before[place.attribute] for place in attributes]

    def hold(self) -> bool:
        """Tells whether every place holds what it held."""
        try:
            same_objects = (
                all(map(eq, map(call, self._picks, self._mappings), self._tuples))
                and all(map(is_, chain.from_iterable(map(call, self._other_picks, self._other_mappings)), self._values))
                and all(map(call, self._free, self._names))
                and all(map(eq, map(len, self._items), self._lengths))
                and all(map(eq, map(len, self._dicts), self._dict_lengths))
                and all(map(is_, chain.from_iterable(self._items), self._item_values))
                and all(map(eq, self._sets, self._set_values))
                and all(map(is_, map(call, self._readers, self._owners), self._single_values))
            )
        except (LookupError, AttributeError, ValueError, TypeError, RuntimeError):
            same_objects = False
        if same_objects:
            return not self._others or changed(self._others) is None
        if changed(self.places.values()) is not None:
            return False
        self._renew()
        return True

    def _renew(self) -> None:
        """Takes other objects of equal value for what is to be there."""
        for place in self.places.values():
            if isinstance(place, Whole):
                place.before = {None: place.now(None)}
            else:
                place.before = {key: place.now(key) for key in place.before}
        self._prepare()


class Guards:
    """Tells whether the state that a step read is still what it was.

    Args:
        places: Key -> place, with what it holds while the trace is valid.
        tensors: Whose type and need of a gradient are to stay; their numbers may change.
    """

    def __init__(self, places: Mapping[tuple, Place], tensors: Iterable[torch.Tensor] = ()) -> None:
        found = {key: without_code(place) for key, place in places.items()}
        self.state = Check({key: place for key, place in found.items() if place.before or is_whole(place)})
        self.code = Check({key: own for key, place in places.items() if (own := code_of(place)).before})
        self.tensors = list(tensors)
        self._facts = list(map(_facts, self.tensors))
        self._ids = {id(value) for place in self.state.places.values() for value in held_by(place)}

    def hold(self) -> bool:
        """Tells whether everything is as it was, but for the code of libraries: before each replay."""
        return self.state.hold() and list(map(_facts, self.tensors)) == self._facts

    def first_change(self) -> str | None:
        """Returns the name of the first place that holds something else; `None` where all are as they were."""
        found = changed([*self.state.places.values(), *self.code.places.values()])
        if found is not None:
            return found
        for tensor, facts in zip(self.tensors, self._facts, strict=True):
            now = _facts(tensor)
            if now != facts:
                which = next(n for n, one, other in zip(_FACTS.values(), now, facts, strict=True) if one != other)
                return f"{which} of a weight"
        return None

    def holds(self, tensor: torch.Tensor) -> bool:
        """Tells whether a guarded place holds this tensor, so that its replacement would be seen."""
        return id(tensor) in self._ids

    def count(self) -> int:
        """Returns how many values are looked at before each replay."""
        return sum(len(held_by(place)) for place in self.state.places.values()) + len(self.tensors)


def changed(places: Iterable[Place]) -> str | None:
    """Returns the name of the first place that holds something else; `None` where all are as they were."""
    for place in places:
        for _, key, _, _ in place.changes():
            return place.name(key)
    return None


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


def without_code(place: Place) -> Place:
    """Returns a place without the functions, classes and modules in it, where it is a library's."""
    if not place.of_library:
        return place
    if is_whole(place):
        return with_keys(Place.__new__(Reading), {})
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


def is_whole(place: Place) -> bool:
    """Tells whether a place is looked at as a whole, also where it is empty."""
    return isinstance(place, Items | Whole)


def tells_apart(value: Any) -> bool:
    """Tells whether `==` is true of a value and itself only, or of an equal string: then tuples are compared, in C."""
    return value is None or type(value) is str or type(value).__eq__ is object.__eq__


def keys_held(place: Place, chosen: Callable[[Any], bool]) -> list[Any]:
    """Returns the keys that hold a chosen value; one of them twice where it is alone, as `itemgetter` wants it."""
    held = [key for key, value in place.before.items() if value is not ABSENT and chosen(value)]
    return held * 2 if len(held) == 1 else held


def keys_not_held(place: Place) -> frozenset:
    """Returns the keys that hold nothing."""
    return frozenset(key for key, value in place.before.items() if value is ABSENT)

"""A look at many places at once, at the speed of C where they hold what they held."""

import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable
from itertools import chain
from operator import attrgetter, call, eq, is_, itemgetter
from typing import Any, TypeGuard

from birdplane_keras.torch_plugin.places import ABSENT, Attribute, Items, Names, Place, Whole

try:  # a number that changes with each change of a dictionary; PyTorch's compiler watches by it, too
    from torch._C._dynamo.guards import dict_version
except ImportError:
    dict_version = None  # type: ignore[assignment] # a PyTorch without it: each key is looked at, each time
HAS_VERSIONS = dict_version is not None and sys.version_info < (3, 13)  # where every way of changing one was tried

Look = Callable[[], bool]  # whether what it looks at is as it was


class Check:
    """Tells whether places still hold what they held.

    A dictionary whose version is what it was is not looked into. Where the version is another, its keys are, and it
    counts as restless, to be looked into each time, once it has changed between two looks in a row.

    Args:
        places: Key -> place.
    """

    def __init__(self, places: dict[tuple, Place]) -> None:
        self.places = places
        self._known: tuple[list[dict], list[int | None]] = ([], [])  # steady dictionaries, and their versions
        self._restless: set[int] = set()
        self._quiet = True
        self._prepare()

    def _prepare(self) -> None:
        places = list(self.places.values())
        steady = [place for place in places if has_version(place) and id(place.mapping) not in self._restless]
        known = {id(mapping): version for mapping, version in zip(*self._known, strict=True)}
        mappings = {id(place.mapping): place.mapping for place in steady}
        self._known = (list(mappings.values()), [known.get(each) for each in mappings])
        left = {id(place) for place in steady}
        places = [place for place in places if id(place) not in left]
        names = [place for place in places if isinstance(place, Names) and not skips(place)]
        attributes = [
            each for each in places if isinstance(each, Attribute) and each.before[each.attribute] is not ABSENT
        ]
        wholes = [place for place in places if isinstance(place, Whole)]
        alike = [place for place in wholes if is_alike(place)]
        lists = [place for place in wholes if isinstance(place.held, list) and not is_alike(place)]
        fast = {id(place) for place in [*names, *attributes, *lists, *alike]}
        self._others = [place for place in places if id(place) not in fast]
        looks = [
            at_versions(*self._known),
            *at_names(names),
            at_copies(alike),
            *at_lists(lists),
            at_attributes(attributes),
        ]
        self._looks = [look for look in looks if look is not None]

    def hold(self) -> bool:
        """Tells whether every place holds what it held."""
        try:
            same_objects = all(look() for look in self._looks)
        except (LookupError, AttributeError, ValueError, TypeError, RuntimeError):
            same_objects = False
        if same_objects:
            self._quiet = True
            return not self._others or changed(self._others) is None
        steady, before = self._known  # once: another thread may renew them meanwhile
        versions: list[int | None] = list(map(dict_version, steady))  # read before what they stand for
        if changed(self.places.values()) is not None:
            return False
        self._renew(steady, before, versions)
        return True

    def _renew(self, steady: list[dict], before: list[int | None], versions: list[int | None]) -> None:
        """Takes other objects of equal value for what is to be there, and the versions of what was found unchanged."""
        if not self._quiet:
            moved = zip(steady, before, versions, strict=True)
            self._restless |= {id(mapping) for mapping, then, now in moved if then is not None and then != now}
        self._quiet, self._known = False, (steady, versions)
        for place in self.places.values():
            place.renew()
        self._prepare()


def at_versions(steady: list[dict], versions: list[int | None]) -> Look | None:
    """Returns a look at the versions of dictionaries."""
    return (lambda: [*map(dict_version, steady)] == versions) if steady else None


def at_names(places: list[Names]) -> list[Look | None]:
    """Returns looks at the keys of dictionaries: those compared by `==`, those by `is`, absent ones, all in order."""
    told_apart = [(place, keys) for place in places if (keys := keys_held(place, tells_apart))]
    others = [(place, keys) for place in places if (keys := keys_held(place, lambda value: not tells_apart(value)))]
    picks, mappings = [itemgetter(*keys) for _, keys in told_apart], [place.mapping for place, _ in told_apart]
    tuples = [tuple([place.before[key] for key in keys]) for place, keys in told_apart]
    other_picks, other_mappings = [itemgetter(*keys) for _, keys in others], [place.mapping for place, _ in others]
    values = [place.before[key] for place, keys in others for key in keys]
    absent = [(place, missing) for place in places if (missing := keys_not_held(place))]
    free, missing_names = [place.mapping.keys().isdisjoint for place, _ in absent], [names for _, names in absent]
    whole = [place for place in places if isinstance(place, Items)]
    empty = [place.mapping for place in whole if not place.before]
    full = [place.mapping for place in whole if place.before]
    orders = [[*place.before] for place in whole if place.before]
    return [
        (lambda: all(map(eq, map(call, picks, mappings), tuples))) if picks else None,
        (lambda: all(map(is_, chain.from_iterable(map(call, other_picks, other_mappings)), values)))
        if values
        else None,
        (lambda: all(map(call, free, missing_names))) if free else None,
        (lambda: not any(empty)) if empty else None,
        (lambda: all(map(eq, map(list, full), orders))) if full else None,
    ]


def at_copies(places: list[Whole]) -> Look | None:
    """Returns a look at lists and sets that equal a copy only if they are what they were."""
    held, copies = [place.held for place in places], [place.before[None] for place in places]
    return (lambda: all(map(eq, held, copies))) if held else None


def at_lists(places: list[Whole]) -> list[Look | None]:
    """Returns looks at the length and at each item of lists."""
    held, lengths = [place.held for place in places], [len(place.before[None]) for place in places]
    items = [item for place in places for item in place.before[None]]
    if not held:
        return []
    return [
        lambda: all(map(eq, map(len, held), lengths)),
        lambda: all(map(is_, chain.from_iterable(held), items)),
    ]


def at_attributes(places: list[Attribute]) -> Look | None:
    """Returns a look at what no dictionary holds."""
    readers, owners = [attrgetter(place.attribute) for place in places], [place.held for place in places]
    values = [place.before[place.attribute] for place in places]
    return (lambda: all(map(is_, map(call, readers, owners), values))) if readers else None


def changed(places: Iterable[Place]) -> str | None:
    """Returns the name of the first place that holds something else; `None` where all are as they were."""
    for place in places:
        for _, key, _, _ in place.changes():
            return place.name(key)
    return None


def is_whole(place: Place) -> bool:
    """Tells whether a place is looked at as a whole, also where it is empty."""
    return isinstance(place, Items | Whole)


def has_version(place: Place) -> TypeGuard[Names]:
    """Tells whether all that a place holds is in a dictionary with a version, which each change of it changes."""
    if not HAS_VERSIONS or not isinstance(place, Names) or not place.mapping:
        return False  # Python 3.12 does not tell of an update of an empty one
    if isinstance(place, Items):  # the order of an `OrderedDict` changes without it
        return len(place.before) < 2 or not isinstance(place.mapping, OrderedDict)
    return type(place.mapping) is dict


def skips(place: Names) -> bool:
    """Tells whether a dictionary has items that are passed over: its others are then looked at one by one."""
    return isinstance(place, Items) and [*place.mapping] != [*place.before]


def is_alike(place: Whole) -> bool:
    """Tells whether `==` is true of a list or a set and a copy of it only."""
    if isinstance(place.held, set):
        return True
    own = type(place.held).__eq__ is list.__eq__
    return own and isinstance(place.held, list) and all(map(tells_apart, place.before[None]))


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

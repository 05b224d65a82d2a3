"""Places from which Python code can read a number: how a step reads it, and how somebody changes it.

Each entry makes a function that returns a number, and one that changes what it will return. The reading is written out
in code, as a user would write it, so that what sees it must see it there.
"""

import collections
import dataclasses
import enum
import functools
import itertools
import os
import threading
import types
import weakref
from collections.abc import Callable, Iterator

import numpy as np

Place = tuple[Callable[[], float], Callable[[], None]]  # read, change
PLACES: dict[str, Callable[[], Place]] = {}
BEFORE, AFTER = 1.0, 0.25
SCALE = BEFORE
SETTINGS = types.ModuleType("settings_of_the_hunt")


def place(make: Callable[[], Place]) -> Callable[[], Place]:
    """Registers a place under its function's name, in words."""
    PLACES[make.__name__.replace("_", " ")] = make
    return make


class Holder:
    """Holds a number in some ways.

    Args:
        scale: The number.
    """

    SHARED = BEFORE

    def __init__(self, scale: float = BEFORE) -> None:
        self.scale = scale
        self._scale = scale

    @property
    def through_property(self) -> float:
        """The number."""
        return self._scale

    def method(self) -> float:
        """Returns the number."""
        return self.scale

    def __call__(self) -> float:
        return self.scale


class Other(Holder):
    """Answers otherwise."""

    def method(self) -> float:
        """Returns half of the number."""
        return self.scale * 0.5


@dataclasses.dataclass(slots=True)
class Slotted:
    """Holds a number in a slot."""

    scale: float = BEFORE


class Mode(enum.Enum):
    """Which number."""

    ONE = BEFORE
    QUARTER = AFTER


@place
def an_attribute() -> Place:
    holder = Holder()
    return lambda: holder.scale, lambda: setattr(holder, "scale", AFTER)


@place
def a_nested_attribute() -> Place:
    outer = types.SimpleNamespace(inner=Holder())
    return lambda: outer.inner.scale, lambda: setattr(outer.inner, "scale", AFTER)


@place
def a_nested_object_that_is_replaced() -> Place:
    outer = types.SimpleNamespace(inner=Holder())
    return lambda: outer.inner.scale, lambda: setattr(outer, "inner", Holder(AFTER))


@place
def a_class_attribute() -> Place:
    Holder.SHARED = BEFORE
    return lambda: Holder.SHARED, lambda: setattr(Holder, "SHARED", AFTER)


@place
def a_class_attribute_through_an_object() -> Place:
    Holder.SHARED = BEFORE
    holder = Holder()
    return lambda: holder.SHARED, lambda: setattr(holder, "SHARED", AFTER)


@place
def a_property() -> Place:
    holder = Holder()
    return lambda: holder.through_property, lambda: setattr(holder, "_scale", AFTER)


@place
def a_method_of_an_object() -> Place:
    holder = Holder()
    return lambda: holder.method(), lambda: setattr(holder, "method", lambda: AFTER)


@place
def a_method_of_a_class() -> Place:
    kind = type("Drawn", (Holder,), {"method": lambda self: BEFORE})
    holder = kind()
    return lambda: holder.method(), lambda: setattr(kind, "method", lambda self: AFTER)


@place
def a_bound_method_that_was_kept() -> Place:
    holder = Holder()
    bound = holder.method
    return lambda: bound(), lambda: setattr(holder, "scale", AFTER)


@place
def an_object_that_is_called() -> Place:
    holder = Holder()
    return lambda: holder(), lambda: setattr(holder, "scale", AFTER)


@place
def the_class_of_an_object() -> Place:
    holder = Holder()
    return lambda: holder.method(), lambda: setattr(holder, "__class__", Other)


@place
def the_dictionary_of_an_object() -> Place:
    holder = Holder()
    return lambda: holder.scale, lambda: setattr(holder, "__dict__", {"scale": AFTER})


@place
def a_slot() -> Place:
    holder = Slotted()
    return lambda: holder.scale, lambda: setattr(holder, "scale", AFTER)


@place
def a_global() -> Place:
    globals()["SCALE"] = BEFORE
    return lambda: SCALE, lambda: globals().update(SCALE=AFTER)


@place
def a_global_in_a_helper() -> Place:
    globals()["SCALE"] = BEFORE

    def helper() -> float:
        return SCALE * 1.0

    return lambda: helper(), lambda: globals().update(SCALE=AFTER)


@place
def a_module() -> Place:
    SETTINGS.scale = BEFORE  # type: ignore[attr-defined]
    return lambda: SETTINGS.scale, lambda: setattr(SETTINGS, "scale", AFTER)


@place
def a_closure() -> Place:
    scale = BEFORE

    def change() -> None:
        nonlocal scale
        scale = AFTER

    return lambda: scale, change


@place
def a_default() -> Place:
    def read(scale: float = BEFORE) -> float:
        return scale

    return read, lambda: setattr(read, "__defaults__", (AFTER,))


@place
def a_keyword_default() -> Place:
    def read(*, scale: float = BEFORE) -> float:
        return scale

    return read, lambda: read.__kwdefaults__.update(scale=AFTER)  # type: ignore[union-attr]


@place
def a_default_that_is_a_list() -> Place:
    def read(scales: list = [BEFORE]) -> float:  # noqa: B006 - people do
        return scales[0]

    return read, lambda: read.__defaults__[0].__setitem__(0, AFTER)  # type: ignore[index]


@place
def the_code_of_a_function() -> Place:
    def helper() -> float:
        return 1.0

    def other() -> float:
        return 0.25

    return lambda: helper(), lambda: setattr(helper, "__code__", other.__code__)


@place
def an_attribute_of_a_function() -> Place:
    def read() -> float:
        return read.scale  # type: ignore[attr-defined]

    read.scale = BEFORE  # type: ignore[attr-defined]
    return read, lambda: setattr(read, "scale", AFTER)


@place
def an_item_of_a_dictionary() -> Place:
    settings = {"scale": BEFORE, "other": 3}
    return lambda: settings["scale"], lambda: settings.update(scale=AFTER)


@place
def a_key_that_is_missing() -> Place:
    settings: dict[str, float] = {}
    return lambda: settings.get("scale", BEFORE), lambda: settings.update(scale=AFTER)


@place
def an_attribute_that_is_missing() -> Place:
    holder = types.SimpleNamespace()
    return lambda: getattr(holder, "scale", BEFORE), lambda: setattr(holder, "scale", AFTER)


@place
def an_attribute_named_by_a_string() -> Place:
    holder = Holder()
    name = "".join(["sc", "ale"])
    return lambda: getattr(holder, name), lambda: setattr(holder, "scale", AFTER)


@place
def the_attributes_by_vars() -> Place:
    holder = Holder()
    return lambda: vars(holder)["scale"], lambda: setattr(holder, "scale", AFTER)


@place
def the_globals_by_name() -> Place:
    globals()["SCALE"] = BEFORE
    return lambda: globals()["SCALE"], lambda: globals().update(SCALE=AFTER)


@place
def an_item_of_a_list() -> Place:
    scales = [2.0, BEFORE]
    return lambda: scales[1], lambda: scales.__setitem__(1, AFTER)


@place
def the_length_of_a_list() -> Place:
    scales = [1]
    return lambda: 1.0 / len(scales), lambda: scales.extend([1, 1, 1])


@place
def an_item_of_a_list_in_a_dictionary() -> Place:
    settings = {"scales": [[BEFORE]]}
    return lambda: settings["scales"][0][0], lambda: settings["scales"][0].__setitem__(0, AFTER)


@place
def a_deque() -> Place:
    scales = collections.deque([BEFORE])
    return lambda: scales[0], lambda: scales.appendleft(AFTER)


@place
def a_set() -> Place:
    flags = {"full"}
    return lambda: BEFORE if "full" in flags else AFTER, lambda: flags.clear()


@place
def a_view_of_a_dictionary() -> Place:
    settings = {"scale": BEFORE}
    view = types.MappingProxyType(settings)
    return lambda: view["scale"], lambda: settings.update(scale=AFTER)


@place
def an_array() -> Place:
    scales = np.array([BEFORE, 2.0])
    return lambda: float(scales[0]), lambda: scales.__setitem__(0, AFTER)


@place
def an_enumeration_that_is_replaced() -> Place:
    holder = types.SimpleNamespace(mode=Mode.ONE)
    return lambda: holder.mode.value, lambda: setattr(holder, "mode", Mode.QUARTER)


@place
def a_partial() -> Place:
    part = functools.partial(lambda *, scale: scale, scale=BEFORE)
    return lambda: part(), lambda: part.keywords.update(scale=AFTER)


@place
def a_weak_reference() -> Place:
    holder = Holder()
    reference = weakref.ref(holder)
    return lambda: reference().scale, lambda: setattr(holder, "scale", AFTER)  # type: ignore[union-attr]


@place
def a_thread_local() -> Place:
    local = threading.local()
    local.scale = BEFORE
    return lambda: local.scale, lambda: setattr(local, "scale", AFTER)


@place
def the_environment() -> Place:
    os.environ["BIRDPLANE_HUNT"] = str(BEFORE)
    return lambda: float(os.environ["BIRDPLANE_HUNT"]), lambda: os.environ.update(BIRDPLANE_HUNT=str(AFTER))


@place
def an_iterator() -> Place:
    counter = itertools.count(2)
    return lambda: 1.0 / next(counter), lambda: None


@place
def a_generator() -> Place:
    def numbers() -> Iterator[float]:
        while True:
            yield from (1.0, 0.5)

    drawn = numbers()
    return lambda: next(drawn), lambda: None


@place
def a_count_that_it_keeps() -> Place:
    holder = types.SimpleNamespace(calls=0)

    def read() -> float:
        holder.calls += 1
        return 1.0 / holder.calls

    return read, lambda: None


@place
def a_cache_that_is_emptied() -> Place:
    scales = {"scale": BEFORE}

    @functools.lru_cache
    def cached() -> float:
        return scales["scale"]

    def change() -> None:
        scales["scale"] = AFTER
        cached.cache_clear()

    return lambda: cached(), change


@place
def a_random_number() -> Place:
    rng = np.random.default_rng(0)
    return lambda: float(rng.uniform(0.5, 1.5)), lambda: None

"""Places from which Python code can read a number: how a step reads it, and how somebody changes it.

Each entry makes a function that returns a number, and one that changes what it will return. The reading is written out
in code, as a user would write it, so that what sees it must see it there.
"""

# What a type checker warns of, people do, and so do these places.
# mypy: disable-error-code="attr-defined, index, union-attr"

import dataclasses
import types
from collections.abc import Callable

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
    SETTINGS.scale = BEFORE
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

    return read, lambda: read.__kwdefaults__.update(scale=AFTER)


@place
def a_default_that_is_a_list() -> Place:
    def read(scales: list = [BEFORE]) -> float:  # noqa: B006 (people write such defaults, and this is one of their places)
        return scales[0]

    return read, lambda: read.__defaults__[0].__setitem__(0, AFTER)


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
        return read.scale

    read.scale = BEFORE
    return read, lambda: setattr(read, "scale", AFTER)


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

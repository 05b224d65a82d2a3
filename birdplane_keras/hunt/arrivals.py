"""Places that are empty when a step first asks: what arrives later, mostly under a name that code makes up."""

# What a type checker warns of, people do, and so do these places.
# mypy: disable-error-code="attr-defined, name-defined"

import contextlib
import types

from birdplane_keras.hunt.places import AFTER, BEFORE, Holder, Place, place

ARRIVALS = types.ModuleType("arrivals_of_the_hunt")
NUMBER = 2  # of the names that are made up: no constant of the code that reads


class Slot:
    """Has a slot that nobody filled."""

    __slots__ = ("scale",)


@place
def an_attribute_that_comes_to_an_object() -> Place:
    holder = Holder()
    return lambda: getattr(holder, f"scale_{NUMBER}", BEFORE), lambda: setattr(holder, "scale_2", AFTER)


@place
def an_attribute_that_comes_to_a_class() -> Place:
    kind = type("Drawn", (Holder,), {})
    holder = kind()
    return lambda: getattr(holder, f"scale_{NUMBER}", BEFORE), lambda: setattr(kind, "scale_2", AFTER)


@place
def an_attribute_that_comes_to_a_base_class() -> Place:
    base = type("DrawnBase", (), {})
    holder = type("Drawn", (base,), {})()
    return lambda: getattr(holder, f"scale_{NUMBER}", BEFORE), lambda: setattr(base, "scale_2", AFTER)


@place
def an_attribute_that_comes_to_a_metaclass() -> Place:
    meta = type("DrawnMeta", (type,), {})
    kind = meta("Drawn", (), {})
    return lambda: getattr(kind, f"scale_{NUMBER}", BEFORE), lambda: setattr(meta, "scale_2", AFTER)


@place
def an_attribute_that_comes_to_a_module() -> Place:
    vars(ARRIVALS).pop("scale_2", None)
    return lambda: getattr(ARRIVALS, f"scale_{NUMBER}", BEFORE), lambda: setattr(ARRIVALS, "scale_2", AFTER)


@place
def an_attribute_that_comes_to_a_function() -> Place:
    def function() -> None:
        """Does nothing."""

    return lambda: getattr(function, f"scale_{NUMBER}", BEFORE), lambda: setattr(function, "scale_2", AFTER)


@place
def a_global_that_comes_under_a_name_made_up() -> Place:
    globals().pop("SCALE_2", None)
    return lambda: globals().get(f"SCALE_{NUMBER}", BEFORE), lambda: globals().update(SCALE_2=AFTER)


@place
def an_item_that_comes_under_a_key_made_up() -> Place:
    settings: dict[str, float] = {"other": 3.0}
    return lambda: settings.get(f"scale_{NUMBER}", BEFORE), lambda: settings.update(scale_2=AFTER)


@place
def an_attribute_that_is_looked_for() -> Place:
    holder = Holder()
    return lambda: AFTER if hasattr(holder, f"is_{NUMBER}") else BEFORE, lambda: setattr(holder, "is_2", True)


@place
def an_attribute_that_is_tried() -> Place:
    holder = Holder()

    def read() -> float:
        try:
            return holder.later
        except AttributeError:
            return BEFORE

    return read, lambda: setattr(holder, "later", AFTER)


@place
def an_attribute_that_a_helper_misses() -> Place:
    holder = Holder()

    def helper() -> float:
        return holder.later

    def read() -> float:
        try:
            return helper()
        except AttributeError:
            return BEFORE

    return read, lambda: setattr(holder, "later", AFTER)


@place
def a_global_that_is_tried() -> Place:
    globals().pop("LATER", None)

    def read() -> float:
        try:
            return LATER
        except NameError:
            return BEFORE

    return read, lambda: globals().update(LATER=AFTER)


@place
def an_attribute_of_a_module_that_is_tried() -> Place:
    vars(ARRIVALS).pop("later", None)

    def read() -> float:
        try:
            return ARRIVALS.later
        except AttributeError:
            return BEFORE

    return read, lambda: setattr(ARRIVALS, "later", AFTER)


@place
def an_item_that_is_tried() -> Place:
    scales: list[float] = []

    def read() -> float:
        with contextlib.suppress(IndexError):
            return scales[0]
        return BEFORE

    return read, lambda: scales.append(AFTER)


@place
def a_slot_that_is_filled() -> Place:
    slot = Slot()
    return lambda: getattr(slot, "scale", BEFORE), lambda: setattr(slot, "scale", AFTER)


@place
def a_method_that_comes_to_cover_another() -> Place:
    kind = type("Drawn", (Holder,), {})
    holder = kind()
    return lambda: holder.method(), lambda: setattr(kind, "method", lambda self: AFTER)


@place
def a_way_to_answer_that_comes_to_a_class() -> Place:
    kind = type("Drawn", (Holder,), {})
    holder = kind()
    return (
        lambda: getattr(holder, f"scale_{NUMBER}", BEFORE),
        lambda: setattr(kind, "__getattr__", lambda self, name: AFTER),
    )

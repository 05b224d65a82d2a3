"""Places in the corners: the brothers of the others."""

# What a type checker warns of, people do, and so do these places.
# mypy: disable-error-code="attr-defined, misc, valid-type"

import functools
import operator
import types
import weakref

import numpy as np

from birdplane_keras.hunt.places import AFTER, BEFORE, Holder, Place, place

CORNERS = types.ModuleType("corners_of_the_hunt")


class Base:
    """Has what another class covers."""

    SHARED = BEFORE

    def number(self) -> float:
        """Returns a number."""
        return 1.0


class Covering(Base):
    """Covers it, and asks for it."""

    SHARED = 7.0

    def number(self) -> float:
        """Returns the base's number."""
        return super().number()

    def shared(self) -> float:
        """Returns the base's attribute."""
        return super().SHARED


class Meta(type):
    """A class of classes."""

    scale = BEFORE


class OfMeta(metaclass=Meta):
    """Finds its attribute in its metaclass."""


class Described:
    """A descriptor that keeps its numbers by owner."""

    def __init__(self) -> None:
        self.kept: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()

    def __get__(self, owner: object, kind: type | None = None) -> float:
        return self.kept.get(owner, BEFORE)


class HasDescribed:
    """Has one."""

    scale = Described()


class Lazy:
    """Computes an attribute once."""

    number = BEFORE

    @functools.cached_property
    def scale(self) -> float:
        """The number."""
        return self.number


class Named(dict):
    """A dictionary with an attribute."""

    scale = BEFORE


@place
def an_attribute_of_a_base_class() -> Place:
    Base.SHARED = BEFORE
    holder = Covering()
    return lambda: holder.shared(), lambda: setattr(Base, "SHARED", AFTER)


@place
def a_method_of_a_base_class() -> Place:
    base = type("DrawnBase", (), {"number": lambda self: BEFORE})

    class Drawn(base):  # a class of this place's own, so that a change stays its own
        def number(self) -> float:
            return float(super().number())

    holder = Drawn()
    return lambda: holder.number(), lambda: setattr(base, "number", lambda self: AFTER)


@place
def an_attribute_of_a_metaclass() -> Place:
    Meta.scale = BEFORE
    return lambda: OfMeta.scale, lambda: setattr(Meta, "scale", AFTER)


@place
def a_descriptor() -> Place:
    holder = HasDescribed()
    kept = vars(HasDescribed)["scale"].kept
    kept.clear()
    return lambda: holder.scale, lambda: kept.update({holder: AFTER})


@place
def a_cached_property_that_is_deleted() -> Place:
    holder = Lazy()

    def change() -> None:
        holder.number = AFTER
        vars(holder).pop("scale", None)

    return lambda: holder.scale, change


@place
def an_attribute_of_a_dictionary() -> Place:
    named = Named()
    return lambda: named.scale, lambda: setattr(named, "scale", AFTER)


@place
def a_method_of_a_dictionary_that_was_kept() -> Place:
    settings = {"scale": BEFORE}
    get = settings.get
    return lambda: get("scale", 0.0), lambda: settings.update(scale=AFTER)


@place
def a_method_of_a_list_that_was_kept() -> Place:
    scales = [BEFORE]
    item = scales.__getitem__
    return lambda: item(0), lambda: scales.__setitem__(0, AFTER)


@place
def an_attribute_getter() -> Place:
    holder = Holder()
    get = operator.attrgetter("scale")
    return lambda: get(holder), lambda: setattr(holder, "scale", AFTER)


@place
def an_item_getter() -> Place:
    settings = {"scale": BEFORE}
    get = operator.itemgetter("scale")
    return lambda: get(settings), lambda: settings.update(scale=AFTER)


@place
def a_method_caller() -> Place:
    holder = Holder()
    ask = operator.methodcaller("method")
    return lambda: ask(holder), lambda: setattr(holder, "scale", AFTER)


@place
def a_partial_that_looks_up() -> Place:
    holder = Holder()
    part = functools.partial(getattr, holder, "scale")
    return lambda: part(), lambda: setattr(holder, "scale", AFTER)


@place
def a_dictionary_in_a_tuple() -> Place:
    nested = (1, ({"scale": BEFORE},))
    return lambda: nested[1][0]["scale"], lambda: nested[1][0].update(scale=AFTER)


@place
def bytes_that_change() -> Place:
    scales = bytearray([4])
    return lambda: scales[0] / 4, lambda: scales.__setitem__(0, 1)


@place
def an_array_of_objects() -> Place:
    holder = Holder()
    holders = np.array([holder, None], dtype=object)
    return lambda: holders[0].scale, lambda: setattr(holder, "scale", AFTER)


@place
def a_view_of_an_array() -> Place:
    scales = np.array([BEFORE, 2.0])
    view = scales[:1]
    return lambda: float(view[0]), lambda: scales.__setitem__(0, AFTER)


@place
def a_builtin_that_is_covered() -> Place:
    globals().pop("abs", None)
    return lambda: abs(-BEFORE), lambda: globals().update(abs=lambda number: AFTER)


@place
def an_object_in_a_set() -> Place:
    holders = {Holder()}
    return lambda: next(iter(holders)).scale, lambda: setattr(next(iter(holders)), "scale", AFTER)


@place
def a_module_that_answers_by_a_function() -> Place:
    holder = Holder()
    CORNERS.__dict__["__getattr__"] = lambda name: holder.scale
    return lambda: CORNERS.anything, lambda: setattr(holder, "scale", AFTER)


@place
def a_function_in_a_list() -> Place:
    functions = [lambda: BEFORE]
    return lambda: functions[0](), lambda: functions.__setitem__(0, lambda: AFTER)


@place
def an_attribute_of_an_exception() -> Place:
    error = ValueError()
    error.scale = BEFORE
    return lambda: error.scale, lambda: setattr(error, "scale", AFTER)

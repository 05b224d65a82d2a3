"""Places in containers, and places of other kinds: the second half of `places`."""

# What a type checker warns of, people do, and so do these places.
# mypy: disable-error-code="union-attr"

import collections
import enum
import functools
import itertools
import os
import threading
import types
import weakref
from collections.abc import Iterator

import numpy as np

from birdplane_keras.hunt.places import AFTER, BEFORE, Holder, Place, place


class Mode(enum.Enum):
    """Which number."""

    ONE = BEFORE
    QUARTER = AFTER


@place
def an_item_of_a_dictionary() -> Place:
    settings = {"scale": BEFORE, "other": 3}
    return lambda: settings["scale"], lambda: settings.update(scale=AFTER)


@place
def a_key_that_is_missing() -> Place:
    settings: dict[str, float] = {}
    return lambda: settings.get("scale", BEFORE), lambda: settings.update(scale=AFTER)


@place
def the_order_of_a_dictionary() -> Place:
    settings = {"first": BEFORE, "second": AFTER}
    return lambda: next(iter(settings.values())), lambda: settings.update(first=settings.pop("first"))


@place
def the_order_of_an_ordered_dictionary() -> Place:
    settings = collections.OrderedDict(first=BEFORE, second=AFTER)
    return lambda: next(iter(settings.values())), lambda: settings.move_to_end("first")


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
    return lambda: reference().scale, lambda: setattr(holder, "scale", AFTER)


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

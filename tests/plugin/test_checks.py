"""Each way of changing a dictionary is seen, with versions and without."""

import types
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from birdplane_keras.torch_plugin import checks
from birdplane_keras.torch_plugin.checks import Check
from birdplane_keras.torch_plugin.places import ABSENT, Items, Names, put_back

# Name -> what is changed, and how.
WAYS: dict[str, tuple[Callable[[], dict], Callable[[dict], object]]] = {
    "an item is set": (lambda: {"a": 1}, lambda held: held.__setitem__("a", 2)),
    "an item is set to a number of another type": (lambda: {"a": 1}, lambda held: held.__setitem__("a", True)),
    "an item is added": (lambda: {"a": 1}, lambda held: held.__setitem__("b", 2)),
    "an item is added to none": (dict, lambda held: held.__setitem__("a", 2)),
    "an item is updated": (lambda: {"a": 1}, lambda held: held.update(a=2)),
    "none is updated": (dict, lambda held: held.update(a=2)),
    "none is updated from a large one": (dict, lambda held: held.update(dict.fromkeys(map(str, range(99))))),
    "none is merged": (dict, lambda held: held.__ior__({"a": 2})),
    "an item is merged": (lambda: {"a": 1}, lambda held: held.__ior__({"a": 2})),
    "a default is set": (lambda: {"a": 1}, lambda held: held.setdefault("b", 2)),
    "an item is deleted": (lambda: {"a": 1, "b": 2}, lambda held: held.__delitem__("a")),
    "an item is popped": (lambda: {"a": 1}, lambda held: held.pop("a")),
    "the last is popped": (lambda: {"a": 1, "b": 2}, lambda held: held.popitem()),
    "all are cleared": (lambda: {"a": 1}, lambda held: held.clear()),
    "all are cleared, and others set": (lambda: {"a": 1}, lambda held: (held.clear(), held.update(a=2))),
    "the order is changed": (lambda: OrderedDict(a=1, b=2), lambda held: held.move_to_end("a")),
    "the order is changed by setting again": (lambda: {"a": 1, "b": 2}, lambda held: held.update(a=held.pop("a"))),
}


class Thing:
    """Has attributes."""

    def __init__(self) -> None:
        self.scale = 1.0


ATTRIBUTES: dict[str, Callable[[Thing], object]] = {
    "set": lambda thing: setattr(thing, "scale", 2.0),
    "set past the class": lambda thing: object.__setattr__(thing, "scale", 2.0),
    "set in its dictionary": lambda thing: vars(thing).update(scale=2.0),
    "deleted": lambda thing: delattr(thing, "scale"),
    "added": lambda thing: setattr(thing, "other", 2.0),
}


@pytest.fixture(params=[True, False], ids=["versions", "keys"])
def versions(request, monkeypatch):
    monkeypatch.setattr(checks, "HAS_VERSIONS", checks.HAS_VERSIONS and request.param)


@pytest.mark.parametrize("way", WAYS)
def test_a_change_of_a_dictionary_is_seen(way, versions):
    make, change = WAYS[way]
    held = make()
    check = Check({("items",): Items(held, "a dictionary")})
    assert check.hold()
    assert check.hold()
    change(held)
    assert not check.hold()


@pytest.mark.parametrize("way", WAYS)
def test_a_change_of_a_dictionary_is_put_back(way):
    make, change = WAYS[way]
    held = make()
    place = Items(held, "a dictionary")
    change(held)
    put_back([place])
    assert held == make()
    assert [*held] == [*reversed([*reversed(held)])] == [*make()]


@pytest.mark.parametrize("way", ATTRIBUTES)
def test_a_change_of_an_attribute_is_seen(way, versions):
    thing = Thing()
    check = Check({("names",): attributes_of(thing)})
    assert check.hold()
    assert check.hold()
    ATTRIBUTES[way](thing)
    assert not check.hold()


def test_a_change_by_code_that_has_run_often_is_seen(versions):
    thing = Thing()

    def change(value: float) -> None:
        thing.scale = value

    for _ in range(100):  # Python makes such code faster after some runs
        change(1.5)
    check = Check({("names",): attributes_of(thing)})
    assert check.hold()
    change(2.5)
    assert not check.hold()


def test_a_dictionary_that_changes_elsewhere_each_time_is_looked_into(versions):
    module = types.ModuleType("module")
    module.scale = 1.0
    place = Names(vars(module), "a module")
    place.before["scale"] = 1.0
    check = Check({("names",): place})
    for number in range(5):
        module.count = number
        assert check.hold()
    module.scale = 2.0
    assert not check.hold()
    module.scale = 1.0
    assert check.hold()


def attributes_of(thing: Thing) -> Names:
    place = Names(vars(thing), "a thing")
    place.before |= {"scale": thing.scale, "other": ABSENT}
    return place


def test_threads_that_look_at_once_agree(versions):
    things = [Thing() for _ in range(50)]
    check = Check({("names", number): attributes_of(thing) for number, thing in enumerate(things)})
    module = types.ModuleType("module")
    check.places["module",] = place = Names(vars(module), "a module")
    place.before["count"] = ABSENT

    def look(number: int) -> bool:
        setattr(module, f"other_{number}", number)  # so that the versions move while others look
        return check.hold()

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(look, range(400)))
    things[7].scale = 2.0
    assert not check.hold()

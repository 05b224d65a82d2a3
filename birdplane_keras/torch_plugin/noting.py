"""Notes of places: what each held when it was first seen, whose state it is, and what cannot be watched."""

from collections.abc import Callable
from typing import Any

from birdplane_keras.torch_plugin.code_names import is_users
from birdplane_keras.torch_plugin.errors import NotTraceableError
from birdplane_keras.torch_plugin.places import ABSENT, Names, Place

_HEAP_TYPE = 1 << 9


class Noted:
    """What was noted while a step ran.

    Args:
        refuses: Stop at what cannot be watched.
    """

    def __init__(self, refuses: bool) -> None:
        self.refuses, self.refusal = refuses, ""
        self.places: dict[tuple, Place] = {}
        self.owners: dict[tuple, int] = {}  # place -> id of the object whose state it is; 0 for modules and classes
        self.of_library: set[int] = set()  # ids of containers that a library's modules and classes hold
        self.rooted: set[int] = set()  # ids of what is reached from state that was there before
        self.alive: dict[int, Any] = {}  # ids stay their own

    def lasting(self, earlier: dict[int, Any]) -> dict[tuple, Place]:
        """Returns the places of objects that outlast a step.

        Args:
            earlier: id -> object of what an earlier run saw; all of it is alive.
        """
        return {
            key: place
            for key, place in self.places.items()
            if (owner := self.owners[key]) == 0 or owner in self.rooted or owner in earlier
        }

    def looked_at(self, value: Any) -> bool:
        """Tells whether any attribute of an object was noted."""
        return ("names", id(vars(value)), True) in self.places

    def refuse(self, reason: str) -> None:
        """Stops the step at what cannot be watched, unless everything is to be let through."""
        if not self.refuses:
            return
        self.refusal = self.refusal or reason
        raise NotTraceableError(reason)

    def note_class(self, kind: type, owner: type, name: str) -> None:
        """Notes a class's attribute, and that no class before it has one."""
        for each in kind.__mro__:
            if each.__flags__ & _HEAP_TYPE:
                held = vars(each).get(name, ABSENT)
                self.note(vars(each), f"the class {each.__name__}", name, held, owner=0, of=each)
            if each is owner:
                return

    def note(self, mapping: Any, words: str, name: Any, value: Any, *, owner: int, of: type | None = None) -> None:
        """Notes what a name holds in an object's attributes, a module's globals or a class."""
        key = ("names", id(mapping) if of is None else id(of), of is None)
        place = self.places.get(key)
        if place is None:
            place = self.places[key] = Names(mapping, words, of)
            place.of_library = owner == 0 and not is_users(of.__module__ if of else mapping.get("__name__") or "")
            self.owners[key] = owner
        place.before.setdefault(name, value)

    def note_place(self, key: tuple, make: Callable[[], Place], owner: Any) -> None:
        """Notes a place of another kind."""
        if key not in self.places:
            self.places[key] = make()
            self.places[key].of_library = id(owner) in self.of_library
            self.owners[key] = id(owner)
            self.alive[id(owner)] = owner

"""Notes of places: what each held when it was first seen, whose state it is, and what cannot be watched."""

from collections.abc import Callable
from typing import Any

from birdplane_keras.torch_plugin.code_names import CodeNames, is_users
from birdplane_keras.torch_plugin.errors import NotTraceableError
from birdplane_keras.torch_plugin.kinds import bookkeeping, member_of, words_of
from birdplane_keras.torch_plugin.places import ABSENT, Names, Place, names_of_scope

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

    def note_absent(self, value: Any, own: dict | None, code: CodeNames) -> None:
        """Notes what code may ask an object or a class for and not find: it may come later.

        Where the user's code makes names up, all that there are are noted; where it may catch that a name is missing,
        each name in it.

        Args:
            value: The object or the class.
            own: The object's attributes; `None` where it keeps none.
            code: What runs.
        """
        kinds = [type(value), value] if isinstance(value, type) else [type(value)]
        if code.looks_up and not code.trusted:
            for kind in kinds:
                self._note_names(kind)
            if own is not None:
                place = names_of_scope(own, f"the names of {words_of(value)}", bookkeeping(value))
                self.note_place(("named", id(value)), place, value)
        for name in code.names if code.catches else code.strings if code.looks_up else ():
            if not name.isidentifier() or any(member_of(kind, name) for kind in kinds):
                continue
            if own is not None and name not in own:
                self.note(own, words_of(value), name, ABSENT, owner=id(value))
            for kind in kinds if code.catches else ():
                for each in kind.__mro__:
                    if is_users(each.__module__):
                        self.note(vars(each), f"the class {each.__name__}", name, ABSENT, owner=0, of=each)

    def _note_names(self, kind: type) -> None:
        """Notes which names the user's classes among a class and its bases have, and what they hold."""
        for owner in kind.__mro__:
            if is_users(owner.__module__):
                for name in [*vars(owner)]:
                    self.note_class(kind, owner, name)
                place = names_of_scope(vars(owner), f"the names of the class {owner.__name__}", ())
                self.note_place(("named", id(owner)), place, owner)

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

"""What a method is, and what it finds."""

from collections.abc import Callable
from dataclasses import dataclass

from birdplane_keras.peers.prepared import Prepared


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The first difference that a method shows to its user.

    Args:
        place: The tensor, layer or step that differs. It is no cause.
        text: What the user is shown.
    """

    place: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way to check a port.

    Args:
        name: Unique.
        title: For tables.
        compares: What it compares, and how far apart that may be.
        tells: What it shows of a difference, where it finds one: a place, not a cause.
        limits: What it does not see, and how it is emulated here.
        together: Whether it counts in the row of all methods together: one that accuses most right ports does not.
        run: Returns the first difference, `None` where the check passes.
    """

    name: str
    title: str
    compares: str
    tells: str
    limits: str
    together: bool = True
    run: Callable[[Prepared], Difference | None]

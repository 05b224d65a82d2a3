"""Matches the i-th layer of a kind with the i-th module of that kind, and tells where that may be wrong."""

from collections.abc import Mapping, Sequence
from typing import Any

from birdplane_keras.parity.kinds.kind import KerasUnit, Kind, TorchUnit
from birdplane_keras.parity.matching.ledger import Ledger, count, largest_shape, match_units

Links = Mapping[int, frozenset[int]]  # `id` of a layer -> those of all layers that its input was made by


def match_by_kind(
    ledger: Ledger, ours: Sequence[KerasUnit], theirs: Sequence[TorchUnit]
) -> tuple[list[KerasUnit], list[TorchUnit]]:
    """Matches what can be matched so; returns the layers left over on either side."""
    left, right = without_tied(ledger, ours, theirs), without_tied(ledger, theirs, ours)
    done: set[int] = set()
    for kind in kinds_of(left):
        mine, yours = ([unit for unit in side if unit.kind is kind] for side in (left, right))
        for unit, other in zip(mine, in_fitting_order(ledger, mine, yours), strict=False):
            done |= {id(unit), id(other)}
            match_units(ledger, unit, other)
    return [unit for unit in ours if id(unit) not in done], [other for other in theirs if id(other) not in done]


def kinds_of(units: Sequence[Any]) -> list[Kind]:
    """Returns the kinds of some layers, each once, in order."""
    return list({id(unit.kind): unit.kind for unit in units}.values())


def in_fitting_order(ledger: Ledger, ours: Sequence[KerasUnit], theirs: Sequence[TorchUnit]) -> list[TorchUnit]:
    """Returns PyTorch's layers of a kind as they are, or so that each fits, where only another order makes them fit.

    Keras orders the layers of a functional model by their depth, PyTorch those of a module as they were assigned.
    """
    fits = [[largest_shape(unit, ledger) == largest_shape(other, ledger) for other in theirs] for unit in ours]
    if len(ours) != len(theirs) or all(fits[index][index] for index in range(len(ours))):
        return list(theirs)
    order: list[int] = []
    for row in fits:
        place = next((index for index, fit in enumerate(row) if fit and index not in order), None)
        if place is None:
            return list(theirs)
        order.append(place)
    return [theirs[index] for index in order]


def without_tied(ledger: Ledger, units: Sequence[Any], others: Sequence[Any]) -> list[Any]:
    """Drops, where a kind has more layers than on the other side, those that only repeat weights met before."""
    seen: set[int] = set()
    kept = []
    for unit in units:
        members = ledger.members(unit)
        if not members or not members <= seen or count(units, unit.kind) <= count(others, unit.kind):
            kept.append(unit)
        seen |= members
    return kept


def ambiguous_groups(ledger: Ledger, units: Sequence[KerasUnit], links: Links | None) -> list[list[KerasUnit]]:
    """Returns the groups of layers that may be in the wrong order: of one kind, with weights of one shape, in parallel.

    Layers of which one's input is made by the other are in no doubt: both sides have them in that order.

    Args:
        ledger: For the shapes.
        units: The Keras layers that were matched by their kind and order.
        links: What each layer's input was made by; `None` where that cannot be told, and any two may be in parallel.
    """
    alike: dict[tuple[int, tuple], list[KerasUnit]] = {}
    for unit in units:
        shapes = tuple(sorted((part, tuple(weight.shape)) for part, weight in unit.variables.items()))
        if shapes:
            alike.setdefault((id(unit.kind), shapes), []).append(unit)
    found = []
    for group in alike.values():
        members = {id(unit.layer) for unit in group}
        doubted = [unit for unit in group if links is None or beside(unit, members, links)]
        if len(doubted) > 1:
            found.append(doubted)
    return found


def beside(unit: KerasUnit, members: set[int], links: Links) -> bool:
    """Whether a layer lies in parallel to another of a group: neither is made by the other."""
    own = id(unit.layer)
    before = links.get(own, frozenset())
    return any(o != own and o not in before and own not in links.get(o, frozenset()) for o in members)

"""Batches that differ in their sizes only, such as their lengths, and the traces that serve several of them."""

from collections.abc import Hashable

import torch

from birdplane_keras.torch_plugin.entries import Entries
from birdplane_keras.torch_plugin.sizes import SMALLEST, Dimension
from birdplane_keras.torch_plugin.steps import Step


class Families:
    """What an attachment knows of batches that differ in their sizes only.

    Args:
        entries: All traces.
    """

    def __init__(self, entries: Entries) -> None:
        self._entries = entries
        self._refusals: dict[tuple, str] = {}  # family -> why one trace cannot serve several of its sizes
        self._apart: set[Hashable] = set()  # keys of batches for which such a trace was wrong

    def step_for(self, family: tuple | None, key: Hashable, leaves: list[torch.Tensor]) -> Step | None:
        """Returns a trace, of another batch of a family, that may serve this one, too; `None` where there is none."""
        if family is None or key in self._apart:
            return None
        steps = [entry.step for entry in self._entries if entry.family == family]
        return next((step for step in reversed(steps) if step is not None and step.serves(leaves)), None)

    def free_sizes(self, family: tuple | None, key: Hashable, leaves: list[torch.Tensor]) -> set[Dimension]:
        """Returns the sizes that a new trace is to leave free; none where it is to serve this batch only.

        Where fewer rows follow on one size, they are an epoch's last batch, which has a trace of its own.
        """
        if family is None or family in self._refusals or key in self._apart:
            return set()
        ours = tuple([leaf.shape for leaf in leaves])
        others = {entry.sizes for entry in self._entries if entry.family == family} - {ours}
        free = {
            (number, axis)
            for other in others
            for number, shape in enumerate(other)
            for axis, size in enumerate(shape)
            if size != ours[number][axis]
        }
        if len(others) == 1 and all(axis == 0 for _, axis in free):
            (other,) = others
            seen_before = self._entries.last_of(key) is not None
            if seen_before or all(one[0] <= whole[0] for one, whole in zip(ours, other, strict=True)):
                return set()
        return free if all(ours[number][axis] >= SMALLEST for number, axis in free) else set()

    def refusals_of(self, kind: str) -> list[str]:
        """Returns why batches of a kind need a trace for each of their sizes, where they do."""
        return [reason for (of_kind, *_), reason in self._refusals.items() if of_kind == kind]

    def refuse(self, family: tuple | None, reason: str) -> None:
        """Notes that the sizes of a family need a trace each."""
        if family is not None:
            self._refusals[family] = reason

    def set_apart(self, key: Hashable) -> None:
        """Notes that a batch needs a trace of its own."""
        self._apart.add(key)

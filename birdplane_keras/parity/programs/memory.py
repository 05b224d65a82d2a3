"""Who made what lies in a piece of memory: operations write there, and others show parts of it."""

from typing import Any

import torch


class Maker:
    """Who made what lies in a piece of memory, view by view."""

    def __init__(self, alive: Any) -> None:
        self._alive = alive
        self._views: dict[tuple, int] = {}
        self._cuts: dict[tuple, int] = {}  # what shows the same numbers, cut off from the gradients
        self._written: int | None = None

    def note(self, tensor: torch.Tensor, number: int, *, writes: bool, cuts: bool) -> None:
        """Notes that an operation showed a view, or made or wrote its numbers."""
        (self._cuts if cuts else self._views)[geometry(tensor)] = number
        if writes:
            self._written = number

    def of(self, tensor: torch.Tensor) -> tuple[int | None, bool]:
        """Returns the number of the operation that a view is of; `None` where only others were shown.

        That is the one which showed it, unless another has written there since. And whether it holds the same numbers.
        """
        place = geometry(tensor)
        shown = self._views.get(place)
        cut = None if tensor.requires_grad else self._cuts.get(place)
        if cut is not None and (shown is None or cut > shown):
            shown = cut
        if self._written is None or (shown is not None and shown >= self._written):
            return shown, shown is not None
        return self._written, False


def geometry(tensor: torch.Tensor) -> tuple:
    """Returns where in its memory a tensor lies."""
    return tensor.storage_offset(), tuple(tensor.shape), tensor.stride()

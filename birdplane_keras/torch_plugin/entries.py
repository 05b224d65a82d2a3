"""The traces of a model's steps, or why there is none, by the signature of a batch."""

from collections.abc import Collection, Hashable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from birdplane_keras.torch_plugin.sizes import Dimension
from birdplane_keras.torch_plugin.steps import Step

if TYPE_CHECKING:
    from birdplane_keras.torch_plugin.choosing import Choice


@dataclass(kw_only=True, eq=False)
class Entry:
    """A signature's trace, or the reason why there is none.

    Args:
        key: Kind and signature.
        kind: `train`, `test` or `predict`.
        batch: The batch's shapes and types in words.
        step: The trace; `None` where the stock step runs.
        reason: Why, then.
        seconds: What it took to find out, the first step included.
        wait: Seconds that tracing is expected to take, where it waits until that can pay back; 0 elsewhere.
        steps: How many steps it has made.
        audits: How many of them were made stock, too.
        stock_seconds: What stock steps took that were timed; one, or all while tracing waits.
        traced_seconds: What one traced step took that was timed.
        family: What batches have in common that differ in their sizes only; `None` where there is no such thing.
        sizes: Shapes of the batch's tensors.
        free: Those of their sizes that the trace leaves free.
        choice: Which engine it runs on, where that is measured.
    """

    key: Hashable
    kind: str
    batch: str
    step: Step | None
    reason: str = ""
    seconds: float = 0.0
    wait: float = 0.0
    steps: int = 1
    audits: int = 0
    stock_seconds: float = 0.0
    traced_seconds: float = 0.0
    family: tuple | None = None
    sizes: tuple[torch.Size, ...] = ()
    free: Collection[Dimension] = ()
    choice: "Choice | None" = None


class Entries:
    """All entries of an attachment.

    Args:
        most: How many traces of a kind are held at most.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._by_key: dict[Hashable, list[Entry]] = {}

    def __iter__(self) -> Iterator[Entry]:
        return iter([entry for entries in list(self._by_key.values()) for entry in entries])

    def find(self, key: Hashable) -> Entry | None:
        """Returns the entry that holds for a signature as things are; `None` where there is none yet."""
        for entry in self._by_key.get(key, ()):
            if entry.step is None or entry.step.holds():
                return entry
        return None

    def last_of(self, key: Hashable) -> Entry | None:
        """Returns the latest entry of a signature, whether it holds or not."""
        entries = self._by_key.get(key)
        return entries[-1] if entries else None

    def add(self, entry: Entry) -> None:
        """Adds an entry."""
        self._by_key.setdefault(entry.key, []).append(entry)

    def drop(self, entry: Entry) -> None:
        """Removes an entry, and the others that its trace serves."""
        for each in self:
            if each is entry or (each.step is not None and each.step is entry.step):
                self._by_key[each.key] = [other for other in self._by_key[each.key] if other is not each]

    def drop_replaced(self) -> None:
        """Removes traces through code of Keras or PyTorch that somebody has replaced since."""
        for entry in self:
            if entry.step is not None and not entry.step.code_holds():
                self.drop(entry)

    def clear(self) -> None:
        """Removes all."""
        self._by_key.clear()

    def traced(self, kind: str) -> int:
        """Returns how many traces of a kind are held."""
        return len({id(entry.step) for entry in self if entry.kind == kind and entry.step is not None})

    def any_stock(self) -> bool:
        """Tells whether any signature runs on the stock path, for good or as long as its trace waits."""
        return any(entry.step is None for entry in self)

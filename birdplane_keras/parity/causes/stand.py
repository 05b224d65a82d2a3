"""A region of the port that stands in the place of a result of the reference, and what comes of it."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from birdplane_keras.parity.causes.hypothesis import Change
from birdplane_keras.parity.programs.numbered import Seen
from birdplane_keras.parity.programs.replaying import Replay
from birdplane_keras.parity.sides.torch_run import TorchRun

if TYPE_CHECKING:
    from birdplane_keras.parity.causes.proving import Search


@dataclass(frozen=True, kw_only=True)
class Stand:
    """A region of the port that stands in the place of a result of the reference.

    Args:
        seen: The result.
        replay: Makes the region in the reference.
        complete: Whether the rung then agrees.
        gained: How many of the port's values behind it the reference then has.
        coarse: Whether it rounds to a half type: its gradients do, too, and a rounding on the way may decide how.
        apart: The port's operations whose numbers the reference has in another order only.
        search: Which found it.
    """

    seen: Seen
    replay: Replay
    complete: bool
    gained: int
    coarse: bool
    apart: Collection[int]
    search: "Search"

    def gains(self, change: Change) -> int:
        """Returns how many of the port's values behind the place a change of the reference lets it make; 0: not it."""
        return self.search.gained(change, self.seen, self.replay.region.end) or 0

    def equals(self, change: Change) -> bool:
        """Tells whether a change of the reference lets it make as many of the port's values behind the place."""
        return self.gains(change) >= max(self.gained, 1)

    @property
    def added(self) -> bool:
        """Whether the port goes on from that result by operations that the reference does not make."""
        return self.search.rung in ("forward", "loss") and self.search.port_has(self.seen.value)

    @property
    def replaced(self) -> set[int]:
        """The calls of the reference that it stands for: what makes the result of values that the port has, too."""
        results = {each.at: each for each in self.search.seen if not each.at.taken}
        waiting, found = [self.seen], set()
        while waiting:
            seen = waiting.pop()
            if seen.at.call not in found:
                found.add(seen.at.call)
                sources = [results[at] for at in seen.sources if at in results]
                waiting += [source for source in sources if not self.search.port_has(source.value)]
        return found

    @property
    def cuts(self) -> list[int]:
        """The operations of the region that cut a value off from the gradients."""
        program = self.search.port.program
        return [number for number in self.replay.region.operations if program[number].cuts]

    def change(self, run: TorchRun) -> None:
        """Puts it into a run of the reference."""
        self.replay.put(run, self.seen.at)

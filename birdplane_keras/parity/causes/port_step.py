"""The port's first step as it was recorded, ready to be made again in the reference."""

import contextlib
from functools import cached_property

import numpy as np
import torch

from birdplane_keras.parity.causes.case import Case
from birdplane_keras.parity.private_torch import tree_leaves
from birdplane_keras.parity.programs.growing import Again, with_rows
from birdplane_keras.parity.programs.recorded import record_calls
from birdplane_keras.parity.programs.regions import Region, consumers
from birdplane_keras.parity.programs.replaying import NotReplayedError
from birdplane_keras.parity.sides.keras_run import batch_of


class PortStep:
    """The port's first step: its program, and what its operations took, once that is asked for.

    Args:
        case: What is to be explained.
    """

    def __init__(self, case: Case) -> None:
        self._case, self.rows = case, case.plan[0]
        self.recording = record_calls(case.bench.port(), self.rows)
        self.program = self.recording.program()
        self.users = consumers(self.program)
        self.kept: dict[tuple[int, int], torch.Tensor] = {}
        self.rounded: dict[int, torch.Tensor] = {}

    @cached_property
    def calls(self) -> list[Again]:
        """How each operation was called, with what depends on the number of examples."""
        fewer = self.rows[: max(1, len(self.rows) // 4 * 2)]  # even: some kernels for others write where they must not
        other = None
        if len(fewer) < len(self.rows):
            with contextlib.suppress(Exception):  # a model that takes so many examples and no others
                other = record_calls(self._case.bench.port(), fewer).made
        return with_rows(self.recording.made, other, len(self.rows), len(fewer))

    def examples(self, rows: np.ndarray) -> list[torch.Tensor]:
        """Returns what the port is given for the examples of some numbers."""
        host = self._case.bench.host
        given = batch_of(host, *host.examples.take(rows))
        return [leaf for leaf in tree_leaves(given) if isinstance(leaf, torch.Tensor)]

    def keep(self, region: Region) -> None:
        """Makes the step again, and keeps what a region takes from without, and what it rounds to a half type.

        Raises:
            NotReplayedError: The step was not the same again.
        """
        halves = {number for number in region.operations if self.program[number].value.half}
        if all(place in self.kept for place in region.inputs) and halves <= self.rounded.keys():
            return
        wanted = {number for number, _ in region.inputs}
        again = record_calls(self._case.bench.port(), self.rows, wanted, kept_results=halves, measured=False)
        if [made.function for made in again.made] != [made.function for made in self.recording.made]:
            raise NotReplayedError("the port makes other operations each time")
        self.kept |= {place: again.kept[place] for place in region.inputs}
        self.rounded |= again.results

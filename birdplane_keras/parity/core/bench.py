"""What the judge drives: protocols, so that it sees arrays and never a framework."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np

from birdplane_keras.parity.core.records import (
    Counterparts,
    Fed,
    Layers,
    Outline,
    Reading,
    Rows,
    Scores,
    States,
    Tensors,
)
from birdplane_keras.parity.core.samples import Places


class Run(Protocol):
    """One model being trained, in a state of its own: what another run does changes nothing of it."""

    def step(self, rows: np.ndarray) -> np.ndarray:
        """Makes a training step; returns its loss, (), before the update."""

    def names(self) -> Sequence[str]:
        """Returns the names of all matched tensors."""

    def read(self, name: str) -> np.ndarray:
        """Returns a copy of a tensor."""

    def read_some(self, name: str, places: Places) -> np.ndarray:
        """Returns the values at some places of a tensor."""

    def weights(self, *, trainable: bool | None = None) -> Tensors:
        """Returns copies of all tensors, of those that are trained, or of those that are not."""

    def predict(self) -> Tensors:
        """Returns the outputs in evaluation mode for the validation inputs."""

    def learning_rate(self) -> float:
        """The rate of the next step."""

    def close(self) -> None:
        """Ends a run before its time; what it holds may go."""


class PortRun(Run, Protocol):
    """A run of the port, whose state can be set."""

    def take_state(self, weights: Tensors, states: States) -> bool:
        """Takes the reference's weights and optimizer state; `False` where its optimizer keeps something else."""


class ReferenceRun(Run, Protocol):
    """A run of the reference, whose state can be read."""

    def optimizer_state(self) -> States:
        """Returns what the optimizer keeps for each matched tensor."""


class ReferenceCopy(ReferenceRun, Protocol):
    """A run of a copy of the reference, which can be led elsewhere."""

    def move(self, seed: int) -> None:
        """Moves every weight a little: a state near by."""

    def fork(self, nudge: int) -> "Run":
        """Returns a nudged copy in the state that this run is in."""


class Bench(Protocol):
    """Both sides of a pair, ready to be run as often as the judge likes. A rung asks one of these for its facts."""

    shows_layers: bool  # whether layers are compared one by one where the forward pass agrees, too
    forward_only: bool  # whether nothing is trained: the rungs that need a step of training are left out
    large: bool  # whether a copy of the reference takes so much memory and time that few are made
    exact_data: bool  # whether every bit of the inputs counts; else two roundings are allowed

    def recipes(self) -> tuple[Mapping[str, object], Mapping[str, object]] | None:
        """The hyperparameters that both programs state; `None` where a pair states none."""

    def data(self) -> tuple[Fed, Fed]:
        """What the port is fed, and the reference's data in its layout."""

    def batches(self, epochs: int) -> tuple[Iterator[Rows], Iterator[Rows]]:
        """The row numbers of each batch of each epoch, of both sides."""

    def repeats(self) -> tuple[tuple[Tensors, Tensors], tuple[Tensors, Tensors]]:
        """What the port computes in two equal runs from other random seeds, and the same of the reference."""

    def outlines(self) -> tuple[Outline, Outline]:
        """The outlines of the port and of the reference."""

    def counterparts(self) -> Counterparts:
        """Which weights belong together."""

    def weights_as_built(self) -> tuple[Tensors, Tensors] | None:
        """Both sides' trained weights as the person gave them; `None` where they are not to be compared."""

    def start_weights(self) -> tuple[Tensors, Tensors]:
        """Both sides' weights at the start, after the transfer if the judge is to make it."""

    def plan(self, steps: int) -> list[np.ndarray]:
        """The numbers of the examples of the first batches, over as many epochs as it takes."""

    def read_port(self, plan: Rows, *, reorder: int | None = None) -> Iterator[Reading]:
        """The port's first steps, as they are or with the examples of each batch in another order."""

    def read_reference(
        self, plan: Rows, *, double: bool = False, nudge: int | None = None, gradients: Tensors | None = None
    ) -> Iterator[Reading]:
        """The reference's first steps: as they are, in float64, or nudged; or with other gradients in its first."""

    def layers(self, rows: np.ndarray) -> Layers:
        """The forward pass layer by layer, in the order in which the reference calls them."""

    def checkpoints(self, steps: int) -> Sequence[int]:
        """After which steps of a training run, from 0, all weights are compared; the last is one of them."""

    def programs(self) -> tuple[PortRun, ReferenceRun]:
        """The port and the reference from their start, as they train themselves. New runs at each call."""

    def port(self) -> PortRun:
        """The port at its start. A new run at each call, with a state of its own."""

    def reference(self, *, nudge: int | None = None) -> ReferenceCopy:
        """A copy of the reference at its start, nudged before and after each step if so said."""

    def read_halves(self, plan: Rows) -> tuple[bool, Iterator[Reading]] | None:
        """Whether the reference rounds to the port's half type, and what it computes otherwise; `None` without one."""

    def beside(self, nudge: int) -> Run:
        """A nudged copy that runs beside others."""

    def accuracies(self, port: Run, reference: Run) -> tuple[Scores, Scores] | None:
        """What two finished runs report of their accuracy; `None` where a pair reports none."""


def synchronise(port: PortRun, reference: ReferenceRun) -> bool:
    """Gives the port the reference's weights and optimizer state; `False` where its state cannot be set."""
    return port.take_state(reference.weights(), reference.optimizer_state())

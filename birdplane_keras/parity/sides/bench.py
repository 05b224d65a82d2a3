"""Both sides of a pair behind the protocol that the judge drives."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch

from birdplane_keras.errors import PairError
from birdplane_keras.parity.core.bench import PortRun, ReferenceRun, Run
from birdplane_keras.parity.core.records import (
    Counterpart,
    Counterparts,
    Fed,
    Layers,
    Outline,
    Probe,
    Reading,
    Rows,
    Scores,
    Tensors,
)
from birdplane_keras.parity.core.shelf import Shelf
from birdplane_keras.parity.matching.ledger import tensors_of
from birdplane_keras.parity.matching.match import Matching
from birdplane_keras.parity.pair import Pair, check_pair, turn_of
from birdplane_keras.parity.sides.asleep import RestingRun, SleepingRun
from birdplane_keras.parity.sides.examples import build_batches, keras_view, named_leaves, plan_batches
from birdplane_keras.parity.sides.keras_host import KerasHost
from birdplane_keras.parity.sides.keras_run import KerasRun
from birdplane_keras.parity.sides.layers import compare_layers
from birdplane_keras.parity.sides.masking import describe_mask
from birdplane_keras.parity.sides.matching import match_pair
from birdplane_keras.parity.sides.memory import is_large
from birdplane_keras.parity.sides.modes import half_policy
from birdplane_keras.parity.sides.outlines import outline_of_port, outline_of_reference
from birdplane_keras.parity.sides.steps import EVALUATED, GLIMPSED, read_port, read_reference, read_rung
from birdplane_keras.parity.sides.torch_run import TorchRun
from birdplane_keras.parity.sides.views import TorchView

REPEATED_STEPS = 2
EPOCHS_SHOWN = 2  # of an augmentation, by the rung `data`: the second shows whether it changes
CHECKPOINTS = 20  # of a training run, at which all weights are compared
LAYER_DRAWS = 2


class PairBench:
    """A pair on the bench: the judge's `Bench`. Use within `with bench.host.judged():`.

    Args:
        pair: As a person gave it.
        seed: Orders the batches where the pair does not, and draws the nudges.

    Raises:
        PairError: The pair cannot be judged.
    """

    exact_data = False
    forward_only = False

    def __init__(self, pair: Pair, seed: int) -> None:
        check_pair(pair)
        self.shows_layers = False
        self.pair, self.seed, self.large = build_batches(pair, seed), seed, is_large(pair.torch_module)
        self.matching: Matching = match_pair(self.pair).updating(updated_tensors(pair))
        self.host = KerasHost(self.pair, self.matching)
        self._found = self.port()  # before any transfer

    @property
    def notes(self) -> Sequence[str]:
        """What could not be done when the weights were matched, and what is not compared, in words."""
        return [*self.matching.notes, *describe_mask(self.pair)]

    def recipes(self) -> tuple[Mapping[str, object], Mapping[str, object]] | None:
        """A pair is made of models, which state no recipe."""
        return None

    def data(self) -> tuple[Fed, Fed]:
        """What the port is fed, and the reference's data in its layout, as arrays of comparable types.

        Where epochs change the inputs, what the first two of them show, too.
        """
        expected = keras_view(self.pair, self.pair.data)
        given = expected if self.pair.keras_data is None else self.pair.keras_data
        both = [[named_leaves(side[0], "inputs"), named_leaves(side[1], "targets")] for side in (given, expected)]
        turn = turn_of(self.pair)
        if self.pair.inputs_by_epoch is not None and self.pair.keras_inputs_by_epoch is not None:
            for epoch in range(EPOCHS_SHOWN):
                both[0].append(named_leaves(self.pair.keras_inputs_by_epoch(epoch), "inputs"))
                both[1].append(named_leaves(turn(self.pair.inputs_by_epoch(epoch)), "inputs"))
        for mine, yours in zip(*both, strict=True):
            for name in mine.keys() & yours.keys():
                mine[name], yours[name] = in_one_type(mine[name], yours[name])
        ours, theirs = (Fed(inputs=side[0], targets=side[1], by_epoch=side[2:]) for side in both)
        return ours, theirs

    def batches(self, epochs: int) -> tuple[Iterator[Rows], Iterator[Rows]]:
        """The row numbers of each batch of each epoch, of both sides."""
        ours, theirs = self.pair.keras_batches, self.pair.batches
        if ours is None or theirs is None:
            raise RuntimeError("expected batches, which build_batches has stated")
        return (ours(epoch) for epoch in range(epochs)), (theirs(epoch) for epoch in range(epochs))

    def plan(self, steps: int) -> list[np.ndarray]:
        """The numbers of the examples of the first batches, over as many epochs as it takes."""
        return plan_batches(self.pair, steps)

    def checkpoints(self, steps: int) -> Sequence[int]:
        """After which steps all weights are compared: twenty, evenly spread, and the last."""
        every = max(1, steps // CHECKPOINTS)
        return sorted({*range(every - 1, steps, every), steps - 1})

    def repeats(self) -> tuple[tuple[Tensors, Tensors], tuple[Tensors, Tensors]]:
        """What each side computes in two equal runs of two steps from other random seeds."""
        theirs = self._few_steps(self.reference(), 1), self._few_steps(self.reference(), 2)
        return (self._few_steps(self.port(), 1), self._few_steps(self.port(), 2)), theirs

    def _few_steps(self, run: TorchRun | KerasRun, seed: int) -> Shelf:
        torch.manual_seed(seed)
        if isinstance(run, KerasRun):
            run.reseed(seed)
        made = Shelf()
        for step, rows in enumerate(self.plan(REPEATED_STEPS)):
            made.keep(f"loss of step {step}", np.asarray(run.step(rows), np.float32))
        for name in run.names():
            made.keep(name, run.read(name))
        return made

    def outlines(self) -> tuple[Outline, Outline]:
        """The outputs' names and shapes, and the calls of Dropout, of both sides."""
        rows = self.plan(1)[0]
        return outline_of_port(self.port(), rows), outline_of_reference(self.reference(), rows)

    def counterparts(self) -> Counterparts:
        """Which weights belong together."""
        sizes = {name: int(np.prod(variable.shape)) for name, variable in self.matching.variables.items()}
        matched = [Counterpart(name=m.name, size=sizes[m.name], trained=m.trainable) for m in self.matching.tensors]
        return Counterparts(matched=matched, problems=self.matching.problems, untied=self._untied())

    def _untied(self) -> list[list[str]]:
        """Returns the groups of matches that are one tensor in PyTorch and several variables in Keras."""
        weights = tensors_of(self.pair.torch_module)
        groups: dict[int, set[int]] = {}
        names: dict[int, list[str]] = {}
        for match in self.matching.tensors:
            if len(match.torch) == 1 and match.whole:
                identity = id(weights[match.torch[0]])
                groups.setdefault(identity, set()).add(id(self.matching.variables[match.name]))
                names.setdefault(identity, []).append(match.name)
        return [names[identity] for identity, variables in groups.items() if len(variables) > 1]

    def weights_as_built(self) -> tuple[Tensors, Tensors] | None:
        """Both sides' trained weights as the person gave them; `None` where they are not to be compared."""
        if not self.pair.initialisation:
            return None
        trained = [match.name for match in self.matching.tensors if match.trainable[1]]
        return Shelf.of(trained, self._found.read), Shelf.of(trained, self._of_pair.read)

    def start_weights(self) -> tuple[Tensors, Tensors]:
        """Both sides' weights at the start, after the transfer if the judge is to make it."""
        names = self._of_pair.names()
        if self.pair.weights == "transfer":
            self.host.begin_at(Shelf.of(names, self._of_pair.read))
        return Shelf.of(names, self.port().read), Shelf.of(names, self._of_pair.read)

    @cached_property
    def _of_pair(self) -> TorchView:
        """The weights of the pair's own module: all runs of the reference start from copies."""
        return TorchView(self.pair.torch_module, self.matching)

    def read_port(self, plan: Rows, *, reorder: int | None = None) -> Iterator[Reading]:
        """The port's first steps, as they are or with the examples of each batch in another order."""
        yield from read_port(self.port(), plan, reorder=reorder)

    def read_reference(
        self, plan: Rows, *, double: bool = False, nudge: int | None = None, gradients: Tensors | None = None
    ) -> Iterator[Reading]:
        """The reference's first steps: as they are, in float64, or nudged; or with other gradients in its first."""
        if not double:
            run = self.reference(nudge=nudge, throughout=True)
            run.first_gradients = gradients
            yield from self._readings(run, plan)
            return
        with self.host.asleep():  # numbers of twice the size
            yield from self._readings(self.double(), plan)

    def _readings(self, run: TorchRun, plan: Rows, examples: int = EVALUATED) -> Iterator[Reading]:
        yield from read_reference(run, plan, examples)

    def probe_changed(
        self, plan: Rows, change: Callable[[TorchRun], None], until: str | None = None, *, nudge: int | None = None
    ) -> Probe | None:
        """The first steps of a reference that was changed by a function of the run, or no more than one rung looks at.

        Nudged, if so said. `None` if the change does not fit this reference.
        """
        run = self.reference(nudge=nudge, throughout=True)
        try:
            change(run)
            return Probe.of(self._readings(run, plan, GLIMPSED) if until is None else read_rung(run, plan[0], until))
        except Exception:  # whatever a change that does not fit makes the reference raise
            return None

    def layers(self, rows: np.ndarray) -> Layers:
        """The forward pass layer by layer, in the order in which the reference calls them."""
        copies = [partial(self.reference, nudge=draw, throughout=True) for draw in range(LAYER_DRAWS)]
        sides = self.port(), self.reference()
        half = half_policy(self.pair.keras_model, self.pair.torch_module)
        return compare_layers(self.matching.layers, *sides, [*copies, self.double], rows, half)

    def programs(self) -> tuple[PortRun, ReferenceRun]:
        """Both sides from their start, step by step."""
        port = RestingRun(self.host) if self.large and RestingRun.fits(self.host) else self.port()
        return port, self._beside(self.reference())

    def port(self) -> KerasRun:
        """The port at its start, in a state of its own."""
        return KerasRun(self.host)

    def reference(self, *, nudge: int | None = None, throughout: bool = False) -> TorchRun:
        """A copy of the reference, at its start; nudged between its steps, or throughout them.

        Every other nudged copy lies in memory in another order, too, if the module's own code can do with that.
        """
        if nudge is None:
            return self._torch_run()
        relaid = nudge % 2 == 0 and self._works_relaid
        return self._torch_run(nudge=1000 * self.seed + nudge, throughout=throughout, relaid=relaid)

    @cached_property
    def _works_relaid(self) -> bool:
        try:
            self._torch_run(relaid=True).step(self.plan(1)[0])
        except PairError:  # a view() of a tensor whose axes lie otherwise
            return False
        return True

    def double(self) -> TorchRun:
        """A copy of the reference in float64, at its start."""
        return self._torch_run(dtype=torch.float64)

    def read_halves(self, plan: Rows) -> tuple[bool, Iterator[Reading]] | None:
        """Nothing: half types are judged by what a step makes of them."""
        return None

    def beside(self, nudge: int) -> Run:
        """A nudged copy of the reference that runs beside others: a large one is in memory only while it works."""
        return self._beside(self.reference(nudge=nudge))

    def _beside(self, run: TorchRun) -> TorchRun | SleepingRun:
        return SleepingRun(run) if self.large else run

    def _torch_run(self, **how: Any) -> TorchRun:
        return TorchRun(self.pair, self.matching, **how)

    def accuracies(self, port: Run, reference: Run) -> tuple[Scores, Scores] | None:
        """A pair is made of models, which report no accuracy."""
        return None


def updated_tensors(pair: Pair) -> set[str]:
    """Returns the names of the parameters that the reference's optimizer has: it trains no others."""
    if pair.torch_optimizer is None:
        return {name for name, weight in pair.torch_module.named_parameters() if weight.requires_grad}
    given = {id(weight) for group in pair.torch_optimizer.param_groups for weight in group["params"]}
    named = pair.torch_module.named_parameters(remove_duplicate=False)
    return {name for name, weight in named if id(weight) in given}


def in_one_type(ours: np.ndarray, theirs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns two arrays in the reference's floating-point type, or as int64 where both hold whole numbers."""
    if np.issubdtype(theirs.dtype, np.floating):
        return ours.astype(theirs.dtype, copy=False), theirs
    whole = ours.astype(np.int64, copy=False)
    return (whole, theirs.astype(np.int64, copy=False)) if np.array_equal(whole, ours) else (ours, theirs)

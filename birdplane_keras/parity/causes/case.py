"""A rung that failed, with everything that was measured on the way: what causes are read from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from birdplane_keras.parity.causes.budget import Budget
from birdplane_keras.parity.causes.search import NEW_DRAWS, distances, widened_by, with_unmeasured
from birdplane_keras.parity.core.check import Check
from birdplane_keras.parity.core.climb import Climb
from birdplane_keras.parity.core.noise import Noise
from birdplane_keras.parity.core.records import STEP_RUNGS, UPDATES, Probe
from birdplane_keras.parity.pair import Pair
from birdplane_keras.parity.private_keras import layers_of
from birdplane_keras.parity.sides.bench import PairBench
from birdplane_keras.parity.sides.layers import record_keras
from birdplane_keras.parity.sides.torch_run import TorchRun


@dataclass(kw_only=True)
class Case:
    """What is to be explained.

    Args:
        bench: Both sides.
        failed: The check of the rung that broke.
        climb: What was measured up to it.
        budget: The time that may be spent.
        untried: What the search for the cause did not come to, in words.
        changes: What has been put into the reference to explain what differs before.
        changed: What the reference then computes.
    """

    bench: PairBench
    failed: Check
    climb: Climb
    budget: Budget
    untried: list[str] = field(default_factory=list)
    changes: Sequence[Callable[[TorchRun], None]] = ()
    changed: Probe | None = None
    _supposed: list[Any] | None = None

    def supposed(self, suppose: "Callable[[Case], list[Any]]") -> list[Any]:
        """Returns the hypotheses that a function supposes, which is asked once: some make steps of either side."""
        if self._supposed is None:
            self._supposed = suppose(self)
        return self._supposed

    @property
    def rung(self) -> str:
        """The rung that broke."""
        return self.failed.name

    @property
    def pair(self) -> Pair:
        """The pair, with batches stated."""
        return self.bench.pair

    @property
    def port(self) -> Probe:
        """The port's first steps."""
        return self.climb.first_steps()[0]

    @property
    def reference(self) -> Probe:
        """The reference's first steps, as far as it was changed."""
        return self.climb.first_steps()[1] if self.changed is None else self.changed

    def change(self, run: TorchRun) -> None:
        """Changes a run of the reference so."""
        for change in self.changes:
            change(run)

    def changed_run(self) -> TorchRun:
        """Returns a changed run of the reference, at its start; with the port's first gradients where they agree."""
        run = self.bench.reference()
        run.first_gradients = self.port.tensors["gradients"] if self.gradients_agree else None
        self.change(run)
        return run

    @property
    def gradients_agree(self) -> bool:
        """Whether both sides' gradients were seen to agree."""
        return self.rung in UPDATES

    def probe(
        self, changes: Sequence[Callable[[TorchRun], None]], until: str | None = None, *, nudge: int | None = None
    ) -> Probe | None:
        """Returns the first steps of a changed reference; `None` where the changes do not fit it.

        Where the gradients of both sides agree, its first update is made with the port's: what rounding does to an
        update at a gradient near zero is then the same on both sides. Where a rung before is looked at, the first of
        its copies is made so.

        Args:
            changes: Of the reference as it was given.
            until: The one rung that is looked at; `None`: all of them.
            nudge: Of a copy that rounds otherwise, from 0.
        """
        agree = self.gradients_agree
        ports = agree or nudge == 0

        def change(run: TorchRun) -> None:
            run.first_gradients = self.port.tensors["gradients"] if ports else None
            for each in changes:
                each(run)

        return self.bench.probe_changed(self.plan, change, until, nudge=nudge if agree or nudge else None)

    def after(self, failed: Check, changes: Sequence[Callable[[TorchRun], None]], changed: Probe) -> "Case":
        """Returns what is left to explain, once the reference is changed."""
        return replace(self, failed=failed, changes=changes, changed=changed, _supposed=None)

    @property
    def plan(self) -> list[np.ndarray]:
        """The batches of the first steps."""
        return self.climb.plan

    @cached_property
    def noise_of_changed(self) -> Noise:
        """The noise, with that of tensors that only the changed reference has, and wider where its copies jump."""

        def draw(nudge: int) -> Probe | None:
            return self.probe(self.changes, nudge=nudge)

        noise = with_unmeasured(self.climb.noise, self.reference, STEP_RUNGS, draw)
        jumps: Noise | None = None
        for nudge in range(NEW_DRAWS):
            drawn = draw(nudge)
            jumps = jumps if drawn is None else distances(self.reference, drawn, jumps)
        return noise if jumps is None else widened_by(noise, jumps)

    @cached_property
    def called_layers(self) -> list[Any]:
        """The port's layers in the order in which they are first called."""
        named = {str(i): layer for i, layer in enumerate(layers_of(self.pair.keras_model, include_self=False))}
        return [named[name] for name in record_keras(self.bench.port(), named, self.plan[0])]

    @cached_property
    def losses(self) -> tuple[float, float]:
        """The first loss of the port and of the reference."""
        return float(self.port.tensors["loss"]["loss"]), float(self.reference.tensors["loss"]["loss"])

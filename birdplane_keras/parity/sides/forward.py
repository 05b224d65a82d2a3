"""Both sides of a pair that nobody trains: each step is a forward pass, in the mode that the reference is in."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from birdplane_keras.errors import errors_of_pair
from birdplane_keras.parity.core.records import Counterparts, Reading, Role, Rows, States, Tensors
from birdplane_keras.parity.pair import Pair
from birdplane_keras.parity.sides.bench import PairBench
from birdplane_keras.parity.sides.examples import describe_shapes, mapped, take, validation_inputs
from birdplane_keras.parity.sides.keras_run import KerasRun, as_fit_gives, call
from birdplane_keras.parity.sides.modes import half_policy, half_type, modes_as_found
from birdplane_keras.parity.sides.steps import EVALUATED, label
from birdplane_keras.parity.sides.torch_run import TorchRun


class ForwardTorchRun(TorchRun):
    """A copy of a reference that is not trained: a step is a forward pass."""

    modes_of = staticmethod(modes_as_found)

    def _train(
        self, inputs: Any, targets: Any, rows: np.ndarray, on_gradients: Callable[[Any], None] | None
    ) -> np.ndarray:
        given = self.given(inputs)
        with torch.no_grad(), self.watch, self.patched():
            outputs = self.call_on(given)
        if on_gradients is not None:
            on_gradients(outputs)
        return digest(self.to_port(outputs))

    def optimizer_state(self) -> States:
        """Nothing is kept."""
        return {}

    def learning_rate(self) -> float:
        """There is none."""
        return 0.0

    def _nudge_settings(self) -> None:
        pass


class ForwardKerasRun(KerasRun):
    """A port that is not trained: a step is a forward pass."""

    def step(self, rows: np.ndarray) -> np.ndarray:
        """Calls the model on some examples, (B,) their numbers; returns a number that its outputs make, ()."""
        return digest(self.forward(rows))

    def forward(self, rows: np.ndarray) -> Mapping[str, np.ndarray]:
        """Returns the outputs for some examples, in the mode that the reference is in."""
        host = self.host
        host.activate(self)
        inputs = host.examples.take(rows)[0]
        told = errors_of_pair(lambda: f"the Keras model cannot be called on inputs {self._describe(inputs)}")
        with told, torch.no_grad(), self._watched(), self.watch:
            outputs = call(host.model, mapped(as_fit_gives, inputs), host.pair.torch_module.training)
        return self._in_reference_type(host.named(outputs, rows))

    def predict(self, inputs: Any | None = None) -> dict[str, np.ndarray]:
        """Returns the outputs in evaluation mode for the validation inputs, or for others."""
        return self._in_reference_type(super().predict(inputs))

    def _in_reference_type(self, outputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns outputs in float32 where the reference is, and the port computes in a half type on purpose."""
        if half_policy(self.host.model, self.host.pair.torch_module) is None:
            return dict(outputs)
        return {n: a.astype(np.float32) if a.dtype == np.float16 else a for n, a in outputs.items()}

    def gradients(self) -> Iterator[tuple[str, np.ndarray]]:
        """There are none."""
        yield from ()

    def optimizer_state(self) -> States:
        """Nothing is kept."""
        return {}

    def take_state(self, weights: Tensors, states: States) -> bool:
        """Sets the weights."""
        self.host.activate(self)
        self.host.view.set_weights(weights)
        return True

    def learning_rate(self) -> float:
        """There is none."""
        return 0.0


class ForwardBench(PairBench):
    """A pair that is not trained: the rungs that need a step of training are left out."""

    forward_only = True

    def __init__(self, pair: Pair, seed: int) -> None:
        super().__init__(pair, seed)
        self.shows_layers = not self.large  # of a large model that would take the memory of five

    def plan(self, steps: int) -> list[np.ndarray]:
        """The numbers of the examples of the first batch: no other is looked at."""
        return super().plan(1)

    def counterparts(self) -> Counterparts:
        """Which weights belong together; which are trained or tied does not matter here."""
        found = super().counterparts()
        matched = [replace(each, trained=(True, True)) for each in found.matched]
        return Counterparts(matched=matched, problems=found.problems, untied=[])

    def weights_as_built(self) -> tuple[Tensors, Tensors] | None:
        """Not compared."""
        return None

    def port(self) -> KerasRun:
        """The port, in a state of its own."""
        return ForwardKerasRun(self.host)

    def reference(self, *, nudge: int | None = None, throughout: bool = False) -> TorchRun:
        """A copy of the reference; nudged copies compute in the port's half type, if its policies state one."""
        half = half_policy(self.pair.keras_model, self.pair.torch_module)
        if nudge is None or half is None:
            return super().reference(nudge=nudge, throughout=throughout)
        return self._torch_run(nudge=1000 * self.seed + nudge, throughout=True, half=half)

    def read_halves(self, plan: Rows) -> tuple[bool, Iterator[Reading]] | None:
        """Whether the reference rounds to the port's half type, and what it computes otherwise; `None` without one."""
        if half_policy(self.pair.keras_model, self.pair.torch_module) is not None:
            return False, self._readings(self.reference(nudge=0), plan)
        return (True, self._readings(self.double(), plan)) if half_type(self.pair.torch_module) is not None else None

    def _torch_run(self, **how: Any) -> TorchRun:
        return ForwardTorchRun(self.pair, self.matching, **how)

    def read_port(self, plan: Rows, *, reorder: int | None = None) -> Iterator[Reading]:
        """The port's outputs, with the examples in another order if so said."""
        run, rows = self.port(), plan[0]
        order = np.arange(len(rows)) if reorder is None else np.random.default_rng(reorder).permutation(len(rows))
        inputs = take(self.host.validation, slice(EVALUATED))
        yield from label("evaluation", run.predict(inputs), Role.OUTPUT, "{} at the start")
        back = np.argsort(order)
        outputs = run.forward(rows[order]) if isinstance(run, ForwardKerasRun) else {}
        sorted_back = {n: a[back] if a.ndim and len(a) == len(back) else a for n, a in outputs.items()}
        yield from label("forward", sorted_back, Role.OUTPUT)

    def _readings(self, run: TorchRun, plan: Rows, examples: int = EVALUATED) -> Iterator[Reading]:
        yield from label(
            "evaluation",
            run.predict(take(validation_inputs(run.pair), slice(examples))),
            Role.OUTPUT,
            "{} at the start",
        )
        with torch.no_grad(), run.rounded(), run.patched():
            run.set_training()
            inputs = run.examples.take(plan[0])[0]
            with errors_of_pair(lambda: f"the PyTorch module cannot be called on inputs {describe_shapes(inputs)}"):
                outputs = run.call(inputs)
        yield from label("forward", run.to_port(outputs), Role.OUTPUT)


def digest(outputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """Returns a number that changes with the outputs, for those who ask a step for its loss."""
    return np.array(sum(float(np.abs(value.astype(np.float64)).mean()) for value in outputs.values()), np.float32)

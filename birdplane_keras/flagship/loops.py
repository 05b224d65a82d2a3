"""A program's own training loop as a run of the judge's: it is held after every step, until it is asked for the next.

The loop runs in a greenlet: a call stack of its own in the same thread. In a thread of its own it would have a thread
pool of its own, and the two pools would wait for each other.
"""

from typing import Any

import numpy as np
from greenlet import GreenletExit, getcurrent, greenlet

from birdplane_keras.flagship.program import OnEpochEnd, Program
from birdplane_keras.parity.core.records import States, Tensors, TrainingRun
from birdplane_keras.parity.core.samples import Places
from birdplane_keras.parity.sides.arrays import to_numpy


class LoopRun:
    """A run of a program from its start.

    Args:
        program: The reference or the port.
        steps: How many its loop makes.
        on_epoch_end: Called after each epoch.

    Attributes:
        record: What the program returned, once its loop has ended.
    """

    def __init__(self, program: Program, steps: int, on_epoch_end: OnEpochEnd = lambda epoch, metrics: None) -> None:
        self.program, self.steps, self.made = program, steps, 0
        self.model = program.new_model()
        self.view = program.view(self.model)
        self.record: TrainingRun | None = None
        self._on_epoch_end = on_epoch_end
        self._loss = np.zeros((), np.float32)
        self._loop = greenlet(self._train)

    def _train(self) -> None:
        self.record = self.program.train(self.model, self._hold, self._on_epoch_end)

    def _hold(self, step: int, loss: Any) -> None:
        self._loss = to_numpy(loss)
        parent = getcurrent().parent
        if parent is None:
            raise RuntimeError("expected the loop to run in a greenlet")
        parent.switch()

    def step(self, rows: np.ndarray) -> np.ndarray:
        """Lets the loop make its next step, on its own batch; returns the loss, ()."""
        self._loop.switch()
        if self._loop.dead:
            raise RuntimeError("expected another step, but the program's loop has ended")
        self.made += 1
        return self._loss

    def predict(self) -> Tensors:
        """Lets the loop end, if it has made its last step; returns the logits of the validation images."""
        if self.record is None and self.made == self.steps:
            self._loop.switch()
        if self.record is not None:
            return {"outputs": self.record.validation_logits}
        return {"outputs": self.program.predict(self.model, self.program.data()["x_validation"])}

    # Once the loop has ended, the tensors are those that the program returned: what it saves is judged, too.

    def names(self) -> list[str]:
        """Returns the names of all tensors."""
        return list(self.view.names() if self.record is None else self.record.weights)

    def read(self, name: str) -> np.ndarray:
        """Returns a copy of a tensor."""
        return self.view.read(name) if self.record is None else self.record.weights[name].copy()

    def read_some(self, name: str, places: Places) -> np.ndarray:
        """Returns the values at some places of a tensor."""
        return self.view.read_some(name, places) if self.record is None else self.record.weights[name][places]

    def weights(self, *, trainable: bool | None = None) -> Tensors:
        """Returns copies of all tensors, of those that are trained, or of those that are not."""
        if self.record is None:
            return self.view.weights(trainable=trainable)
        wanted = set(self.view.names(trainable=trainable))
        return {name: value for name, value in self.record.weights.items() if name in wanted}

    def optimizer_state(self) -> States:
        """Plain SGD keeps nothing."""
        return {}

    def take_state(self, weights: Tensors, states: States) -> bool:
        """Takes the reference's weights."""
        self.view.set_weights(weights)
        return not states

    def learning_rate(self) -> float:
        """The rate of every step."""
        return float(self.program.recipe()["learning_rate"])

    def close(self) -> None:
        """Ends the loop before its time."""
        if self._loop and not self._loop.dead:
            self._loop.throw(GreenletExit)

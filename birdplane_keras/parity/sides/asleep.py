"""Runs of large models beside others: the references' are in memory only while they work."""

import contextlib
from collections.abc import Iterator, Sequence

import keras
import numpy as np

from birdplane_keras.parity.core.records import States
from birdplane_keras.parity.core.samples import Places
from birdplane_keras.parity.core.shelf import Shelf
from birdplane_keras.parity.sides.kept import Asleep
from birdplane_keras.parity.sides.keras_host import KerasHost
from birdplane_keras.parity.sides.keras_run import KerasRun
from birdplane_keras.parity.sides.memory import give_back_memory, is_large
from birdplane_keras.parity.sides.torch_run import TorchRun


class SleepingRun:
    """A run whose large tensors lie in a file between its steps.

    Args:
        run: At its start, or after any step.
    """

    def __init__(self, run: TorchRun) -> None:
        self._run = run
        self._asleep = Asleep()
        self._large = is_large(run.module)
        self._sleep()

    def step(self, rows: np.ndarray) -> np.ndarray:
        """Makes a training step; returns its loss, (), before the update."""
        with self._awake():
            return self._run.step(rows)

    def names(self) -> Sequence[str]:
        """Returns the names of all matched tensors."""
        return self._run.names()

    def read(self, name: str) -> np.ndarray:
        """Returns a copy of a tensor."""
        with self._asleep.awake(self._run.view.tensors_of(name)):
            return self._run.read(name)

    def read_some(self, name: str, places: Places) -> np.ndarray:
        """Returns the values at some places of a tensor."""
        with self._asleep.awake(self._run.view.tensors_of(name)):
            return self._run.read_some(name, places)

    def weights(self, *, trainable: bool | None = None) -> Shelf:
        """Returns copies of all tensors, of those that are trained, or of those that are not."""
        return Shelf((name, self.read(name)) for name in self._run.names(trainable=trainable))

    def optimizer_state(self) -> States:
        """Returns what the optimizer keeps for each matched tensor."""
        with self._awake():
            return self._run.optimizer_state()

    def predict(self) -> dict[str, np.ndarray]:
        """Returns the outputs in evaluation mode for the validation inputs."""
        with self._awake():
            return self._run.predict()

    def learning_rate(self) -> float:
        """The rate of the next step."""
        return self._run.learning_rate()

    def close(self) -> None:
        """Lets the run go."""
        self._asleep = Asleep()
        self._run.close()

    def _sleep(self) -> None:
        self._asleep.put(self._run.held())
        give_back_memory(large=self._large)

    @contextlib.contextmanager
    def _awake(self) -> Iterator[None]:
        self._asleep.wake()
        try:
            yield
        finally:
            self._sleep()


class RestingRun(KerasRun):
    """A run of a large port that has no gradients between its steps: Keras' own step begins without them."""

    @staticmethod
    def fits(host: KerasHost) -> bool:
        """Whether the steps are Keras' own: another one may go on with the gradients that the last one left."""
        return host.plugin is None and type(host.model).train_step is keras.Model.train_step

    def gradients(self) -> Iterator[tuple[str, np.ndarray]]:
        """There are none.

        Raises:
            RuntimeError: Whenever it is asked.
        """
        raise RuntimeError("expected a run that keeps the gradients of its steps")

    def step(self, rows: np.ndarray) -> np.ndarray:
        """Makes a training step; returns its loss, (), before the update."""
        loss = super().step(rows)
        self._gradients = {}
        self.host.forget_step()
        return loss

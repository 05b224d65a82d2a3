"""A PyTorch module and its optimizer, read by the names of the matched tensors."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

from birdplane_keras.parity.core.records import States
from birdplane_keras.parity.core.samples import Places
from birdplane_keras.parity.core.shelf import Shelf
from birdplane_keras.parity.optimizers.registry import torch_states
from birdplane_keras.parity.sides.views import TorchView


class TorchState:
    """What a run of the reference holds."""

    module: torch.nn.Module
    optimizer: Any
    view: TorchView

    def names(self, *, trainable: bool | None = None) -> list[str]:
        """Returns the names of all matched tensors, or of those that are trained in PyTorch (or are not)."""
        return self.view.names(trainable=trainable)

    def weights(self, *, trainable: bool | None = None) -> Shelf:
        """Returns name -> value of those tensors."""
        return self.view.weights(trainable=trainable)

    def read(self, name: str) -> np.ndarray:
        """Returns the value of a matched tensor."""
        return self.view.read(name)

    def read_some(self, name: str, places: Places) -> np.ndarray:
        """Returns the values at some places of a matched tensor."""
        return self.view.read_some(name, places)

    def gradients(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yields name and gradient of every matched tensor that is trained and has one."""
        trained = set(self.names(trainable=True))
        found = self.view.per_parameter(lambda weight: weight.grad)
        yield from (each for each in found if each[0] in trained)

    def optimizer_state(self) -> States:
        """Returns what the optimizer keeps for each matched tensor."""
        states = torch_states()
        found = ((s, self.view.per_parameter(partial(self._state_of, s))) for s in states)
        return Shelf(((name, state), value) for state, values in found for name, value in values)

    def _state_of(self, state: str, weight: torch.nn.Parameter) -> torch.Tensor | None:
        return self.optimizer.state.get(weight, {}).get(state)

    def learning_rate(self) -> float:
        """The rate of the next step, of the first group of parameters."""
        return float(self.optimizer.param_groups[0]["lr"])

    def held(self) -> list[torch.Tensor]:
        """Returns the tensors that the run is made of: weights, buffers, and what the optimizer keeps."""
        kept = [value for state in self.optimizer.state.values() for value in state.values()]
        own = [*self.module.parameters(), *self.module.buffers()]
        return [value for value in [*own, *kept] if isinstance(value, torch.Tensor)]

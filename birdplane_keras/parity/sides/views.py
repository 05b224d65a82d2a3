"""The matched tensors of a module or of a Keras model, by the reference's names and in its layout."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from birdplane_keras.parity.core.records import Tensors
from birdplane_keras.parity.core.samples import Places
from birdplane_keras.parity.core.shelf import Shelf
from birdplane_keras.parity.kinds.layouts import TensorMatch
from birdplane_keras.parity.matching.ledger import tensors_of
from birdplane_keras.parity.matching.match import Matching
from birdplane_keras.parity.private_keras import variables_of
from birdplane_keras.parity.private_torch import without_modes
from birdplane_keras.parity.sides.arrays import to_view


class TorchView:
    """The matched tensors of a PyTorch module.

    Args:
        module: The reference's module, or a copy of it.
        matching: Gives the names.
    """

    def __init__(self, module: torch.nn.Module, matching: Matching) -> None:
        self.matches = {match.name: match for match in matching.tensors}
        self._values = tensors_of(module)
        self._parameters = dict(module.named_parameters(remove_duplicate=False))

    def tensors_of(self, name: str) -> list[torch.Tensor]:
        """Returns the module's tensors that a matched one is made of."""
        return [self._values[part] for part in self.matches[name].torch]

    def names(self, *, trainable: bool | None = None) -> list[str]:
        """Returns the names of all matched tensors, or of those that are trained in PyTorch (or are not)."""
        return [n for n, match in self.matches.items() if trainable is None or match.trainable[1] == trainable]

    def weights(self, *, trainable: bool | None = None) -> Shelf:
        """Returns name -> copy of the value, of those tensors."""
        return Shelf((name, self.read(name)) for name in self.names(trainable=trainable))

    def read(self, name: str) -> np.ndarray:
        """Returns a copy of a tensor."""
        match = self.matches[name]
        return match.from_torch(*(to_view(self._values[part]) for part in match.torch))

    def read_some(self, name: str, places: Places) -> np.ndarray:
        """Returns the values at some places of a tensor."""
        match = self.matches[name]
        return match.view_torch(*(to_view(self._values[part]) for part in match.torch))[places]

    def set_gradients(self, gradients: Tensors, share: float) -> None:
        """Gives the parameters that have gradients a share of others in their place.

        Args:
            gradients: Name -> gradient.
            share: Of each.
        """
        for name, match in self.matches.items():
            weights = [self._parameters[part] for part in match.torch if part in self._parameters]
            if name not in gradients or len(weights) < len(match.torch):
                continue
            with without_modes():  # nobody who watches the step sees this
                now = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in weights]
                made = match.gradient_to_torch(gradients[name] * np.float32(share), [*map(to_view, now)])
                for gradient, value in zip(now, made, strict=True):
                    gradient.copy_(torch.as_tensor(value))

    def per_parameter(self, read: Callable[[Any], torch.Tensor | None]) -> Iterator[tuple[str, np.ndarray]]:
        """Yields name, and what is read of the parameters that a tensor has, where it is a gradient or the like.

        What is yielded may share the memory of what was read.
        """
        for name, match in self.matches.items():
            values = [read(self._parameters[part]) if part in self._parameters else None for part in match.torch]
            value = match.gradient_from_torch(*(v if v is None else to_view(v) for v in values))
            if value is not None:
                yield name, value


class KerasView:
    """The matched variables of a Keras model.

    Args:
        matching: Gives the names, and the variables.
    """

    def __init__(self, matching: Matching) -> None:
        self.matches = {match.name: match for match in matching.tensors}
        self.variables = matching.variables

    def names(self, *, trainable: bool | None = None) -> list[str]:
        """Returns the names of all matched tensors, or of those that are trained in Keras (or are not)."""
        return [n for n, match in self.matches.items() if trainable is None or match.trainable[0] == trainable]

    def weights(self, *, trainable: bool | None = None) -> Shelf:
        """Returns name -> copy of the value, of those tensors."""
        return Shelf((name, self.read(name)) for name in self.names(trainable=trainable))

    def read(self, name: str) -> np.ndarray:
        """Returns a copy of a tensor."""
        return self.turned(name, self.variables[name].value)

    def turned(self, name: str, value: torch.Tensor) -> np.ndarray:
        """Returns a copy of something in the shape of a tensor, such as its gradient, in the reference's layout."""
        return self.matches[name].from_keras(to_view(value))

    def read_some(self, name: str, places: Places) -> np.ndarray:
        """Returns the values at some places of a tensor."""
        return self.matches[name].view_keras(to_view(self.variables[name].value))[places]

    def set_weights(self, weights: Tensors) -> None:
        """Sets all matched tensors."""
        for name, match in self.matches.items():
            self.variables[name].assign(match.to_keras(weights[name]))

    def trained(self, optimizer: Any) -> Sequence[tuple[TensorMatch, int]]:
        """Returns the matched tensors that an optimizer trains, with their place in its lists."""
        places = {id(variable): index for index, variable in enumerate(variables_of(optimizer))}
        found = [(match, places.get(id(self.variables[name]))) for name, match in self.matches.items()]
        return [(match, index) for match, index in found if index is not None]

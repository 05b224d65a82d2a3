"""What Keras' optimizers share once they update as PyTorch's do: parameter groups, and clipping by the norm."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import torch

Groups = Mapping[str, Mapping[str, float]]
GROUP_SETTINGS = ("rate_factor", "weight_decay")
CLIPPING_EPSILON = 1e-6  # that torch.nn.utils.clip_grad_norm_ adds to the norm


def as_given(learning_rate: Any) -> float:
    """Returns a learning rate as it was typed: 0.001, where Keras' float32 variable holds 0.0010000000475.

    PyTorch computes with the typed one in double precision: the shortest decimal that rounds to the float32 value.
    """
    return float(str(keras.ops.convert_to_numpy(learning_rate)[()]))


class PyTorchForm(keras.optimizers.Optimizer):
    """The part of an optimizer that does not depend on its rule.

    Args:
        groups: Part of a variable's path -> settings of the variables whose paths have it, as PyTorch's parameter
            groups have them: `rate_factor`, by which the learning rate is multiplied, and `weight_decay`. The first
            that fits counts; a variable that fits none has the optimizer's own.
        **kwargs: The arguments of the Keras optimizer.

    Raises:
        ValueError: A group has another setting.
    """

    def __init__(self, *, groups: Groups | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.groups = {part: dict(settings) for part, settings in (groups or {}).items()}
        wrong = [name for settings in self.groups.values() for name in settings if name not in GROUP_SETTINGS]
        if wrong:
            raise ValueError(f"expected settings of a group among {', '.join(GROUP_SETTINGS)}, received {wrong[0]!r}")

    def group_of(self, variable: Any) -> Mapping[str, float]:
        """Returns the settings of the first group that a variable is in."""
        return next((settings for part, settings in self.groups.items() if part in variable.path), {})

    def rate_of(self, variable: Any, learning_rate: Any) -> float:
        """Returns the learning rate of a variable."""
        return as_given(learning_rate) * float(self.group_of(variable).get("rate_factor", 1.0))

    def decay_of(self, variable: Any) -> float:
        """Returns the weight decay of a variable, 0 for one that is excluded from it."""
        if not self._use_weight_decay(variable):
            return 0.0
        return float(self.group_of(variable).get("weight_decay", self.weight_decay or 0.0))

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        """Leaves the weights alone: each rule decays them in its own place."""

    def _clip_gradients(self, grads: Sequence[Any]) -> Sequence[Any]:
        """Clips as `torch.nn.utils.clip_grad_norm_` does, which divides by the norm + 1e-6; Keras by the norm."""
        given = [gradient for gradient in grads if gradient is not None]
        if self.global_clipnorm and given:
            scale = clipping_scale(given, self.global_clipnorm)
            return [None if gradient is None else gradient * scale for gradient in grads]
        if self.clipnorm:
            return [None if g is None else g * clipping_scale([g], self.clipnorm) for g in grads]
        return super()._clip_gradients(grads)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"groups": self.groups}


def clipping_scale(gradients: Sequence[torch.Tensor], limit: float) -> torch.Tensor:
    """Returns what PyTorch multiplies gradients by so that their common norm is at most a limit: ()."""
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(gradient) for gradient in gradients]))
    return torch.clamp(limit / (norm + CLIPPING_EPSILON), max=1.0)

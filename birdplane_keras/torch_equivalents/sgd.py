"""`torch.optim.SGD` for Keras."""

from typing import Any

import keras
import torch

from birdplane_keras.torch_equivalents.form import PyTorchForm


@keras.saving.register_keras_serializable("birdplane_keras")
class SGD(PyTorchForm, keras.optimizers.SGD):
    """`torch.optim.SGD`: weight decay is added to the gradient, and the velocity holds no rate.

    The update is g += decay * w; v = momentum * v + (1 - dampening) * g (v = g at the first); w -= rate * v, or with
    Nesterov's momentum w -= rate * (g + momentum * v). Keras' own SGD keeps the rate in its velocity, so that the two
    differ where the rate changes, and takes the decay from the weight.

    Args:
        learning_rate: As for `keras.optimizers.SGD`.
        momentum: As in PyTorch.
        nesterov: As in PyTorch.
        dampening: As in PyTorch.
        **kwargs: The other arguments of `keras.optimizers.SGD`, and `groups`; see `PyTorchForm`.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        momentum: float = 0.0,
        nesterov: bool = False,
        dampening: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, momentum=momentum, nesterov=nesterov, **kwargs)
        self.dampening = dampening

    @torch.no_grad()
    def update_step(self, gradient, variable, learning_rate):
        gradient, weight = keras.ops.cast(gradient, variable.dtype), variable.value
        decay = self.decay_of(variable)
        if decay:
            gradient = gradient.add(weight, alpha=decay)
        if self.momentum:
            velocity = self.momentums[self._get_variable_index(variable)].value
            if int(self.iterations) == 0:
                velocity.copy_(gradient)
            else:
                velocity.mul_(self.momentum).add_(gradient, alpha=1 - self.dampening)
            gradient = gradient.add(velocity, alpha=self.momentum) if self.nesterov else velocity
        weight.add_(gradient, alpha=-self.rate_of(variable, learning_rate))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"dampening": self.dampening}

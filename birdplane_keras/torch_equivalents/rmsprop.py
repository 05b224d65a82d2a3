"""`torch.optim.RMSprop` for Keras."""

from typing import Any

import keras
import torch

from birdplane_keras.torch_equivalents.form import PyTorchForm


@keras.saving.register_keras_serializable("birdplane_keras")
class RMSprop(PyTorchForm, keras.optimizers.RMSprop):
    """`torch.optim.RMSprop`: epsilon is added to the root, where Keras has it within, and the velocity holds no rate.

    The update is v = rho * v + (1 - rho) * g^2; w -= rate * g / (sqrt(v) + epsilon). With momentum the quotient is
    gathered, b = momentum * b + g / (sqrt(v) + epsilon), and w -= rate * b. Centred, the root is of v minus the square
    of the mean gradient.

    Args:
        learning_rate: As for `keras.optimizers.RMSprop`.
        rho: PyTorch's `alpha`, with its default.
        momentum: As in PyTorch.
        epsilon: PyTorch's `eps`, with its default.
        centered: As in PyTorch.
        **kwargs: The other arguments of `keras.optimizers.RMSprop`, and `groups`; see `PyTorchForm`.
    """

    def __init__(
        self,
        learning_rate: Any = 0.01,
        rho: float = 0.99,
        momentum: float = 0.0,
        epsilon: float = 1e-8,
        centered: bool = False,
        **kwargs: Any,
    ) -> None:
        constants: dict[str, Any] = {"rho": rho, "momentum": momentum, "epsilon": epsilon, "centered": centered}
        super().__init__(learning_rate=learning_rate, **constants, **kwargs)

    @torch.no_grad()
    def update_step(self, gradient, variable, learning_rate):
        gradient, weight = keras.ops.cast(gradient, variable.dtype), variable.value
        index = self._get_variable_index(variable)
        decay = self.decay_of(variable)
        if decay:
            gradient = gradient.add(weight, alpha=decay)
        square = self._velocities[index].value
        square.mul_(self.rho).addcmul_(gradient, gradient, value=1 - self.rho)
        root = square
        if self.centered:
            mean = self._average_gradients[index].value
            mean.lerp_(gradient, 1 - self.rho)
            root = square.addcmul(mean, mean, value=-1)
        root = root.sqrt().add_(self.epsilon)
        rate = self.rate_of(variable, learning_rate)
        if self.momentum > 0:
            gathered = self._momentums[index].value
            gathered.mul_(self.momentum).addcdiv_(gradient, root)
            weight.add_(gathered, alpha=-rate)
        else:
            weight.addcdiv_(gradient, root, value=-rate)

"""`torch.optim.Adagrad` for Keras."""

from typing import Any

import keras
import torch

from birdplane_keras.torch_equivalents.form import PyTorchForm


@keras.saving.register_keras_serializable("birdplane_keras")
class Adagrad(PyTorchForm, keras.optimizers.Adagrad):
    """`torch.optim.Adagrad`: epsilon is added to the root, where Keras has it within, and the sum starts at zero.

    The update is s += g^2; w -= rate / (1 + t * lr_decay) * g / (sqrt(s) + epsilon), with t the updates made before.

    Args:
        learning_rate: PyTorch's `lr`, with its default.
        initial_accumulator_value: With PyTorch's default.
        epsilon: PyTorch's `eps`, with its default.
        lr_decay: As in PyTorch.
        **kwargs: The other arguments of `keras.optimizers.Adagrad`, and `groups`; see `PyTorchForm`.
    """

    def __init__(
        self,
        learning_rate: Any = 0.01,
        initial_accumulator_value: float = 0.0,
        epsilon: float = 1e-10,
        lr_decay: float = 0.0,
        **kwargs: Any,
    ) -> None:
        constants: dict[str, Any] = {"initial_accumulator_value": initial_accumulator_value, "epsilon": epsilon}
        super().__init__(learning_rate=learning_rate, **constants, **kwargs)
        self.lr_decay = lr_decay

    @torch.no_grad()
    def update_step(self, gradient, variable, learning_rate):
        gradient, weight = keras.ops.cast(gradient, variable.dtype), variable.value
        decay = self.decay_of(variable)
        if decay:
            gradient = gradient.add(weight, alpha=decay)
        total = self._accumulators[self._get_variable_index(variable)].value
        total.addcmul_(gradient, gradient, value=1)
        rate = self.rate_of(variable, learning_rate) / (1 + int(self.iterations) * self.lr_decay)
        weight.addcdiv_(gradient, total.sqrt().add_(self.epsilon), value=-rate)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"lr_decay": self.lr_decay}

"""`torch.optim.Adam` and `torch.optim.AdamW` for Keras."""

from typing import Any

import keras
import torch

from birdplane_keras.torch_equivalents.form import PyTorchForm


def adam_step(optimizer: Any, gradient: torch.Tensor, variable: Any, rate: float) -> None:
    """Updates one variable and its moments in place, as `torch.optim.adam._single_tensor_adam` does.

    Keras adds epsilon to sqrt(v); PyTorch adds it to sqrt(v) / sqrt(1 - beta_2^t), so that in Keras' formula PyTorch's
    epsilon would have to shrink to epsilon * sqrt(1 - beta_2^t), which is another number at every step.

    Args:
        optimizer: Built; gives the constants, the moments and the number of steps taken before this one.
        gradient: Of the loss, in the shape of the variable.
        variable: A Keras variable that the optimizer was built for.
        rate: The learning rate of this step.
    """
    index, step = optimizer._get_variable_index(variable), int(optimizer.iterations) + 1
    momentum, velocity = optimizer._momentums[index].value, optimizer._velocities[index].value
    momentum.lerp_(gradient, 1 - optimizer.beta_1)
    velocity.mul_(optimizer.beta_2).addcmul_(gradient, gradient, value=1 - optimizer.beta_2)
    if optimizer.amsgrad:
        largest = optimizer._velocity_hats[index].value
        velocity = torch.maximum(largest, velocity, out=largest)
    root_of_correction = (1 - optimizer.beta_2**step) ** 0.5
    denominator = (velocity.sqrt() / root_of_correction).add_(optimizer.epsilon)
    variable.value.addcdiv_(momentum, denominator, value=-(rate / (1 - optimizer.beta_1**step)))


@keras.saving.register_keras_serializable("birdplane_keras")
class Adam(PyTorchForm, keras.optimizers.Adam):
    """`torch.optim.Adam`: epsilon is added to the bias-corrected root, and weight decay to the gradient.

    The update is w -= rate / (1 - beta_1^t) * m / (sqrt(v) / sqrt(1 - beta_2^t) + epsilon).

    Args:
        learning_rate: As for `keras.optimizers.Adam`.
        beta_1: Decay of the mean of the gradients, `betas[0]` in PyTorch.
        beta_2: Decay of the mean of their squares, `betas[1]` in PyTorch.
        epsilon: PyTorch's `eps`, with its default.
        **kwargs: The other arguments of `keras.optimizers.Adam`, and `groups`; see `PyTorchForm`. `weight_decay` times
            the weight is added to the gradient, after any clipping, as PyTorch's Adam does it (Keras' own Adam decays
            as AdamW does).
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon, **kwargs)

    @torch.no_grad()
    def update_step(self, gradient, variable, learning_rate):
        gradient = keras.ops.cast(gradient, variable.dtype)
        decay = self.decay_of(variable)
        if decay:
            gradient = gradient.add(variable.value, alpha=decay)
        adam_step(self, gradient, variable, self.rate_of(variable, learning_rate))


@keras.saving.register_keras_serializable("birdplane_keras")
class AdamW(PyTorchForm, keras.optimizers.AdamW):
    """`torch.optim.AdamW`: `Adam`, with the weights scaled by 1 - rate * decay before each update instead.

    Args:
        learning_rate: As for `keras.optimizers.AdamW`.
        weight_decay: PyTorch's default, 0.01; that of Keras is 0.004.
        beta_1: Decay of the mean of the gradients, `betas[0]` in PyTorch.
        beta_2: Decay of the mean of their squares, `betas[1]` in PyTorch.
        epsilon: PyTorch's `eps`, with its default.
        **kwargs: The other arguments of `keras.optimizers.AdamW`, and `groups`; see `PyTorchForm`.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        weight_decay: float = 0.01,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        **kwargs: Any,
    ) -> None:
        constants: dict[str, Any] = {"beta_1": beta_1, "beta_2": beta_2, "epsilon": epsilon}
        super().__init__(learning_rate=learning_rate, weight_decay=weight_decay, **constants, **kwargs)

    @torch.no_grad()
    def update_step(self, gradient, variable, learning_rate):
        rate, decay = self.rate_of(variable, learning_rate), self.decay_of(variable)
        if decay:
            variable.value.mul_(1 - rate * decay)
        adam_step(self, keras.ops.cast(gradient, variable.dtype), variable, rate)

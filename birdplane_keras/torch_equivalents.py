"""Keras classes that do what PyTorch's do, where Keras' own class does something else that no setting can mend.

Only for the torch backend: they call PyTorch's operations in PyTorch's order, so that what is left is rounding.
"""

from typing import Any

import keras
import torch


def adam_step(optimizer: keras.optimizers.Adam, gradient: torch.Tensor, variable: Any, rate: float) -> None:
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


def as_given(learning_rate: Any) -> float:
    """Returns a learning rate as it was typed: 0.001, where Keras' float32 variable holds 0.0010000000475.

    PyTorch computes with the typed one in double precision: the shortest decimal that rounds to the float32 value.
    """
    return float(str(keras.ops.convert_to_numpy(learning_rate)[()]))


@keras.saving.register_keras_serializable("birdplane_keras")
class Adam(keras.optimizers.Adam):
    """`torch.optim.Adam`: epsilon is added to the bias-corrected root, and weight decay to the gradient.

    The update is w -= rate / (1 - beta_1^t) * m / (sqrt(v) / sqrt(1 - beta_2^t) + epsilon).

    Args:
        learning_rate: As for `keras.optimizers.Adam`.
        beta_1: Decay of the mean of the gradients, `betas[0]` in PyTorch.
        beta_2: Decay of the mean of their squares, `betas[1]` in PyTorch.
        epsilon: PyTorch's `eps`, with its default.
        **kwargs: The other arguments of `keras.optimizers.Adam`. `weight_decay` times the weight is added to the
            gradient, after any clipping, as PyTorch's Adam does it (Keras' own Adam decays as AdamW does).
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

    def _apply_weight_decay(self, variables):
        """Leaves the weights alone: the decay is in the gradient."""

    @torch.no_grad()
    def update_step(self, gradient, variable, learning_rate):
        gradient = keras.ops.cast(gradient, variable.dtype)
        if self.weight_decay and self._use_weight_decay(variable):
            gradient = gradient.add(variable.value, alpha=self.weight_decay)
        adam_step(self, gradient, variable, as_given(learning_rate))


@keras.saving.register_keras_serializable("birdplane_keras")
class AdamW(keras.optimizers.AdamW):
    """`torch.optim.AdamW`: `Adam`, with the weights scaled by 1 - rate * decay before each update instead.

    Args:
        learning_rate: As for `keras.optimizers.AdamW`.
        weight_decay: PyTorch's default, 0.01; that of Keras is 0.004.
        beta_1: Decay of the mean of the gradients, `betas[0]` in PyTorch.
        beta_2: Decay of the mean of their squares, `betas[1]` in PyTorch.
        epsilon: PyTorch's `eps`, with its default.
        **kwargs: The other arguments of `keras.optimizers.AdamW`.
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
        super().__init__(
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            **kwargs,
        )

    @torch.no_grad()
    def _apply_weight_decay(self, variables):
        kept = 1 - as_given(self.learning_rate) * self.weight_decay
        for variable in variables:
            if self._use_weight_decay(variable):
                variable.value.mul_(kept)

    @torch.no_grad()
    def update_step(self, gradient, variable, learning_rate):
        adam_step(self, keras.ops.cast(gradient, variable.dtype), variable, as_given(learning_rate))


@keras.saving.register_keras_serializable("birdplane_keras")
class BatchNormalization(keras.layers.BatchNormalization):
    """`torch.nn.BatchNorm1d` to `BatchNorm3d`: the moving variance takes the batch variance over n - 1.

    Training outputs use the variance over n, as both frameworks' do; Keras puts that one into the moving variance too.
    Keras also computes it as E[x^2] - E[x]^2, which loses digits where the mean is large; this class does not.
    A layer with `trainable=False` uses its moving statistics even in training, as every Keras layer of this kind.

    Args:
        axis: The channels; -1 for (N, C), (N, L, C), (N, H, W, C).
        momentum: What is kept of the moving statistics, which is 1 minus PyTorch's `momentum`.
        epsilon: PyTorch's `eps`, with its default.
        **kwargs: The other arguments of `keras.layers.BatchNormalization`, without `renorm`.

    Raises:
        ValueError: `renorm` is set, or a mask comes in training: PyTorch has neither.
    """

    def __init__(self, axis: int = -1, momentum: float = 0.9, epsilon: float = 1e-5, **kwargs: Any) -> None:
        super().__init__(axis=axis, momentum=momentum, epsilon=epsilon, **kwargs)
        if self.renorm:
            raise ValueError(
                "expected renorm=False, as PyTorch has no batch renormalisation, received renorm=True: "
                "take keras.layers.BatchNormalization for it"
            )

    def call(self, inputs, training=None, mask=None):
        training = bool(training and self.trainable)
        if training and mask is not None:
            raise ValueError(
                f"expected no mask, as PyTorch's statistics count every position, received one of shape "
                f"{tuple(mask.shape)}: take keras.layers.BatchNormalization, or pass mask=None"
            )
        values = keras.ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        mean, variance = (w.value.detach().clone() for w in (self.moving_mean, self.moving_variance))
        outputs = torch.nn.functional.batch_norm(
            values.movedim(self.axis, 1),
            mean,
            variance,
            weight=self.gamma.value if self.scale else None,
            bias=self.beta.value if self.center else None,
            training=training,
            momentum=1 - self.momentum,
            eps=self.epsilon,
        )
        if training:
            self.moving_mean.assign(mean)
            self.moving_variance.assign(variance)
        return keras.ops.cast(outputs.movedim(1, self.axis), self.compute_dtype)

"""Batch normalisation whose moving variance is PyTorch's."""

from typing import Any

import keras
import torch


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

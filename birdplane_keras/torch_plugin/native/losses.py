"""Losses, averaged as PyTorch averages them: over all numbers at once."""

import inspect
from collections.abc import Callable
from typing import Any

import keras
import torch
from torch.nn import functional

from birdplane_keras.torch_plugin.native.forms import NativeForm
from birdplane_keras.torch_plugin.private_keras import get_keras_mask

# From the targets, the predictions and the settings of Keras' function to the mean; `NotImplemented` where it has none.
Mean = Callable[..., Any]


def squared_error(targets: torch.Tensor, outputs: torch.Tensor) -> Any:
    """`mse_loss`."""
    return functional.mse_loss(outputs, targets) if targets.shape == outputs.shape else NotImplemented


def absolute_error(targets: torch.Tensor, outputs: torch.Tensor) -> Any:
    """`l1_loss`."""
    return functional.l1_loss(outputs, targets) if targets.shape == outputs.shape else NotImplemented


def huber(targets: torch.Tensor, outputs: torch.Tensor, delta: float = 1.0) -> Any:
    """`huber_loss`."""
    same = targets.shape == outputs.shape and isinstance(delta, int | float)
    return functional.huber_loss(outputs, targets, delta=delta) if same else NotImplemented


def binary(
    targets: torch.Tensor,
    outputs: torch.Tensor,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Any:
    """`binary_cross_entropy_with_logits`; of probabilities Keras clips first."""
    if not from_logits or label_smoothing or targets.shape != outputs.shape:
        return NotImplemented
    return functional.binary_cross_entropy_with_logits(outputs, targets)


def sparse_categorical(
    targets: torch.Tensor, outputs: torch.Tensor, from_logits: bool = False, ignore_class: Any = None, axis: int = -1
) -> Any:
    """`cross_entropy` of class numbers."""
    if not from_logits or ignore_class is not None or axis not in (-1, outputs.ndim - 1) or outputs.ndim < 2:
        return NotImplemented
    if targets.ndim == outputs.ndim and targets.shape[-1] == 1:
        targets = targets.squeeze(-1)
    if targets.shape != outputs.shape[:-1]:
        return NotImplemented
    return functional.cross_entropy(outputs.flatten(0, -2), targets.flatten().long())


def categorical(
    targets: torch.Tensor,
    outputs: torch.Tensor,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Any:
    """`cross_entropy` of probabilities of the classes."""
    is_plain = from_logits and not label_smoothing and axis in (-1, outputs.ndim - 1)
    if not is_plain or targets.shape != outputs.shape or outputs.ndim < 2:
        return NotImplemented
    return functional.cross_entropy(outputs.flatten(0, -2), targets.flatten(0, -2))


# Keras' function of a loss, which its class and its name in `compile` share -> PyTorch's mean.
MEANS: dict[Callable, Mean] = {
    keras.losses.mean_squared_error: squared_error,
    keras.losses.mean_absolute_error: absolute_error,
    keras.losses.huber: huber,
    keras.losses.binary_crossentropy: binary,
    keras.losses.sparse_categorical_crossentropy: sparse_categorical,
    keras.losses.categorical_crossentropy: categorical,
}
_WRAPPER = keras.losses.MeanSquaredError.__base__  # calls a function, and is what `compile` makes of a name
# Keras' mean over a batch where there are no weights and no mask.
_REDUCTIONS = ("sum_over_batch_size", "mean", "mean_with_sample_weight")


def loss(keras_loss: Any, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
    """One of PyTorch's losses in the place of `keras.losses.Loss.__call__`."""
    is_wrapper = _WRAPPER is not None and isinstance(keras_loss, _WRAPPER)
    mean = MEANS.get(keras_loss.fn) if is_wrapper and type(keras_loss).call is _WRAPPER.call else None
    if mean is None or keras_loss.reduction not in _REDUCTIONS or sample_weight is not None:
        return NotImplemented
    if not (torch.is_tensor(y_true) and torch.is_tensor(y_pred)) or not y_pred.numel():
        return NotImplemented
    if get_keras_mask(y_pred) is not None or get_keras_mask(y_true) is not None:
        return NotImplemented
    outputs = keras.ops.convert_to_tensor(y_pred, dtype=keras_loss.dtype)
    if mean is not sparse_categorical:
        y_true = keras.ops.convert_to_tensor(y_true, dtype=keras_loss.dtype)
    known = inspect.signature(mean).parameters
    settings = keras_loss._fn_kwargs
    if any(value for name, value in settings.items() if name not in known):  # a setting of a later Keras
        return NotImplemented
    return mean(y_true, outputs, **{name: value for name, value in settings.items() if name in known})


FORMS = (NativeForm(name="loss", owner=keras.losses.Loss, attribute="__call__", make=loss),)

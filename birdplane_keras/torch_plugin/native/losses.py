"""Losses, averaged as PyTorch averages them: over all numbers at once."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import keras
import torch
from torch.nn import functional

from birdplane_keras.torch_plugin.native.forms import NativeForm
from birdplane_keras.torch_plugin.private_keras import LossFunctionWrapper, losses_module

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
# Keras' mean over a batch where there are no weights and no mask.
_REDUCTIONS = ("sum_over_batch_size", "mean", "mean_with_sample_weight")
_call = LossFunctionWrapper.call


def per_example(loss: Any, y_true: Any, y_pred: Any) -> Any:
    """Keras' own losses of a batch, which remember how PyTorch averages them: a loss of the user's may return them."""
    losses = _call(loss, y_true, y_pred)
    mean = MEANS.get(loss.fn)
    known = inspect.signature(mean).parameters if mean is not None else {}
    if mean is None or not all(torch.is_tensor(each) and each.numel() for each in (y_true, y_pred, losses)):
        return losses
    settings = {name: value for name, value in loss._fn_kwargs.items() if name in known}
    if not any(value for name, value in loss._fn_kwargs.items() if name not in known):  # a setting of a later Keras
        targets, outputs = losses_module.squeeze_or_expand_to_same_rank(y_true, y_pred)
        losses.birdplane_mean = (functools.partial(mean, targets, outputs, **settings), losses._version)
    return losses


def average(
    values: Any, sample_weight: Any = None, mask: Any = None, reduction: Any = "sum_over_batch_size", dtype: Any = None
) -> Any:
    """One of PyTorch's losses in the place of the mean over what `per_example` returned."""
    mean, version = getattr(values, "birdplane_mean", (None, None))
    if mean is None or values._version != version or reduction not in _REDUCTIONS:
        return NotImplemented
    return mean() if sample_weight is None and mask is None else NotImplemented


FORMS = (
    NativeForm(name=None, owner=LossFunctionWrapper, attribute="call", make=per_example),
    NativeForm(name="loss", owner=losses_module, attribute="reduce_weighted_values", make=average),
)

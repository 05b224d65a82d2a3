"""What the plugin imports of Keras that Keras does not publish, for each version from the lowest that is supported."""

import functools
import inspect
from typing import Any

import keras
import torch
from keras.src.backend.common import global_state
from keras.src.backend.common.keras_tensor import KerasTensor
from keras.src.backend.common.masking import get_keras_mask, set_keras_mask
from keras.src.backend.torch import trainer
from keras.src.backend.torch.optimizers import torch_adagrad, torch_adam, torch_adamw, torch_rmsprop, torch_sgd
from keras.src.backend.torch.random import torch_seed_generator
from keras.src.callbacks.callback_list import CallbackList
from keras.src.losses import loss as losses_module
from keras.src.losses.losses import LossFunctionWrapper
from keras.src.ops.node import Node
from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter
from keras.src.trainers.data_adapters.data_adapter_utils import unpack_x_y_sample_weight
from keras.src.utils.naming import auto_name
from keras.src.utils.python_utils import is_default
from keras.src.utils.tracking import Tracker

try:  # 3.16
    from keras.src.backend.torch.ops.core import get_device
except ImportError:
    from keras.src.backend.torch.core import get_device

__all__ = [
    "ANNOUNCEMENTS",
    "SGD",
    "SGD_ADDS_MULTIPLES",
    "STOCK_LOOPS",
    "STOCK_TRAINER",
    "TORCH_OPTIMIZERS",
    "ArrayDataAdapter",
    "CallbackList",
    "KerasTensor",
    "LossFunctionWrapper",
    "Node",
    "Tracker",
    "auto_name",
    "compiled_parts",
    "flatten_layers",
    "get_device",
    "get_keras_mask",
    "global_seed",
    "global_settings",
    "has_global_seed",
    "is_default",
    "is_torch_sgd",
    "layer_losses",
    "leave_losses",
    "loss_containers",
    "losses_module",
    "seeds_are_masked",
    "set_global_seed",
    "set_keras_mask",
    "unpack_x_y_sample_weight",
    "values_of",
]

SGD = torch_sgd.SGD
# Whether SGD adds a multiple of a gradient in one operation, or the product of both: another rounding.
SGD_ADDS_MULTIPLES = tuple(int(part) for part in keras.__version__.split(".")[:2]) < (3, 16)
# Keras makes these where its own class, of the same name, is asked for.
TORCH_OPTIMIZERS: dict[str, type] = {
    "Adagrad": torch_adagrad.Adagrad,
    "Adam": torch_adam.Adam,
    "AdamW": torch_adamw.AdamW,
    "RMSprop": torch_rmsprop.RMSprop,
    "SGD": SGD,
}
STOCK_TRAINER: type = getattr(trainer, "TorchTrainer", None) or trainer.Trainer  # the latter from 3.16 on
# Name of a method by which a list of callbacks tells of a batch -> Keras' own.
# Keras' own loops that may take several batches at once: a subclass may have written its own after them.
STOCK_LOOPS = {
    kind: inspect.unwrap(getattr(STOCK_TRAINER, name)).__code__
    for kind, name in (("test", "evaluate"), ("predict",) * 2)
}
ANNOUNCEMENTS = {
    name: getattr(CallbackList, name)
    for kind in ("train", "test", "predict")
    for name in (f"on_{kind}_batch_begin", f"on_{kind}_batch_end")
}
# What Keras keeps for a thread and reads while a step runs. The others name layers, build them or save them.
_SETTINGS = (
    "autocast_scope", "distribution", "flash_attention", "nnx_enabled", "remat_scope_stack", "stateless_scope",
    "symbolic_scope", "torch_device",
)  # fmt: skip
_GLOBAL_SEED = "global_seed_generator"


def global_settings() -> tuple[Any, ...] | None:
    """Returns the settings of this thread that a step depends on; `None` where none is set, as a rule."""
    kept = vars(global_state.GLOBAL_STATE_TRACKER)
    values = [kept[name] for name in _SETTINGS if name in kept]
    if not any(values):
        return None
    return tuple([value if isinstance(value, str | bool) else id(value) if value else None for value in values])


def has_global_seed() -> bool:
    """Tells whether Keras' generator for draws without a seed has been made; its first use makes it."""
    return global_seed() is not None


def global_seed() -> Any:
    """Returns Keras' generator for draws without a seed, in this thread; `None` before its first use."""
    return global_state.get_global_attribute(_GLOBAL_SEED)


def set_global_seed(generator: Any) -> None:
    """Sets that generator; where it is `None`, its next use makes it again, from the same global seed."""
    global_state.set_global_attribute(_GLOBAL_SEED, generator)


@functools.cache
def seeds_are_masked() -> bool:
    """Tells whether Keras takes a drawn seed, an int32, as an unsigned number: from 3.15 on."""
    with keras.device("cpu"):
        generator = torch_seed_generator(-5)
    return bool(generator is not None and generator.initial_seed() == -5 & 0xFFFFFFFF)


def is_torch_sgd(optimizer: Any) -> bool:
    """Tells whether an optimizer is Keras' SGD for this backend, and no subclass of it."""
    return type(optimizer) in (SGD, keras.optimizers.SGD)


def flatten_layers(model: keras.Model) -> list[Any]:
    """Returns a model and all layers within it, at any depth."""
    return list(model._flatten_layers())


def compiled_parts(model: keras.Model) -> tuple[Any, ...]:
    """Returns the objects that `compile` makes, which are others after it."""
    return getattr(model, "optimizer", None), model._compile_loss, model._compile_metrics, model._loss_tracker


def layer_losses(model: keras.Model) -> list[tuple[Any, list[torch.Tensor]]]:
    """Returns the layers that added to the loss in the last call of a model, each with what it added."""
    return [(layer, list(layer._losses)) for layer in model._flatten_layers() if layer._losses]


def loss_containers(model: keras.Model) -> list[Any]:
    """Returns the containers in which layers keep what they add to the loss, emptied and filled by each call."""
    layers = model._flatten_layers()
    return [held for layer in layers for held in (layer._losses, getattr(layer, "_loss_ids", None)) if held is not None]


def leave_losses(layer: Any, losses: tuple[torch.Tensor, ...]) -> None:
    """Lets a layer hold these as what it added to the loss."""
    layer._losses[:] = losses
    if hasattr(layer, "_loss_ids"):
        layer._loss_ids.clear()
        layer._loss_ids.update(map(id, losses))


def values_of(variables: list[keras.Variable]) -> list[torch.Tensor]:
    """Returns the tensors that variables hold."""
    return [variable._value for variable in variables]

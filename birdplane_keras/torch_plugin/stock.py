"""Keras' own steps of a model: the function for one batch, and why it must be that one."""

from collections.abc import Callable
from typing import Any

import keras
import torch

from birdplane_keras.torch_plugin.batches import require_plain
from birdplane_keras.torch_plugin.errors import NotTraceableError
from birdplane_keras.torch_plugin.private_keras import STOCK_TRAINER


def stock_function(model: keras.Model, kind: str) -> Callable[[Any], Any]:
    """Returns Keras' function from one batch to its logs or predictions.

    It is made for one step per execution only, whatever the model is compiled with.
    """
    wanted, model.steps_per_execution = model.steps_per_execution, 1
    try:
        getattr(type(model), f"make_{kind}_function")(model, force=True)
        stock = getattr(model, f"{kind}_function")
    finally:
        model.steps_per_execution = wanted
    return lambda data: stock([data])


def refusal_of(model: keras.Model, kind: str) -> str | None:
    """Returns why a kind of step can never be traced; `None` where it may be.

    Args:
        model: A Keras model.
        kind: `train`, `test` or `predict`.
    """
    for name in (f"{kind}_step", f"make_{kind}_function"):
        if getattr(type(model), name, None) is not getattr(STOCK_TRAINER, name):
            return f"{type(model).__name__} has a `{name}` of its own"
    if f"{kind}_step" in vars(model):
        return f"the model has a `{kind}_step` of its own"
    if model.compiled and model.jit_compile:
        return "the model is compiled with `jit_compile=True`"
    if model.compiled and model.run_eagerly:
        return "the model is compiled with `run_eagerly=True`"
    if keras.distribution.distribution() is not None:
        return "a Keras distribution is set"
    if kind == "train" and model.compiled and model.optimizer is None:
        return "the model has no optimizer"
    return None


def require_traceable(model: keras.Model, kind: str, leaves: list[torch.Tensor]) -> None:
    """Makes sure that a step of a model may be traced on a batch, as far as can be told beforehand.

    Args:
        model: A Keras model.
        kind: `train`, `test` or `predict`.
        leaves: The tensors of the batch.

    Raises:
        NotTraceableError: It may not.
    """
    refusal = refusal_of(model, kind)
    if refusal is not None:
        raise NotTraceableError(refusal)
    if kind == "train" and not model.trainable_weights:
        raise NotTraceableError("there is nothing to train")
    require_plain(leaves)


def stock_path(kind: str, reason: str) -> str:
    """Returns the sentence that says where a step runs, and why."""
    return f"the {kind} step runs on Keras' stock path, because {reason}"

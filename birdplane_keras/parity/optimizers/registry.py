"""The optimizers that the judge knows, in the order in which they are tried."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from birdplane_keras.parity.optimizers import adagrad, adam, rmsprop, sgd
from birdplane_keras.parity.optimizers.optimizer import KerasStates, OptimizerKind

OPTIMIZERS: list[OptimizerKind] = [sgd.KIND, *adam.KINDS, rmsprop.KIND, adagrad.KIND]


def kind_of_keras(optimizer: Any) -> OptimizerKind | None:
    """Returns the kind of a Keras optimizer."""
    return next((kind for kind in OPTIMIZERS if kind.is_keras(optimizer)), None)


def kind_of_torch(optimizer: torch.optim.Optimizer) -> OptimizerKind | None:
    """Returns the kind of a PyTorch optimizer."""
    return next((kind for kind in OPTIMIZERS if kind.is_torch(optimizer)), None)


def torch_states() -> list[str]:
    """Returns PyTorch's names of what optimizers keep for each weight."""
    return list(dict.fromkeys(name for kind in OPTIMIZERS for name in kind.torch_states))


def keras_states(optimizer: Any) -> KerasStates | None:
    """Returns what a Keras optimizer keeps, by PyTorch's names; `None` where it may keep more than that."""
    kind = kind_of_keras(optimizer)
    return kind.states(optimizer) if kind is not None and kind.complete(optimizer) else None


def comparable_states(optimizer: Any) -> KerasStates:
    """Returns what a Keras optimizer keeps that PyTorch's keeps, too."""
    kind = kind_of_keras(optimizer)
    return {} if kind is None else kind.states(optimizer)


def nudge_settings(optimizer: torch.optim.Optimizer, scheduler: Any, nudge: Callable[[float], float]) -> None:
    """Moves the numbers of every group by one ULP of float32: PyTorch computes with them in float64, Keras does not."""
    for index, group in enumerate(optimizer.param_groups):
        group.update({n: nudge(v) for n, v in group.items() if isinstance(v, float) and v and np.isfinite(v)})
        if "initial_lr" in group and hasattr(scheduler, "base_lrs"):
            scheduler.base_lrs[index] = group["initial_lr"]

"""Parts of a training recipe of the reference: a weighted loss, clipping, a schedule."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import torch
from torch import nn
from torch.nn import functional

from birdplane_keras.parity import Pair

WEIGHTS = (1.0, 2.0, 0.5, 3.0)  # of the classes


def weighted_cross_entropy(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The mean over the batch, which is what Keras divides by; `nn.CrossEntropyLoss` divides by the weights' sum."""
    losses = functional.cross_entropy(outputs, targets, reduction="none")
    return (losses * torch.tensor(WEIGHTS)[targets]).mean()


def clip_global_norm(limit: float) -> Callable[[Iterable[nn.Parameter]], torch.Tensor]:
    """Returns a `torch_clip` by the norm of all gradients together."""
    return lambda parameters: nn.utils.clip_grad_norm_(list(parameters), limit)


def scheduled(pair: Pair, factor: Callable[[int], float], by: str = "step") -> Pair:
    """Gives the reference a schedule, from the step or epoch to the factor of the first rate."""
    scheduler = torch.optim.lr_scheduler.LambdaLR(pair.torch_optimizer, factor)
    return replace(pair, torch_scheduler=scheduler, schedule_by=by)

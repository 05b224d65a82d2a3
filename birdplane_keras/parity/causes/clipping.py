"""`first_update` and above: gradients that are clipped otherwise, or by another formula."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

from birdplane_keras.parity.causes.case import Case
from birdplane_keras.parity.causes.hypothesis import Advice, Hypothesis
from birdplane_keras.parity.causes.optimizer_settings import pytorchs_optimizer, with_config
from birdplane_keras.torch_equivalents.form import CLIPPING_EPSILON, PyTorchForm

Clip = Callable[[Iterable[Any]], Any]
SETTINGS = ("global_clipnorm", "clipnorm", "clipvalue")
CLIPPED = Advice(
    text="global_clipnorm=... is torch.nn.utils.clip_grad_norm_, clipvalue=... is clip_grad_value_, and clipnorm=... "
    "clips each tensor by its own norm"
)
UNCLIPPED = Advice(text=f"without {', '.join(SETTINGS)}", repair=with_config(dict.fromkeys(SETTINGS)))


def suppose_clipping(case: Case) -> Iterator[Hypothesis]:
    """Yields the port's clipping, in PyTorch's formula and in Keras'."""
    optimizer: Any = case.pair.keras_model.optimizer
    found = keras_clipping(optimizer)
    if found is None and case.pair.torch_clip is None:
        return
    told, clip = found if found is not None else ("", None)
    if case.pair.torch_clip is None:
        text, advice = f"the port clips its gradients {told}, the reference does not", UNCLIPPED
    elif found is None:
        text, advice = "the port does not clip its gradients, the reference does", CLIPPED
    else:
        text, advice = f"the port clips its gradients {told}, the reference in another way", CLIPPED
    yield Hypothesis(
        cause="gradient_clipping",
        text=text,
        advice=[advice],
        evidence="read from the Keras optimizer",
        change=lambda run: setattr(run, "clip", clip),
    )
    if (optimizer.global_clipnorm or optimizer.clipnorm) and not isinstance(optimizer, PyTorchForm):
        made = pytorchs_optimizer(case)
        yield Hypothesis(
            cause="gradient_clipping",
            text="to clip gradients, Keras divides by their norm, PyTorch by the norm + "
            f"{CLIPPING_EPSILON:g}: where the norm is small, that is more than rounding",
            advice=[made] if made is not None else [],
            evidence="Keras' formula, emulated in PyTorch",
            change=lambda run: setattr(run, "clip", clip_as_keras(optimizer)),
        )


def keras_clipping(optimizer: Any) -> tuple[str, Clip] | None:
    """Returns how a Keras optimizer clips, in words and as a function of the parameters, in PyTorch's formula."""
    if optimizer.global_clipnorm:
        limit = optimizer.global_clipnorm
        return f"by their common norm, {limit:g}", lambda p: torch.nn.utils.clip_grad_norm_(p, limit)
    if optimizer.clipnorm:
        limit = optimizer.clipnorm
        return f"each by its own norm, {limit:g}", lambda p: [torch.nn.utils.clip_grad_norm_([w], limit) for w in p]
    if optimizer.clipvalue:
        limit = optimizer.clipvalue
        return f"by value, {limit:g}", lambda p: torch.nn.utils.clip_grad_value_(p, limit)
    return None


def clip_as_keras(optimizer: Any) -> Clip:
    """Returns the clipping of a Keras optimizer by the norm, in Keras' formula."""
    limit, common = optimizer.global_clipnorm or optimizer.clipnorm, bool(optimizer.global_clipnorm)

    def clip(parameters: Iterable[Any]) -> None:
        gradients = [weight.grad for weight in parameters if weight.grad is not None]
        for together in [gradients] if common else [[gradient] for gradient in gradients]:
            norm = torch.stack([gradient.square().sum() for gradient in together]).sum().sqrt()
            scale = torch.clamp(limit / norm, max=1.0)
            for gradient in together:
                gradient.mul_(scale)

    return clip

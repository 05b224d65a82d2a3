"""`gradients`: rows that one side does not train, and gradients that are stopped."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn

from birdplane_keras.parity.causes.case import Case
from birdplane_keras.parity.causes.hypothesis import Hypothesis, advise, enumerate_names
from birdplane_keras.parity.sides.calls import Call
from birdplane_keras.parity.sides.torch_run import TorchRun

FIX = (
    "give that row no gradient in the port: multiply what is looked up by the mask of the tokens, "
    'embedding(tokens) * keras.ops.expand_dims(keras.ops.cast(tokens != 0, "float32"), -1), with the row at zero'
)


def suppose_gradients(case: Case) -> Iterator[Hypothesis]:
    """Yields what may explain gradients that differ once the loss was equal."""
    ours, theirs = case.port.tensors["gradients"], case.reference.tensors["gradients"]
    embeddings = [m for m in case.pair.torch_module.modules() if isinstance(m, nn.Embedding)]
    if any(embedding.padding_idx is not None for embedding in embeddings):
        yield Hypothesis(
            cause="padding_index",
            text="the port trains the row of the padding index of an embedding; the reference (padding_idx) does not",
            advice=advise(FIX),
            change=lambda run: run.rewrites.append(without_padding_index),
        )
    stopped = [name for name in theirs if name not in ours or (theirs[name].any() and not ours[name].any())]
    if stopped:
        parts = [part for match in case.bench.matching.tensors if match.name in stopped for part in match.torch]
        yield Hypothesis(
            cause="gradient_stopped",
            text=f"no gradient reaches {enumerate_names(stopped)} in the port",
            advice=advise("look for stop_gradient, or a conversion to NumPy, between this layer and the loss"),
            change=lambda run: stop_gradients(run, parts, zeros=stopped[0] in ours),
        )


def without_padding_index(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
    """Rewrites `torch.nn.functional.embedding` to train every row."""
    if func is nn.functional.embedding and "padding_idx" in kwargs:
        kwargs = kwargs | {"padding_idx": None}
    elif func is nn.functional.embedding and len(args) > 2:
        args = (*args[:2], None, *args[3:])
    return func, args, kwargs


def stop_gradients(run: TorchRun, names: Iterable[str], *, zeros: bool) -> None:
    """Makes the gradients of some parameters zero, or lets there be none."""
    for name in names:
        parameter = run.module.get_parameter(name)
        if zeros:
            parameter.register_hook(torch.zeros_like)
        else:
            parameter.requires_grad_(False)

"""What may be wrong with evaluation mode: how moving statistics are kept, and what uses them."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from birdplane_keras.parity.causes.search import Hypothesis
from birdplane_keras.parity.causes.settings import differing_settings, together
from birdplane_keras.parity.sides.torch_run import Call


def evaluation_hypotheses(bench: Any) -> Iterator[Hypothesis]:
    """Yields what may explain a failed `evaluation`, once training was equal."""
    edits: list[Hypothesis] = []
    for match in bench.matching.layers:
        if isinstance(match.module, nn.modules.batchnorm._BatchNorm):
            ours = 1 - float(match.layer.momentum)
            theirs = match.module.momentum
            if theirs is not None and abs(ours - theirs) > 1e-9:
                inverted = " (PyTorch's momentum is the weight of the new value, Keras' of the old)" * (
                    abs(ours + theirs - 1) < 1e-9
                )
                edits.append(
                    Hypothesis(
                        cause="batchnorm_momentum",
                        text=f"momentum of {match.layer.name} is {match.layer.momentum:g}, expected {1 - theirs:g}"
                        + inverted,
                        fix=f"momentum={1 - theirs:g}",
                        evidence="read from both layers",
                        change=lambda run, name=match.name, ours=ours: setattr(
                            run.module.get_submodule("" if name == "module" else name), "momentum", ours
                        ),
                    )
                )
    momenta = edits[:]
    yield from momenta
    if len(momenta) > 1:
        yield together(momenta)
    biased = Hypothesis(
        cause="batchnorm_variance",
        text="the moving variance takes the batch's variance over n in Keras, over n - 1 in PyTorch",
        fix="birdplane_keras.torch_equivalents.BatchNormalization, whose moving variance is PyTorch's",
        evidence="BatchNorm with the biased variance, emulated in PyTorch",
        change=lambda run: run.rewrites.append(biased_batch_norm),
    )
    yield biased
    if momenta:
        yield together([biased, *momenta])
    yield from differing_settings(bench)


def biased_batch_norm(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
    """Rewrites `torch.nn.functional.batch_norm` so that the running variance is the biased one."""
    if getattr(func, "__name__", "") != "batch_norm" or func.__module__ != "torch.nn.functional":
        return func, args, kwargs
    return biased_forward, (func, *args), kwargs


def biased_forward(function: Callable[..., Any], *args: Any, **kwargs: Any) -> torch.Tensor:
    """Calls batch_norm, then takes n / (n - 1) out of what the running variance was given."""
    names = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
    given = dict(zip(names, args, strict=False)) | kwargs
    variance = given.get("running_var")
    if not given.get("training") or variance is None:
        return function(**given)
    mean, before = given["running_mean"], variance.clone()  # autograd watches the tensors that it was given
    given["running_mean"], given["running_var"] = mean.clone(), variance.clone()
    outputs = function(**given)
    count = given["input"].numel() / given["input"].shape[1]
    with torch.no_grad():
        kept = before * (1 - given["momentum"])
        mean.copy_(given["running_mean"])
        variance.copy_(kept + (given["running_var"] - kept) * (count - 1) / count)
    return outputs

"""`evaluation`: how moving statistics are kept, and a Dropout that is active in evaluation mode."""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import torch
from torch import nn

from birdplane_keras.parity.causes.case import Case
from birdplane_keras.parity.causes.hypothesis import Hypothesis, Repair, advise, enumerate_names, together
from birdplane_keras.parity.causes.layer_settings import get
from birdplane_keras.parity.causes.reading import read_off
from birdplane_keras.parity.core.finding import Finding
from birdplane_keras.parity.kinds.batch_norm import MODULES
from birdplane_keras.parity.kinds.repairing import attributes_set, class_set
from birdplane_keras.parity.matching.ledger import LayerMatch
from birdplane_keras.parity.sides.calls import Call
from birdplane_keras.parity.sides.keras_host import KerasHost
from birdplane_keras.parity.sides.torch_run import TorchRun
from birdplane_keras.torch_equivalents import BatchNormalization


def read_randomness(case: Case) -> Iterator[Finding]:
    """Reads whether the port predicts something else each time."""
    port = case.bench.port()
    twice = [port.predict() for _ in range(2)]
    name = next((n for n in twice[0] if not np.array_equal(twice[0][n], twice[1][n])), None)
    if name is not None:
        layers = [layer.name for layer, kind, rate in case.bench.host.rates if kind == "rate" and rate]
        apart = np.abs(twice[0][name] - twice[1][name]).max()
        yield read_off(
            "dropout_in_evaluation",
            "evaluation",
            f"the port's Dropout ({', '.join(layers) or 'or another random layer'}) is active in evaluation mode",
            f"predicting the same inputs twice gave {name} up to {apart:.3g} apart",
            "call the layer without training=True, so that predict() and evaluate() switch it off",
        )


def suppose_statistics(case: Case) -> list[Hypothesis]:
    """Returns other momenta, the biased variance, and both."""
    normalised = [match for match in case.bench.matching.layers if isinstance(match.module, MODULES)]
    momenta = list(suppose_momenta(normalised))
    biased = suppose_biased(normalised)
    found = [*momenta, *([together(momenta)] if len(momenta) > 1 else []), *biased]
    return found + ([together([*biased, *momenta])] if biased and momenta else [])


def suppose_momenta(normalised: list[LayerMatch]) -> Iterator[Hypothesis]:
    """Yields the momenta that differ, those of one value at once."""
    groups: dict[tuple[float, float], list[LayerMatch]] = {}
    for match in normalised:
        kept, momentum = getattr(match.layer, "momentum", None), getattr(match.module, "momentum", None)
        if isinstance(kept, float) and isinstance(momentum, float) and abs(1 - kept - momentum) > 1e-9:
            ours = 1 - kept
            groups.setdefault((ours, momentum), []).append(match)
    for (ours, theirs), matches in groups.items():
        inverted = abs(ours + theirs - 1) < 1e-9
        layers = enumerate_names([match.layer.name for match in matches])
        more = " (PyTorch's momentum is the weight of the new value, Keras' of the old)" if inverted else ""
        yield Hypothesis(
            cause="batchnorm_momentum",
            text=f"momentum of {layers} is {1 - ours:g}, expected {1 - theirs:g}{more}",
            advice=advise(f"{layers}: momentum={1 - theirs:g}", with_momentum(matches, 1 - theirs)),
            evidence="read from both layers",
            layers=[match.name for match in matches],
            change=with_module_momentum(matches, ours),
        )


def with_momentum(matches: list[LayerMatch], momentum: float) -> Repair:
    """Returns what gives some layers of the port another momentum."""

    def repair(host: KerasHost) -> Any:
        return host.together([attributes_set(match.layer, momentum=momentum) for match in matches])

    return repair


def with_module_momentum(matches: list[LayerMatch], momentum: float) -> Callable[[TorchRun], None]:
    """Returns what gives some modules of a run another momentum."""

    def change(run: TorchRun) -> None:
        for match in matches:
            module: Any = get(run, match.name)
            module.momentum = momentum

    return change


def suppose_biased(normalised: list[LayerMatch]) -> list[Hypothesis]:
    """Returns the hypothesis that the moving variance is over n, where there is a layer that keeps one so."""
    known = [match for match in normalised if isinstance(match.layer, keras.layers.BatchNormalization)]
    stock = [match for match in known if not isinstance(match.layer, BatchNormalization)]
    if not stock:
        return []
    layers = enumerate_names([match.layer.name for match in stock])

    def repair(host: KerasHost) -> Any:
        return host.together([class_set(match.layer, BatchNormalization) for match in stock])

    return [
        Hypothesis(
            cause="batchnorm_variance",
            text="the moving variance takes the batch's variance over n in Keras, over n - 1 in PyTorch",
            advice=advise(
                f"{layers}: birdplane_keras.torch_equivalents.BatchNormalization, whose moving variance is PyTorch's",
                repair,
            ),
            evidence="BatchNorm with the biased variance, emulated in PyTorch",
            change=lambda run: run.rewrites.append(biased_batch_norm),
        )
    ]


def biased_batch_norm(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
    """Rewrites `torch.nn.functional.batch_norm` so that the running variance is the biased one."""
    if func is not nn.functional.batch_norm:
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

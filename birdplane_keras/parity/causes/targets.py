"""`loss`: labels that are smoothed, weighed, in another order or in another form."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from birdplane_keras.errors import PairError
from birdplane_keras.parity.causes.case import Case
from birdplane_keras.parity.causes.hypothesis import Hypothesis, Repair, advise
from birdplane_keras.parity.causes.losses import Loss, supposed, with_loss_settings
from birdplane_keras.parity.causes.output_gradients import weights_of_classes
from birdplane_keras.parity.kinds.repairing import attributes_set
from birdplane_keras.parity.sides.calls import Call
from birdplane_keras.parity.sides.keras_host import KerasHost

MOST_ORDERED = 4  # classes whose orders are all tried


def suppose_smoothing(case: Case) -> Iterator[Hypothesis]:
    """Yields label smoothing, whose amount is solved for: the loss is linear in it."""
    port, reference = case.losses
    run = case.bench.reference()
    run.loss_rewrites.append(with_smoothing(1.0))
    try:
        full = float(run.step(case.plan[0]))
    except PairError:  # a loss that takes no such setting
        return
    if full == reference:
        return
    current = float(getattr(case.pair.torch_loss, "label_smoothing", 0.0))
    solved = current + (1 - current) * (port - reference) / (full - reference)
    for amount in dict.fromkeys(abs(round(solved, digits)) for digits in (2, 3, 4, 6)):
        if 0 <= amount < 1 and amount != current:
            yield Hypothesis(
                cause="label_smoothing",
                text=f"the port smooths its labels by {amount:g}, the reference by {current:g}",
                advice=advise(f"label_smoothing={current:g}", with_loss_settings(case, label_smoothing=current)),
                evidence="solved from the first loss, which is linear in it",
                change=lambda run, amount=amount: run.loss_rewrites.append(with_smoothing(amount)),
                fitted=True,
            )


def with_smoothing(amount: float) -> Callable[..., Call]:
    """Returns a rewrite of cross-entropy with label smoothing."""

    def rewrite(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        if func is functional.cross_entropy:
            return func, args, kwargs | {"label_smoothing": amount}
        return func, args, kwargs

    return rewrite


def suppose_weights(case: Case) -> Iterator[Hypothesis]:
    """Yields weights of classes: those that the port is given, and those that its gradients show."""
    given = case.pair.keras_class_weight
    told = f"fit(class_weight={dict(given)})" if given else "no class weights"
    fix = "fit(class_weight={class: weight}) with the reference's weights; PyTorch's weight= divides by their sum, too"
    mean = "divided by the number of examples, as Keras does"
    shown = weights_of_classes(case)
    if given or shown is not None or reference_weights(case):
        yield supposed(
            "class_weights",
            f"the port weighs the classes otherwise than the reference: it has {told}",
            fix,
            lambda loss: weighed(given or {}, by_sum=False),
            mean,
            repair=with_class_weights(case, None) if given and not reference_weights(case) else None,
        )
    if shown is None:
        return
    ratio, evidence = shown
    theirs = reference_weights(case)
    ours = {label: factor * theirs.get(label, 1.0) for label, factor in ratio.items()}
    smallest = min(ours.values()) or 1.0
    relative = {label: float(f"{weight / smallest:.4g}") for label, weight in ours.items()}
    expected = {label: theirs.get(label, 1.0) for label in relative}
    text = f"the port weighs the classes as {relative} to each other, the reference as {expected}"
    for by_sum in (True, False):
        yield supposed(
            "class_weights",
            text,
            f"weights of the classes {expected}" + (", divided by their sum over the batch" if by_sum else ""),
            lambda loss, by_sum=by_sum: weighed(relative, by_sum=by_sum),
            evidence,
        )
    yield supposed(
        "class_weights",
        text,
        f"weights of the classes {expected}",
        lambda loss: weighed(scaled_to(case, relative), by_sum=False),
        evidence,
        fitted=True,
    )


def weighed(weights: Mapping[int, float], *, by_sum: bool) -> Loss:
    """Returns the cross-entropy with weights of classes, over the number of labels or over the sum of their weights."""

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        losses = functional.cross_entropy(outputs, targets, reduction="none")
        table = torch.tensor([weights.get(label, 1.0) for label in range(outputs.shape[1])]).to(outputs)
        factors = table[targets]
        return (losses * factors).sum() / (factors.sum() if by_sum else losses.numel())

    return loss


def scaled_to(case: Case, weights: Mapping[int, float]) -> Mapping[int, float]:
    """Returns weights of classes multiplied so that the first loss is the port's."""
    run = case.bench.reference()
    run.loss = weighed(weights, by_sum=False)
    made = float(run.step(case.plan[0]))
    factor = case.losses[0] / made if made else 1.0
    return {label: weight * factor for label, weight in weights.items()}


def reference_weights(case: Case) -> dict[int, float]:
    """Returns the weights of classes that the reference's loss has, if it says so."""
    weight = getattr(case.pair.torch_loss, "weight", None)
    return dict(enumerate(weight.tolist())) if isinstance(weight, torch.Tensor) and weight.ndim == 1 else {}


def with_class_weights(case: Case, weights: Mapping[int, float] | None) -> Repair:
    """Returns what trains the port with other weights of classes."""

    def repair(host: KerasHost) -> AbstractContextManager[None]:
        return attributes_set(host, pair=replace(host.pair, keras_class_weight=weights))

    return repair


def suppose_targets(case: Case) -> Iterator[Hypothesis]:
    """Yields targets in another order or another form."""
    targets = case.pair.data[1]
    if not isinstance(targets, np.ndarray) or not np.issubdtype(targets.dtype, np.integer):
        return
    classes = int(targets.max()) + 1
    everything = list(range(classes))
    orders = itertools.permutations(everything) if classes <= MOST_ORDERED else iter([tuple(reversed(everything))])
    for order in orders:
        if list(order) != everything:
            table = torch.tensor(order)
            yield supposed(
                "labels_permuted",
                f"the port's targets name the classes in another order: {dict(enumerate(order))}",
                "use the reference's class-to-number table",
                lambda loss, table=table: lambda outputs, targets: loss(outputs, table.to(targets.device)[targets]),
            )
    for name, function in (
        ("binary cross-entropy of logits", functional.binary_cross_entropy_with_logits),
        ("mean squared error", functional.mse_loss),
    ):
        yield supposed(
            "one_hot_targets",
            f"the port takes {name} against one-hot rows, the reference its loss against class numbers",
            "CategoricalCrossentropy(from_logits=True) for one-hot rows, SparseCategoricalCrossentropy for numbers",
            lambda loss, function=function: lambda outputs, targets: function(outputs, one_hot(outputs, targets)),
        )


def one_hot(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Returns class numbers (B,) as rows (B, C).

    Raises:
        ValueError: They are maps of classes, of which a table would fill the memory.
    """
    if outputs.ndim != 2:
        raise ValueError(f"expected scores (B, C), received {tuple(outputs.shape)}")
    return functional.one_hot(targets.long(), outputs.shape[-1]).to(outputs.dtype)

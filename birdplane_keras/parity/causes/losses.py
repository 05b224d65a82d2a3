"""`loss`: its reduction, what it takes for logits, other functions, another scale."""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import torch
from torch.nn import functional

from birdplane_keras.parity.causes.case import Case
from birdplane_keras.parity.causes.hypothesis import Hypothesis, Repair, advise
from birdplane_keras.parity.kinds.repairing import attributes_set
from birdplane_keras.parity.private_torch import tree_leaves
from birdplane_keras.parity.sides.keras_host import KerasHost
from birdplane_keras.parity.sides.torch_run import TorchRun

Loss = Callable[[Any, Any], torch.Tensor]


def supposed(
    cause: str,
    text: str,
    fix: str,
    make: Callable[[Loss], Loss],
    evidence: str = "",
    *,
    repair: Repair | None = None,
    fitted: bool = False,
) -> Hypothesis:
    """Returns the hypothesis that the loss is one made from the reference's."""

    def change(run: TorchRun) -> None:
        run.loss = make(run.loss)

    advice = advise(fix, repair)
    return Hypothesis(cause=cause, text=text, advice=advice, evidence=evidence, change=change, fitted=fitted)


def keras_loss(case: Case) -> Any:
    """Returns the loss object of the port, if it has one and was given as such."""
    loss = getattr(case.pair.keras_model, "loss", None)
    return loss if isinstance(loss, keras.losses.Loss) else None


def with_loss_settings(case: Case, **settings: Any) -> Repair | None:
    """Returns what gives the port's loss object other arguments of its function, or attributes."""
    loss = keras_loss(case)
    if loss is None:
        return None
    known = dict(getattr(loss, "_fn_kwargs", {}))
    kept = {name: value for name, value in settings.items() if name in known}
    own = {name: value for name, value in settings.items() if name not in known and hasattr(loss, name)}
    if len(kept) + len(own) < len(settings):
        return None

    def repair(host: KerasHost) -> Any:
        changed = {"_fn_kwargs": known | kept} if kept else {}
        return attributes_set(loss, **changed, **own)

    return repair


def suppose_reductions(case: Case) -> Iterator[Hypothesis]:
    """Yields a sum for a mean, and the other way round."""
    port, reference = case.losses
    evidence = f"ratio of the losses {port / reference if reference else np.nan:.6g}, batch of {len(case.plan[0])}"
    for text, power, reduction in (
        ("summed over the batch, the reference's is a mean", 1, "sum_over_batch_size"),
        ("a mean, the reference's is a sum", -1, "sum"),
    ):
        yield supposed(
            "reduction",
            f"the port's loss is {text}",
            f'reduction="{reduction}"',
            lambda loss, power=power: lambda outputs, targets: loss(outputs, targets) * examples_in(targets) ** power,
            evidence,
            repair=with_loss_settings(case, reduction=reduction),
        )


def examples_in(targets: Any) -> int:
    """Returns how many examples some targets are of."""
    return next(len(each) for each in tree_leaves(targets) if isinstance(each, torch.Tensor))


def suppose_logits(case: Case) -> Iterator[Hypothesis]:
    """Yields outputs taken for probabilities though they are logits, or the other way round."""

    def as_probabilities(outputs: torch.Tensor) -> torch.Tensor:
        return torch.log(torch.clamp(outputs / outputs.sum(-1, keepdim=True), 1e-7, 1 - 1e-7))

    def binary(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        wanted = targets.to(outputs.dtype).reshape(outputs.shape)
        return functional.binary_cross_entropy(torch.clamp(outputs, 1e-7, 1 - 1e-7), wanted)

    text = "the port's loss takes the logits for probabilities (from_logits=False)"
    repair = with_loss_settings(case, from_logits=True)
    yield supposed(
        "from_logits",
        text,
        "from_logits=True",
        lambda loss: lambda outputs, targets: nll(as_probabilities(outputs), targets),
        "normalised and clipped at 1e-7, as Keras does with probabilities",
        repair=repair,
    )
    told = "clipped at 1e-7, as Keras does with probabilities"
    yield supposed("from_logits", text, "from_logits=True", lambda loss: binary, told, repair=repair)
    for name, function in (("softmax", lambda x: torch.softmax(x, -1)), ("sigmoid", torch.sigmoid)):
        yield supposed(
            "softmax_before_loss",
            f"the port applies {name} to the outputs before a loss that applies it itself",
            "leave the last layer without an activation where the loss has from_logits=True",
            lambda loss, function=function: lambda outputs, targets: loss(function(outputs), targets),
        )


def nll(logs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Returns the mean negative log-likelihood for class numbers (B,) or one-hot rows (B, C)."""
    if targets.ndim == logs.ndim and targets.shape == logs.shape:
        return -(targets * logs).sum(-1).mean()
    return functional.nll_loss(logs, targets.reshape(-1).long())


def suppose_functions(case: Case) -> Iterator[Hypothesis]:
    """Yields targets and outputs broadcast against each other, and other functions of their difference.

    Only columns (B, 1) against rows (B,) are broadcast: a table of all outputs by all targets would fill the memory.
    """
    functions: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "mean squared error": lambda d: d.square().mean(),
        "mean absolute error": lambda d: d.abs().mean(),
        "Huber's loss": lambda d: functional.huber_loss(d, torch.zeros_like(d)),
        "log-cosh": lambda d: (d + functional.softplus(-2 * d) - np.log(2)).mean(),
    }
    for name, function in functions.items():
        yield supposed(
            "broadcasting",
            f"the port subtracts targets (B,) from outputs (B, 1), which gives a (B, B) table of differences ({name})",
            "give both one shape: targets[:, None], or ops.squeeze(outputs, -1)",
            lambda loss, function=function: lambda outputs, targets: function(by_all(outputs, targets)),
        )
    yield supposed(
        "broadcasting",
        "the reference's loss subtracts targets (B,) from outputs (B, 1), which gives a (B, B) table of differences",
        "give the reference's loss both in one shape, such as targets[:, None]; the port is right",
        lambda loss: lambda outputs, targets: loss(outputs, aligned(targets, outputs)),
    )
    for name, function in functions.items():
        yield supposed(
            "loss_function",
            f"the port's loss is the {name}",
            "use the reference's loss",
            lambda loss, function=function: lambda outputs, targets: function(outputs - targets.reshape(outputs.shape)),
        )


def aligned(targets: torch.Tensor, outputs: torch.Tensor) -> torch.Tensor:
    """Returns targets (B,) as (B, 1), the shape of the outputs.

    Raises:
        ValueError: They have other shapes.
    """
    if targets.ndim != 1 or outputs.shape != (len(targets), 1):
        raise ValueError(f"expected (B,) and (B, 1), received {tuple(targets.shape)} and {tuple(outputs.shape)}")
    return targets[:, None]


def by_all(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Returns the table of every output (B, 1) less every target (B,).

    Raises:
        ValueError: They have other shapes.
    """
    if outputs.numel() != len(outputs) or targets.numel() != len(outputs):
        raise ValueError(f"expected one number for each example, received {tuple(outputs.shape)}")
    return outputs.reshape(-1, 1) - targets.reshape(1, -1)


def suppose_left_out(case: Case) -> Iterator[Hypothesis]:
    """Yields a loss that leaves one of several outputs out: no gradient comes from it."""
    port, outputs = case.losses[0], list(case.reference.tensors["forward"])
    if len(outputs) < 2:
        return
    for index, name in enumerate(outputs):

        def make(loss: Loss, index: int = index) -> Loss:
            def without(outputs: Any, targets: Any) -> torch.Tensor:
                kept = [o.detach() if i == index else o for i, o in enumerate(outputs)]
                value = loss(type(outputs)(kept), targets)
                return value + (port - value.detach())  # the gradients are to tell: the loss is set to the port's

            return without

        text = f"the port's loss leaves out {name}"
        yield supposed("missing_output", text, "give compile() a loss for every output", make, fitted=True)


def suppose_scale(case: Case) -> Iterator[Hypothesis]:
    """Yields a loss that is a multiple of the reference's."""
    port, reference = case.losses
    if reference and np.isfinite(port / reference):
        ratio = port / reference
        yield supposed(
            "loss_scale",
            f"the port's loss is {ratio:.6g} times the reference's",
            "look for a weight of the loss (loss_weights, sample_weight) or an axis that is averaged on one side only",
            lambda loss: lambda outputs, targets: loss(outputs, targets) * ratio,
            fitted=True,
        )

"""What may be wrong with a loss: its reduction, its targets, what it takes for logits, weights of classes."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from birdplane_keras.parity.causes.search import Hypothesis
from birdplane_keras.parity.sides.torch_run import Call, TorchRun

Loss = Callable[[Any, Any], torch.Tensor]
MOST_CLASSES = 4  # whose orders are all tried


def loss_hypotheses(bench: Any, port: float, reference: float) -> Iterator[Hypothesis]:
    """Yields what may explain a failed `loss`, once the outputs were equal.

    Args:
        bench: A `PairBench`.
        port: The port's first loss.
        reference: The reference's.
    """
    size = len(bench.plan(1)[0])
    for text, factor in (
        ("summed over the batch, the reference's is a mean", size),
        ("a mean, the reference's is a sum", 1 / size),
    ):
        yield replaced(
            "reduction",
            f"the port's loss is {text}",
            'reduction="sum_over_batch_size" is the mean, "sum" the sum',
            lambda loss, factor=factor: lambda outputs, targets: loss(outputs, targets) * factor,
            f"ratio of the losses {port / reference if reference else np.nan:.6g}, batch of {size}",
        )
    yield from logits_hypotheses()
    yield from smoothing_hypotheses(bench, port, reference)
    yield from weight_hypotheses(bench)
    yield from target_hypotheses(bench)
    yield from function_hypotheses()
    yield from penalty_hypotheses(bench, port - reference)
    yield from output_hypotheses(bench, port)
    if reference and np.isfinite(port / reference):
        ratio = port / reference
        yield replaced(
            "loss_scale",
            f"the port's loss is {ratio:.6g} times the reference's",
            "look for a weight of the loss (loss_weights, sample_weight) or an axis that is averaged on one side only",
            lambda loss: lambda outputs, targets: loss(outputs, targets) * ratio,
            fitted=True,
        )


def function_hypotheses() -> Iterator[Hypothesis]:
    """Targets and outputs broadcast against each other, and other functions of their difference."""
    functions: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "mean squared error": lambda d: d.square().mean(),
        "mean absolute error": lambda d: d.abs().mean(),
        "Huber's loss": lambda d: functional.huber_loss(d, torch.zeros_like(d)),
        "log-cosh": lambda d: (d + functional.softplus(-2 * d) - np.log(2)).mean(),
    }
    for name, function in functions.items():
        yield replaced(
            "broadcasting",
            f"the port subtracts targets (B,) from outputs (B, 1), which gives a (B, B) table of differences ({name})",
            "give both one shape: targets[:, None], or ops.squeeze(outputs, -1)",
            lambda loss, function=function: (
                lambda outputs, targets: function(outputs.reshape(-1, 1) - targets.reshape(1, -1))
            ),
        )
    for name, function in functions.items():
        yield replaced(
            "loss_function",
            f"the port's loss is the {name}",
            "use the reference's loss",
            lambda loss, function=function: lambda outputs, targets: function(outputs - targets.reshape(outputs.shape)),
        )


def penalty_hypotheses(bench: Any, difference: float) -> Iterator[Hypothesis]:
    """A penalty on the weights within the port's loss; its amount is what the loss has more."""
    for which, least in (("kernel", 2), ("weight", 1)):
        run = bench.reference()
        squares = sum(float(w.detach().square().sum()) for w in run.module.parameters() if w.ndim >= least)
        if squares and difference > 0:
            amount = difference / squares

            def change(run: TorchRun, amount: float = amount, least: int = least) -> None:
                loss, weights = run.loss, [w for w in run.module.parameters() if w.ndim >= least]
                run.loss = lambda outputs, targets: (
                    loss(outputs, targets) + amount * sum(w.square().sum() for w in weights)
                )

            yield Hypothesis(
                cause="weight_decay",
                text=f"the port's loss has an L2 penalty of {amount:.4g} on every {which}, the reference's has none",
                fix="remove the regularizer, and give the optimizer the reference's weight_decay",
                evidence="solved from the first loss",
                change=change,
                fitted=True,
            )


def output_hypotheses(bench: Any, port: float) -> Iterator[Hypothesis]:
    """A loss that leaves one of several outputs out: no gradient comes from it."""
    outputs = bench.reference().predict()
    if len(outputs) < 2:
        return
    for index, name in enumerate(outputs):

        def make(loss: Loss, index: int = index) -> Loss:
            def without(outputs: Any, targets: Any) -> torch.Tensor:
                kept = [o.detach() if i == index else o for i, o in enumerate(outputs)]
                value = loss(type(outputs)(kept), targets)
                return value + (port - value.detach())  # the gradients are to tell: the loss is set to the port's

            return without

        yield replaced(
            "missing_output",
            f"the port's loss leaves out {name}",
            "give compile() a loss for every output",
            make,
            fitted=True,
        )


def replaced(
    cause: str, text: str, fix: str, make: Callable[[Loss], Loss], evidence: str = "", *, fitted: bool = False
) -> Hypothesis:
    """Returns the hypothesis that the loss is one made from the reference's."""

    def change(run: TorchRun) -> None:
        run.loss = make(run.loss)

    return Hypothesis(cause=cause, text=text, fix=fix, evidence=evidence, change=change, fitted=fitted)


def logits_hypotheses() -> Iterator[Hypothesis]:
    """Outputs taken for probabilities though they are logits, or the other way round."""

    def as_probabilities(outputs: torch.Tensor) -> torch.Tensor:
        return torch.log(torch.clamp(outputs / outputs.sum(-1, keepdim=True), 1e-7, 1 - 1e-7))

    yield replaced(
        "from_logits",
        "the port's loss takes the logits for probabilities (from_logits=False)",
        "from_logits=True",
        lambda loss: lambda outputs, targets: nll(as_probabilities(outputs), targets),
        "normalised and clipped at 1e-7, as Keras does with probabilities",
    )
    yield replaced(
        "from_logits",
        "the port's loss takes the logits for probabilities (from_logits=False)",
        "from_logits=True",
        lambda loss: (
            lambda outputs, targets: functional.binary_cross_entropy(
                torch.clamp(outputs, 1e-7, 1 - 1e-7), targets.to(outputs.dtype).reshape(outputs.shape)
            )
        ),
        "clipped at 1e-7, as Keras does with probabilities",
    )
    for name, function in (("softmax", lambda x: torch.softmax(x, -1)), ("sigmoid", torch.sigmoid)):
        yield replaced(
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


def smoothing_hypotheses(bench: Any, port: float, reference: float) -> Iterator[Hypothesis]:
    """Label smoothing, whose amount is solved for: the loss is linear in it."""
    run = bench.reference()
    smooth = with_smoothing(1.0)
    run.loss_rewrites.append(smooth)
    try:
        full = float(run.step(bench.plan(1)[0]))
    except Exception:  # a loss that is not a cross-entropy
        return
    if full == reference:
        return
    current = float(getattr(bench.pair.torch_loss, "label_smoothing", 0.0))
    solved = current + (1 - current) * (port - reference) / (full - reference)
    for amount in dict.fromkeys(round(solved, digits) for digits in (2, 3, 4, 6)):
        if 0 <= amount < 1:
            yield Hypothesis(
                cause="label_smoothing",
                text=f"the port smooths its labels by {amount:g}, the reference by {current:g}",
                fix=f"label_smoothing={current:g}",
                evidence="solved from the first loss, which is linear in it",
                change=lambda run, amount=amount: run.loss_rewrites.append(with_smoothing(amount)),
                fitted=True,
            )


def with_smoothing(amount: float) -> Callable[..., Call]:
    """Returns a rewrite of cross-entropy with label smoothing."""

    def rewrite(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        if getattr(func, "__name__", "") == "cross_entropy":
            return func, args, kwargs | {"label_smoothing": amount}
        return func, args, kwargs

    return rewrite


def weight_hypotheses(bench: Any) -> Iterator[Hypothesis]:
    """Weights of classes: the port's own, or none."""
    weights = bench.pair.keras_class_weight
    told = f"fit(class_weight={dict(weights)})" if weights else "no class weights"

    def weigh(loss: Loss) -> Loss:
        def weighted(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            losses = functional.cross_entropy(outputs, targets, reduction="none")
            if not weights:
                return losses.mean()
            table = torch.tensor([weights.get(c, 1.0) for c in range(outputs.shape[-1])]).to(outputs)
            return (losses * table[targets]).mean()

        return weighted

    yield replaced(
        "class_weights",
        f"the port weighs the classes otherwise than the reference: it has {told}",
        "fit(class_weight={class: weight}) with the reference's weights; PyTorch's weight= divides by their sum, too",
        weigh,
    )


def target_hypotheses(bench: Any) -> Iterator[Hypothesis]:
    """Targets in another order or another form."""
    targets = bench.pair.data[1]
    if not isinstance(targets, np.ndarray) or not np.issubdtype(targets.dtype, np.integer):
        return
    classes = int(targets.max()) + 1
    orders = (
        itertools.permutations(range(classes)) if classes <= MOST_CLASSES else iter([tuple(reversed(range(classes)))])
    )
    for order in orders:
        if list(order) != list(range(classes)):
            table = torch.tensor(order)
            yield replaced(
                "labels_permuted",
                f"the port's targets name the classes in another order: {dict(enumerate(order))}",
                "use the reference's class-to-number table",
                lambda loss, table=table: lambda outputs, targets: loss(outputs, table.to(targets.device)[targets]),
            )

    def hot(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return functional.one_hot(targets.long(), outputs.shape[-1]).to(outputs.dtype)

    for name, function in (
        ("binary cross-entropy of logits", functional.binary_cross_entropy_with_logits),
        ("mean squared error", functional.mse_loss),
    ):
        yield replaced(
            "one_hot_targets",
            f"the port takes {name} against one-hot rows, the reference its loss against class numbers",
            "CategoricalCrossentropy(from_logits=True) for one-hot rows, SparseCategoricalCrossentropy for numbers",
            lambda loss, function=function: lambda outputs, targets: function(outputs, hot(outputs, targets)),
        )

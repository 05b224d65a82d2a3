"""What may be wrong with gradients, updates, and schedules."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn

from birdplane_keras.parity.causes.keras_forms import KerasMomentum
from birdplane_keras.parity.causes.optimizers import optimizer_hypotheses, set_group
from birdplane_keras.parity.causes.search import Hypothesis
from birdplane_keras.parity.causes.settings import enumerate_names, together
from birdplane_keras.parity.core.records import Tensors
from birdplane_keras.parity.sides.torch_run import Call, TorchRun


def gradient_hypotheses(bench: Any, ours: Tensors, theirs: Tensors) -> Iterator[Hypothesis]:
    """Yields what may explain failed `gradients`, once the loss was equal.

    Args:
        bench: A `PairBench`.
        ours: The port's gradients.
        theirs: The reference's.
    """
    embeddings = [m for m in bench.pair.torch_module.modules() if isinstance(m, nn.Embedding)]
    if any(embedding.padding_idx is not None for embedding in embeddings):
        yield Hypothesis(
            cause="padding_index",
            text="the port trains the row of the padding index of an embedding; the reference (padding_idx) does not",
            fix="zero that row's gradient in the port, or mask_zero=True and a loss that leaves padding out",
            change=lambda run: run.rewrites.append(without_padding_index),
        )
    stopped = [name for name in theirs if name not in ours or (theirs[name].any() and not ours[name].any())]
    if stopped:
        parts = [part for match in bench.matching.tensors if match.name in stopped for part in match.torch]
        yield Hypothesis(
            cause="gradient_stopped",
            text=f"no gradient reaches {enumerate_names(stopped)} in the port",
            fix="look for stop_gradient, or a conversion to NumPy, between this layer and the loss",
            change=lambda run: stop_gradients(run, parts, zeros=stopped[0] in ours),
        )


def without_padding_index(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
    """Rewrites `torch.nn.functional.embedding` to train every row."""
    if getattr(func, "__name__", "") == "embedding" and "padding_idx" in kwargs:
        kwargs = kwargs | {"padding_idx": None}
    elif getattr(func, "__name__", "") == "embedding" and len(args) > 2:
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


def update_hypotheses(bench: Any, ratio: float | None) -> Iterator[Hypothesis]:
    """Yields what may explain a failed `first_update`, `optimizer_state` or `trajectory`, once gradients were equal.

    Args:
        bench: A `PairBench`.
        ratio: The port's first update over the reference's, where it is one number at every parameter.
    """
    settings = optimizer_hypotheses(bench)
    yield from settings
    if len(settings) > 1:
        yield together(settings)
    if ratio is not None:
        rate = bench.reference().learning_rate()
        yield Hypothesis(
            cause="learning_rate",
            text=f"the Keras side's update is {ratio:.4g} times the reference's at every parameter: learning_rate "
            f"{ratio * rate:.4g}, expected {rate:g}",
            fix=f"learning_rate={rate:g}",
            change=lambda run: set_group(run, lr=ratio * rate),
        )
    yield Hypothesis(
        cause="accumulated_gradients",
        text="the port adds each step's gradients to those of the steps before",
        fix="self.zero_grad() in train_step, before the backward pass",
        change=lambda run: setattr(run, "zero_grad", False),
    )
    yield from schedule_hypotheses(bench)
    for match in bench.matching.layers:
        if isinstance(match.module, nn.RNNBase) and any(" + " in tensor.name for tensor in match.tensors):
            yield Hypothesis(
                cause="two_biases",
                text=f"{match.name} trains two biases in PyTorch, so their sum moves twice as far as the one in Keras",
                fix="freeze bias_hh in PyTorch (requires_grad_(False)); Keras cannot train two",
                change=lambda run, name=match.name: freeze_second_bias(run, name),
            )


def freeze_second_bias(run: TorchRun, name: str) -> None:
    """Leaves the recurrent biases of a module untrained."""
    for key, parameter in run.module.get_submodule("" if name == "module" else name).named_parameters():
        if key.startswith("bias_hh"):
            parameter.register_hook(torch.zeros_like)


def schedule_hypotheses(bench: Any) -> Iterator[Hypothesis]:
    """A schedule that follows the epochs on one side and the steps on the other, or that one side lacks."""
    if bench.pair.torch_scheduler is None:
        return
    if bench.pair.torch_optimizer.param_groups[0].get("momentum"):
        yield Hypothesis(
            cause="momentum",
            text="Keras' momentum keeps the rate in its velocity, PyTorch's does not: with a schedule they differ",
            fix="no setting of keras.optimizers.SGD mends it: use a constant rate, or an optimizer that applies the "
            "rate to the velocity",
            evidence="Keras' form of momentum, emulated in PyTorch",
            change=with_velocity,
        )
    other = "epoch" if bench.pair.schedule_by == "step" else "step"
    yield Hypothesis(
        cause="schedule",
        text=f"the port's rate changes after each {other}, the reference's after each {bench.pair.schedule_by}",
        fix="a Keras LearningRateSchedule counts steps: multiply its numbers of epochs by the steps of an epoch, or "
        "set the rate in on_epoch_begin (keras.callbacks.LearningRateScheduler)",
        change=lambda run: setattr(run, "schedule_by", other),
    )
    yield Hypothesis(
        cause="schedule",
        text="the port's rate does not follow the reference's schedule",
        fix="give the Keras optimizer the schedule as its learning_rate",
        change=lambda run: setattr(run, "scheduler", None),
    )


def with_velocity(run: TorchRun) -> None:
    """Replaces the run's SGD by one in Keras' form, under the same schedule."""
    group = run.optimizer.param_groups[0]
    optimizer = KerasMomentum(group["params"], lr=group["lr"], momentum=group["momentum"])
    optimizer.param_groups[0]["initial_lr"] = group.get("initial_lr", group["lr"])
    run.optimizer = optimizer
    if run.scheduler is not None:
        run.scheduler.optimizer = optimizer

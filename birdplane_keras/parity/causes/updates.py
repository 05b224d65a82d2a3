"""`first_update` and above: rates, gradients that add up, schedules, biases that one side has twice."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import nn

from birdplane_keras.parity.causes.case import Case
from birdplane_keras.parity.causes.hypothesis import Advice, Hypothesis, advise
from birdplane_keras.parity.causes.layer_settings import get
from birdplane_keras.parity.causes.optimizer_settings import with_config
from birdplane_keras.parity.causes.tensor_settings import set_for
from birdplane_keras.parity.core.tolerances import ROUNDING
from birdplane_keras.parity.optimizers.optimizer import is_scheduled
from birdplane_keras.parity.sides.torch_run import TorchRun

ONE_RATIO = 0.02  # relative spread of the updates' ratios within which they are one number


def suppose_rate(case: Case) -> Iterator[Hypothesis]:
    """Yields a rate that is a multiple of the reference's, where every update is, and the port's own rate is that."""
    ratio = update_ratio(case) if case.rung == "first_update" else None
    if ratio is None:
        return
    rate = case.bench.reference().learning_rate()
    shown, expected = f"{ratio * rate:.4g}", f"{rate:.4g}"
    if shown == expected:
        return  # a cause whose two values are the same explains nothing
    if not case.pair.keras_callbacks and not np.isclose(
        case.bench.port().learning_rate(), ratio * rate, rtol=ONE_RATIO
    ):
        return  # something else in the update is a multiple of the reference's: the operations tell it
    optimizer: Any = case.pair.keras_model.optimizer
    repair = None if is_scheduled(optimizer) else with_config({"learning_rate": rate})
    names = [match.name for match in case.bench.matching.tensors]
    yield Hypothesis(
        cause="learning_rate",
        text=f"the Keras side's update is {ratio:.4g} times the reference's at every parameter: learning_rate {shown}, "
        f"expected {expected}",
        advice=[Advice(text=f"learning_rate={rate:g}", repair=repair)],
        change=set_for(case, names, lr=ratio * rate),
    )


def update_ratio(case: Case) -> float | None:
    """Returns the port's first update over the reference's, if it is one number at every parameter."""
    ratios: list[float] = []
    run = case.bench.reference()
    for name, theirs in case.reference.tensors["first_update"].items():
        start = run.read(name).astype(np.float64)
        ours, expected = case.port.tensors["first_update"][name] - start, theirs - start
        if not np.abs(expected).max():
            continue
        ratio = float((ours * expected).sum() / (expected**2).sum())
        if np.abs(ours - ratio * expected).max() > ROUNDING.factor * case.climb.noise["first_update"][name]:
            return None
        ratios.append(ratio)
    if not ratios or max(ratios) - min(ratios) > ONE_RATIO * abs(np.median(ratios)):
        return None
    return float(np.median(ratios))


def suppose_accumulation(case: Case) -> Iterator[Hypothesis]:
    """Yields gradients that are added to those of the steps before."""
    yield Hypothesis(
        cause="accumulated_gradients",
        text="the port adds each step's gradients to those of the steps before",
        advice=advise("self.zero_grad() in train_step, before the backward pass"),
        change=lambda run: setattr(run, "zero_grad", False),
    )
    steps = getattr(case.pair.keras_model.optimizer, "gradient_accumulation_steps", None) or 1
    if steps != case.pair.accumulation_steps:
        theirs = case.pair.accumulation_steps
        fix = f"gradient_accumulation_steps={theirs if theirs > 1 else None}"
        yield Hypothesis(
            cause="gradient_accumulation",
            text=f"the port updates its weights after {steps} batches, the reference after {theirs}",
            advice=advise(
                fix,
                with_config({"gradient_accumulation_steps": theirs if theirs > 1 else None}),
            ),
            evidence="read from the Keras optimizer and the pair",
            change=lambda run: setattr(run, "accumulation_steps", steps),
        )


def suppose_schedules(case: Case) -> Iterator[Hypothesis]:
    """Yields a schedule that follows the epochs on one side and the steps on the other, or that the port lacks."""
    if case.pair.torch_scheduler is None:
        return
    other = "epoch" if case.pair.schedule_by == "step" else "step"
    if is_scheduled(case.pair.keras_model.optimizer) or case.pair.keras_callbacks:
        yield Hypothesis(
            cause="schedule",
            text=f"the port's rate changes after each {other}, the reference's after each {case.pair.schedule_by}",
            advice=advise(
                "a Keras LearningRateSchedule counts steps: multiply its numbers of epochs by the steps of an epoch, "
                "or set the rate in on_epoch_begin (keras.callbacks.LearningRateScheduler)"
            ),
            change=lambda run: setattr(run.schedule, "by", other),
        )
    yield Hypothesis(
        cause="schedule",
        text="the port's rate does not follow the reference's schedule",
        advice=advise(
            "give the Keras optimizer the schedule as its learning_rate, or Pair(keras_callbacks=...) the callback "
            "that sets it"
        ),
        change=lambda run: setattr(run, "scheduler", None),
    )


def suppose_biases(case: Case) -> Iterator[Hypothesis]:
    """Yields recurrent layers whose two biases PyTorch trains, and Keras' one."""
    doubled = [
        match
        for match in case.bench.matching.layers
        if isinstance(match.module, nn.RNNBase) and any(len(tensor.torch) > 1 for tensor in match.tensors)
    ]
    for match in doubled:
        yield Hypothesis(
            cause="two_biases",
            text=f"{match.name} trains two biases in PyTorch, so their sum moves twice as far as the one in Keras",
            advice=advise("freeze bias_hh in PyTorch (requires_grad_(False)); Keras cannot train two"),
            layers=[match.name],
            change=lambda run, name=match.name: freeze_second_bias(run, name),
        )


def freeze_second_bias(run: TorchRun, name: str) -> None:
    """Leaves the recurrent biases of a module untrained."""
    biases = [parameter for key, parameter in get(run, name).named_parameters() if key.startswith("bias_hh")]

    def freeze() -> None:
        for bias in biases:
            if bias.grad is not None:
                bias.grad.zero_()

    run.before_update.append(freeze)

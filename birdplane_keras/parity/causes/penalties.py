"""`loss`: a penalty on the weights that one loss has more of, whether or not the reference's optimizer decays them."""

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import torch

from birdplane_keras.parity.causes.case import Case
from birdplane_keras.parity.causes.equivalents import pytorchs_optimizer
from birdplane_keras.parity.causes.hypothesis import Advice, Hypothesis, Repair
from birdplane_keras.parity.kinds.repairing import attributes_set
from birdplane_keras.parity.sides.keras_host import KerasHost
from birdplane_keras.parity.sides.torch_run import TorchRun

Sizes = Callable[[torch.Tensor], torch.Tensor]

NORMS: Mapping[str, Sizes] = {"L2": torch.square, "L1": torch.abs}
WEIGHTS = (("kernel", 2), ("weight", 1))  # and how many axes these have at least
NEGLIGIBLE = 1e-3  # of an amount that was solved for


def suppose_penalties(case: Case) -> Iterator[Hypothesis]:
    """Yields a penalty on every kernel, or on every weight; its amount is what the one loss has more than the other."""
    port, reference = case.losses
    weights = [weight.detach() for weight in case.bench.reference().module.parameters()]
    for norm, sizes in NORMS.items():
        for which, least in WEIGHTS:
            total = sum(float(sizes(weight).sum()) for weight in weights if weight.ndim >= least)
            if not total or port == reference:
                continue
            amount = (port - reference) / total
            told = f"{abs(amount):.4g} {'more' if amount > 0 else 'less'}"
            yield Hypothesis(
                cause="weight_decay",
                text=f"the port's loss has an {norm} penalty of {told} on every {which} than the reference's",
                advice=advice_of(case, norm, least, amount),
                evidence="solved from the first loss",
                change=lambda run, amount=amount, least=least, sizes=sizes: penalise(run, amount, least, sizes),
                fitted=True,
            )


def penalise(run: TorchRun, amount: float, least: int, sizes: Sizes) -> None:
    """Adds the penalty to a run's loss."""
    loss, weights = run.loss, [w for w in run.module.parameters() if w.ndim >= least]
    run.loss = lambda outputs, targets: loss(outputs, targets) + amount * sum(sizes(w).sum() for w in weights)


def advice_of(case: Case, norm: str, least: int, amount: float) -> list[Advice]:
    """Returns what to do: the reference's penalty, and if its optimizer decays weights, an optimizer of its form."""
    variables = [v for v in case.pair.keras_model.trainable_weights if len(v.shape) >= least or v.regularizer]
    now = max((strength(variable.regularizer, norm) for variable in variables), default=0.0)
    wanted = float(f"{now - amount:.4g}")
    none = abs(wanted) < NEGLIGIBLE * abs(amount)
    text = (
        "remove the regularizers from the port's layers"
        if none
        else f"kernel_regularizer=keras.regularizers.{norm}({wanted:g})"
        + (f" and bias_regularizer=keras.regularizers.{norm}({wanted:g})" if least == 1 else "")
    )
    advice = [Advice(text=text, repair=with_strength(variables, norm, 0.0 if none else wanted))]
    if any(group.get("weight_decay") for group in case.pair.optimizer.param_groups):
        made = pytorchs_optimizer(case)
        if made is not None:
            advice.append(made)
    return advice


def strength(regularizer: Any, norm: str) -> float:
    """Returns how strong a Keras regularizer is in a norm; 0.0 for one that does not say."""
    return float(getattr(regularizer, norm.lower(), None) or 0.0)


def with_strength(variables: list[Any], norm: str, amount: float) -> Repair:
    """Returns what gives variables a regularizer of this strength, which otherwise is what they had."""

    def changed(regularizer: Any) -> Any:
        if regularizer is None or not hasattr(regularizer, norm.lower()):
            return getattr(keras.regularizers, norm)(amount) if amount else None
        other = copy.copy(regularizer)
        setattr(other, norm.lower(), amount)
        return other

    def repair(host: KerasHost) -> Any:
        return host.together(
            [attributes_set(variable, _regularizer=changed(variable.regularizer)) for variable in variables]
        )

    return repair

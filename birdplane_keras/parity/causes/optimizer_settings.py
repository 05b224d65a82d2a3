"""`first_update` and above: settings of the two optimizers that differ, for all weights or for some."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from birdplane_keras.parity.causes.case import Case
from birdplane_keras.parity.causes.equivalents import pytorchs_optimizer
from birdplane_keras.parity.causes.hypothesis import Advice, Change, Hypothesis, Repair, enumerate_names, together
from birdplane_keras.parity.causes.tensor_settings import (
    DECAY,
    Difference,
    couples,
    differences,
    kinds,
    set_for,
    settings_of_port,
    settings_of_reference,
)
from birdplane_keras.parity.optimizers.optimizer import Option, with_option
from birdplane_keras.parity.sides.torch_run import TorchRun

FORMS = {True: "added to the gradient (coupled)", False: "taken from the weight (decoupled)"}


def suppose_optimizer(case: Case) -> list[Hypothesis]:
    """Returns a hypothesis for each setting that differs, for each difference of form, and for all settings at once."""
    settings = [*suppose_settings(case), *suppose_decay(case)]
    forms = suppose_forms(case)
    joined = [together(settings)] if len(settings) > 1 else []
    both = [together([*settings, forms[0]])] if settings and forms else []
    return [*settings, *joined, *forms, *both]


def suppose_settings(case: Case) -> list[Hypothesis]:
    """Returns the settings that differ, apart from the decay."""
    _, kind = kinds(case)
    if kind is None:
        return []
    found = []
    for one in differences(case):
        if one.name == DECAY or one.name not in kind.settings:
            continue
        own, cause = kind.settings[one.name]
        where = "" if one.everywhere else f" for {enumerate_names(one.tensors)}"
        found.append(
            Hypothesis(
                cause=cause,
                text=f"{one.name} is {one.ours} in Keras, {one.theirs} in PyTorch{where}",
                advice=advice_for(case, one),
                evidence="read from both optimizers",
                change=option_set(case, one, own),
            )
        )
    return found


def option_set(case: Case, one: Difference, option: Option) -> Change:
    """Returns a change after which some weights of a run have the port's setting."""
    more = {"nesterov": False} if option == "momentum" and not one.ours else {}

    def change(run: TorchRun) -> None:
        set_for(case, one.tensors, **with_option(run.optimizer.param_groups[0], option, one.ours), **more)(run)

    return change


def advice_for(case: Case, one: Difference) -> list[Advice]:
    """Returns what to set in the port: an argument, or where it holds for some weights only, PyTorch's groups."""
    optimizer: Any = case.pair.keras_model.optimizer
    config = optimizer.get_config()
    if one.everywhere and one.name in config:
        value = float(one.theirs) if isinstance(config[one.name], float) else one.theirs  # Keras refuses momentum=0
        return [Advice(text=f"{one.name}={value}", repair=with_config({one.name: value}))]
    made = pytorchs_optimizer(case)
    return [made] if made is not None else [Advice(text=f"no setting of the port's optimizer is PyTorch's {one.name}")]


def suppose_decay(case: Case) -> list[Hypothesis]:
    """Returns the hypothesis that weights decay by other amounts, or in another form."""
    differing = [one for one in differences(case) if one.name == DECAY]
    ours, theirs = couples(case)
    decays = any(settings[DECAY] for settings in settings_of_reference(case).values())
    if not differing and (ours == theirs or not decays):
        return []
    told = [describe_decay(one) for one in differing]
    if ours != theirs and decays:
        told.append(f"{FORMS[ours]} in Keras, {FORMS[theirs]} in PyTorch")
    return [
        Hypothesis(
            cause="weight_decay",
            text=f"weight decay is {'; '.join(told)}",
            advice=decay_advice(case, differing, same_form=ours == theirs or not decays),
            evidence="read from both optimizers",
            change=decaying_as_port(case, coupled=ours),
        )
    ]


def describe_decay(one: Difference) -> str:
    """Returns an amount that differs, in words."""
    where = "" if one.everywhere else f" for {enumerate_names(one.tensors)}"
    return f"{one.ours:g} in Keras, {one.theirs:g} in PyTorch{where}"


def decay_advice(case: Case, differing: Sequence[Difference], *, same_form: bool) -> list[Advice]:
    """Returns how to decay the same weights by the same amounts in the same form."""
    if same_form and len(differing) == 1:
        (one,) = differing
        if one.everywhere:
            amount = float(one.theirs)
            return [Advice(text=f"weight_decay={amount}", repair=with_config({DECAY: amount}))]
        if one.theirs == 0:
            variables = [case.bench.matching.variables[name] for name in one.tensors]
            return [excluding(case, variables)]
    made = pytorchs_optimizer(case)
    return [made] if made is not None else [Advice(text="the reference's weight_decay, in the reference's form")]


def excluding(case: Case, variables: Sequence[Any]) -> Advice:
    """Returns the advice to exclude some variables from the decay: by their names, if these are no others', too."""
    names = list(dict.fromkeys(variable.name for variable in variables))
    others = [w for w in case.pair.keras_model.trainable_weights if all(w is not variable for variable in variables)]
    by_name = not any(name in other.name for name in names for other in others)
    told = f"var_names={names}" if by_name else f"var_list=[{', '.join(variable.path for variable in variables)}]"

    def make(current: Any) -> Any:
        made = copied(current, {})
        made.exclude_from_weight_decay(var_list=list(variables))
        return made

    text = f"optimizer.exclude_from_weight_decay({told}), before the model is built"
    return Advice(text=text, repair=lambda host: host.trained_by(make))


def decaying_as_port(case: Case, *, coupled: bool) -> Change:
    """Returns a change after which a run decays each weight by the port's amount, in the port's form."""
    amounts: dict[float, list[str]] = {}
    for tensor, settings in settings_of_port(case).items():
        amounts.setdefault(settings[DECAY], []).append(tensor)

    def change(run: TorchRun) -> None:
        own_form = (isinstance(run.optimizer, torch.optim.AdamW)) == (not coupled)
        for amount, tensors in amounts.items():
            values = {DECAY: amount if own_form else 0.0, "decoupled_weight_decay": not coupled}
            if "decoupled_weight_decay" in run.optimizer.param_groups[0]:
                values[DECAY] = amount
            set_for(case, tensors, **values)(run)
        if not own_form and "decoupled_weight_decay" not in run.optimizer.param_groups[0]:
            decay_before_step(case, run, amounts)

    return change


def decay_before_step(case: Case, run: TorchRun, amounts: Mapping[float, Sequence[str]]) -> None:
    """Takes the decay from the weights of a run before each update."""
    parts = {match.name: match.torch for match in case.bench.matching.tensors}
    named = dict(run.module.named_parameters(remove_duplicate=False))
    decays = [(named[part], a) for a, names in amounts.items() for n in names for part in parts[n] if part in named]
    rates = {id(w): group for group in run.optimizer.param_groups for w in group["params"]}
    step = run.optimizer.step

    def decaying() -> None:
        with torch.no_grad():
            for weight, amount in decays:
                weight.mul_(1 - rates[id(weight)]["lr"] * amount)
        step()

    # It is this optimizer's alone, and is called without the closure that PyTorch's takes.
    run.optimizer.step = decaying


def suppose_forms(case: Case) -> list[Hypothesis]:
    """Returns the differences between the rules of the two frameworks that no setting fixes."""
    ours, theirs = kinds(case)
    if ours is None or theirs is None or ours.settings != theirs.settings:
        return []
    optimizer: Any = case.pair.keras_model.optimizer
    scheduled = case.pair.torch_scheduler is not None
    made = pytorchs_optimizer(case)
    advice = [made] if made is not None else [Advice(text="an optimizer of PyTorch's form")]
    return [
        Hypothesis(
            cause=form.cause,
            text=form.text,
            advice=advice,
            evidence=form.evidence,
            change=of_form(form.make),
        )
        for form in theirs.forms(optimizer, case.pair.torch_optimizer, scheduled=scheduled)
    ]


def of_form(make: Callable[[Sequence[dict[str, Any]]], torch.optim.Optimizer]) -> Change:
    """Returns a change after which a run has an optimizer of another form, under the same schedule."""

    def change(run: TorchRun) -> None:
        run.optimizer = make(run.optimizer.param_groups)
        if run.scheduler is not None:
            run.scheduler.optimizer = run.optimizer

    return change


def with_config(changes: Mapping[str, Any]) -> Repair:
    """Returns what trains the port by its optimizer with other arguments."""
    return lambda host: host.trained_by(lambda current: copied(current, changes))


def copied(optimizer: Any, changes: Mapping[str, Any]) -> Any:
    """Returns an optimizer like another, with other arguments, that decays the same weights."""
    made = type(optimizer).from_config({**optimizer.get_config(), **changes})
    for name in ("_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern"):
        if hasattr(optimizer, name):
            setattr(made, name, getattr(optimizer, name))
    return made

"""The settings of both optimizers, weight by weight, in Keras' terms."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from birdplane_keras.parity.causes.case import Case
from birdplane_keras.parity.optimizers.optimizer import (
    OptimizerKind,
    is_scheduled,
    rate_of,
    read_option,
    same_number,
)
from birdplane_keras.parity.optimizers.registry import kind_of_keras, kind_of_torch
from birdplane_keras.parity.sides.torch_run import TorchRun
from birdplane_keras.torch_equivalents.form import PyTorchForm

DECAY = "weight_decay"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A setting that differs for some weights.

    Args:
        name: Keras' name of it.
        ours: In the port.
        theirs: In the reference.
        tensors: The weights, by the reference's names.
        everywhere: Whether these are all weights that both sides train.
    """

    name: str
    ours: Any
    theirs: Any
    tensors: Sequence[str]
    everywhere: bool


def kinds(case: Case) -> tuple[OptimizerKind | None, OptimizerKind | None]:
    """Returns the kinds of both optimizers, the port's first."""
    return kind_of_keras(case.pair.keras_model.optimizer), kind_of_torch(case.pair.optimizer)


def differences(case: Case) -> list[Difference]:
    """Returns the settings that differ, the weights of one difference together, in the order of the settings' names."""
    ours, theirs = settings_of_port(case), settings_of_reference(case)
    shared = [name for name in theirs if name in ours]
    groups: dict[tuple[str, str, str], list[tuple[str, Any, Any]]] = {}
    for tensor in shared:
        for name in [name for name in ours[tensor] if name in theirs[tensor]]:
            mine, yours = ours[tensor][name], theirs[tensor][name]
            if not same_number(mine, yours):
                groups.setdefault((name, repr(mine), repr(yours)), []).append((tensor, mine, yours))
    return [
        Difference(
            name=name,
            ours=found[0][1],
            theirs=found[0][2],
            tensors=[tensor for tensor, _, _ in found],
            everywhere=len(found) == len(shared),
        )
        for (name, _, _), found in groups.items()
    ]


def settings_of_reference(case: Case) -> dict[str, dict[str, Any]]:
    """Returns, for each matched weight that the reference's optimizer updates, its settings by Keras' names."""
    optimizer = case.pair.optimizer
    kind = kind_of_torch(optimizer)
    named = dict(case.pair.torch_module.named_parameters(remove_duplicate=False))
    groups = {id(weight): group for group in optimizer.param_groups for weight in group["params"]}
    found = {}
    for match in case.bench.matching.tensors:
        group = next((groups[id(named[n])] for n in match.torch if n in named and id(named[n]) in groups), None)
        if group is not None:
            found[match.name] = group_settings(kind, group)
    return found


def group_settings(kind: OptimizerKind | None, group: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings of a parameter group by Keras' names."""
    settings: dict[str, Any] = {}
    for name, (own, _) in ({} if kind is None else kind.settings).items():
        value = read_option(group, own)
        if value is not None:
            settings[name] = value
    settings["learning_rate"] = group.get("initial_lr", group["lr"])
    settings[DECAY] = float(group.get(DECAY, 0.0))
    return settings


def settings_of_port(case: Case) -> dict[str, dict[str, Any]]:
    """Returns the same of the port; a rate that follows a schedule is left out."""
    optimizer: Any = case.pair.keras_model.optimizer
    kind = kind_of_keras(optimizer)
    shared: dict[str, Any] = {}
    for name in {} if kind is None else kind.settings:
        value = getattr(optimizer, name, False if name in ("nesterov", "amsgrad", "centered") else 0.0)
        if isinstance(value, bool | int | float):
            shared[name] = value
    shared.pop("learning_rate", None)
    found = {}
    for match, _ in case.bench.host.view.trained(optimizer):
        variable = case.bench.matching.variables[match.name]
        own = shared | {DECAY: decay_of(optimizer, variable)}
        if not is_scheduled(optimizer):
            own["learning_rate"] = rate_of(optimizer) * factor_of(optimizer, variable)
        found[match.name] = own
    return found


def decay_of(optimizer: Any, variable: Any) -> float:
    """Returns the weight decay of a variable under a Keras optimizer."""
    if isinstance(optimizer, PyTorchForm):
        return optimizer.decay_of(variable)
    return float(optimizer.weight_decay or 0.0) if optimizer._use_weight_decay(variable) else 0.0


def factor_of(optimizer: Any, variable: Any) -> float:
    """Returns what the rate of a variable is multiplied by."""
    return float(optimizer.group_of(variable).get("rate_factor", 1.0)) if isinstance(optimizer, PyTorchForm) else 1.0


def couples(case: Case) -> tuple[bool, bool]:
    """Whether the port adds its decay to the gradient, and whether the reference does."""
    ours, theirs = kinds(case)
    optimizer = case.pair.keras_model.optimizer
    port = isinstance(optimizer, PyTorchForm) and ours is not None and ours.couples  # Keras takes it from the weight
    return port, theirs is None or theirs.couples


def set_for(case: Case, tensors: Iterable[str], **values: Any) -> Callable[[TorchRun], None]:
    """Returns a change that sets options of PyTorch's parameter groups, for some weights alone."""
    wanted = set(tensors)
    names = {part for match in case.bench.matching.tensors if match.name in wanted for part in match.torch}

    def change(run: TorchRun) -> None:
        members = {id(weight) for n, weight in run.module.named_parameters(remove_duplicate=False) if n in names}
        split_groups(run, members)
        for index, group in enumerate(run.optimizer.param_groups):
            if all(id(weight) in members for weight in group["params"]):
                set_options(run, index, values)

    return change


def split_groups(run: TorchRun, members: set[int]) -> None:
    """Splits the parameter groups of a run so that each holds some weights, or none of them."""
    groups = []
    rates = list(getattr(run.scheduler, "base_lrs", []))
    split_rates = []
    for index, group in enumerate(run.optimizer.param_groups):
        inside = [weight for weight in group["params"] if id(weight) in members]
        outside = [weight for weight in group["params"] if id(weight) not in members]
        for weights in (inside, outside):
            if weights:
                groups.append({**group, "params": weights})
                split_rates += rates[index : index + 1]
    run.optimizer.param_groups[:] = groups
    if rates:
        run.scheduler.base_lrs = split_rates


def set_options(run: TorchRun, index: int, values: Mapping[str, Any]) -> None:
    """Sets options of one parameter group, and what a scheduler keeps of them."""
    group = run.optimizer.param_groups[index]
    group.update({name: value for name, value in values.items() if name in group})
    if "lr" in values and "initial_lr" in group:
        group["initial_lr"] = values["lr"]
    if "lr" in values and hasattr(run.scheduler, "base_lrs"):
        run.scheduler.base_lrs[index] = values["lr"]

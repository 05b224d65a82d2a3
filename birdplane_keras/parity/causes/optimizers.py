"""The settings of the two optimizers in common terms, and what differs between them as changes of the reference."""

from collections.abc import Callable, Iterable
from typing import Any

import keras
import torch

from birdplane_keras.parity.causes.keras_forms import KerasAdam, KerasRMSprop
from birdplane_keras.parity.causes.search import Hypothesis
from birdplane_keras.parity.sides.torch_run import TorchRun


def optimizer_hypotheses(bench: Any) -> list[Hypothesis]:
    """Returns one hypothesis for each setting of the optimizer that differs, and for known differences of form."""
    optimizer, reference = bench.pair.keras_model.optimizer, bench.pair.torch_optimizer
    ours, theirs = read_settings(optimizer, reference)
    found = []
    for name, (cause, fix) in SETTINGS.items():
        if name in ours and name in theirs and not close(ours[name], theirs[name]):
            found.append(
                Hypothesis(
                    cause=cause.format("rmsprop" if isinstance(reference, torch.optim.RMSprop) else "adam"),
                    text=f"{name} is {ours[name]} in Keras, {theirs[name]} in PyTorch",
                    fix=fix.format(theirs[name]),
                    evidence="read from both optimizers",
                    change=SETTERS[name](ours[name]),
                )
            )
    decays = [(side["decay"], side["coupled"]) for side in (ours, theirs)]
    if any(amount for amount, _ in decays) and decays[0] != decays[1]:
        form = {True: "added to the gradient (coupled)", False: "taken from the weight (decoupled)"}
        found.append(
            Hypothesis(
                cause="weight_decay",
                text=f"weight decay is {ours['decay']:g}, {form[ours['coupled']]}, in Keras and "
                f"{theirs['decay']:g}, {form[theirs['coupled']]}, in PyTorch",
                fix="keras.optimizers.AdamW for torch.optim.AdamW; birdplane_keras.torch_equivalents.Adam for "
                "torch.optim.Adam(weight_decay=...); a kernel_regularizer L2 of half of it for SGD with momentum",
                evidence="read from both optimizers",
                change=decay(ours["decay"], ours["coupled"]),
            )
        )
    clipping = keras_clipping(optimizer)
    if clipping is not None or bench.pair.torch_clip is not None:
        told, clip = clipping if clipping is not None else ("not at all", None)
        found.append(
            Hypothesis(
                cause="gradient_clipping",
                text=f"the port clips its gradients {told}, the reference in another way or not at all",
                fix="global_clipnorm=... is torch.nn.utils.clip_grad_norm_, clipvalue=... is clip_grad_value_, and "
                "clipnorm=... clips each tensor by its own norm",
                evidence="read from the Keras optimizer",
                change=lambda run: setattr(run, "clip", clip),
            )
        )
    stock = type(optimizer).__module__.startswith("keras")
    if stock and isinstance(optimizer, keras.optimizers.Adam) and isinstance(reference, torch.optim.Adam):
        found.append(
            Hypothesis(
                cause="adam_epsilon",
                text=f"Keras' Adam adds epsilon ({optimizer.epsilon:g}) before the bias correction, PyTorch's "
                f"({theirs.get('epsilon', 0):g}) after it: no value makes them equal",
                fix=f"birdplane_keras.torch_equivalents.{type(optimizer).__name__}(epsilon={theirs['epsilon']:g})",
                evidence="Keras' form of the update, emulated in PyTorch",
                change=lambda run: emulate(run, optimizer, correct=True, inside=True),
            )
        )
    if isinstance(optimizer, keras.optimizers.RMSprop) and isinstance(reference, torch.optim.RMSprop):
        found.append(
            Hypothesis(
                cause="rmsprop_epsilon",
                text=f"Keras' RMSprop adds epsilon ({optimizer.epsilon:g}) within the square root, PyTorch's "
                f"({theirs['epsilon']:g}) after it: no value makes them equal",
                fix=f"epsilon={theirs['epsilon'] ** 2:g} (the square of PyTorch's) comes nearest; where gradients are "
                "as small as that, only an optimizer of another form is the same",
                evidence="Keras' form of the update, emulated in PyTorch",
                change=lambda run: emulate_rmsprop(run, optimizer),
            )
        )
    if isinstance(reference, torch.optim.Adam):
        found.append(
            Hypothesis(
                cause="bias_correction",
                text="the port's Adam does not correct the bias of its moments",
                fix="divide m by 1 - beta_1^t and v by 1 - beta_2^t, as keras.optimizers.Adam does",
                evidence="Adam without the correction, emulated in PyTorch",
                change=lambda run: emulate(run, optimizer, correct=False, inside=False),
            )
        )
    return found


SETTINGS = {
    "learning_rate": ("learning_rate", "learning_rate={}"),
    "momentum": ("momentum", "momentum={}"),
    "nesterov": ("nesterov", "nesterov={}"),
    "dampening": ("momentum", "PyTorch's dampening is {}, Keras has none"),
    "beta_1": ("betas", "beta_1={}"),
    "beta_2": ("betas", "beta_2={}"),
    "epsilon": ("{}_epsilon", "epsilon={}"),
    "rho": ("rho", "rho={}"),
}
SETTERS: dict[str, Callable[[Any], Callable[[TorchRun], None]]] = {
    "learning_rate": lambda value: lambda run: set_group(run, lr=value),
    "momentum": lambda value: lambda run: set_group(run, momentum=value, **({} if value else {"nesterov": False})),
    "nesterov": lambda value: lambda run: set_group(run, nesterov=value),
    "dampening": lambda value: lambda run: set_group(run, dampening=value),
    "beta_1": lambda value: lambda run: set_group(run, betas=(value, run.optimizer.param_groups[0]["betas"][1])),
    "beta_2": lambda value: lambda run: set_group(run, betas=(run.optimizer.param_groups[0]["betas"][0], value)),
    "epsilon": lambda value: lambda run: set_group(run, eps=value),
    "rho": lambda value: lambda run: set_group(run, alpha=value),
}


def close(ours: Any, theirs: Any) -> bool:
    """Whether two settings are the same number, up to the float32 in which Keras keeps some."""
    if isinstance(ours, bool) or isinstance(theirs, bool):
        return bool(ours) == bool(theirs)
    return abs(ours - theirs) <= 1e-6 * max(abs(ours), abs(theirs))


def decay(amount: float, coupled: bool) -> Callable[[TorchRun], None]:
    """Returns a change after which weights decay by an amount, in one form or the other."""

    def change(run: TorchRun) -> None:
        decoupled = {"decoupled_weight_decay": not coupled}
        if "decoupled_weight_decay" in run.optimizer.param_groups[0]:
            set_group(run, weight_decay=amount, **decoupled)
            return
        set_group(run, weight_decay=amount if coupled else 0.0)
        if not coupled:
            step = run.optimizer.step

            def decaying() -> None:
                with torch.no_grad():
                    for group in run.optimizer.param_groups:
                        for weight in group["params"]:
                            weight.mul_(1 - group["lr"] * amount)
                step()

            # It is this optimizer's alone, and is called without the closure that PyTorch's takes.
            run.optimizer.step = decaying  # type: ignore[method-assign,assignment]

    return change


def keras_clipping(optimizer: Any) -> tuple[str, Callable[[Iterable[Any]], Any]] | None:
    """Returns how a Keras optimizer clips, in words and as a function of the parameters."""
    if optimizer.global_clipnorm:
        limit = optimizer.global_clipnorm
        return f"by their common norm, {limit:g}", lambda p: torch.nn.utils.clip_grad_norm_(p, limit)
    if optimizer.clipnorm:
        limit = optimizer.clipnorm
        return f"each by its own norm, {limit:g}", lambda p: [torch.nn.utils.clip_grad_norm_([w], limit) for w in p]
    if optimizer.clipvalue:
        limit = optimizer.clipvalue
        return f"by value, {limit:g}", lambda p: torch.nn.utils.clip_grad_value_(p, limit)
    return None


def emulate(run: TorchRun, optimizer: Any, *, correct: bool, inside: bool) -> None:
    """Replaces the run's optimizer by an Adam in Keras' form, or without bias correction."""
    ours, theirs = read_settings(optimizer, run.optimizer)
    epsilon = ours.get("epsilon", theirs.get("epsilon", 1e-8))
    group = run.optimizer.param_groups[0]
    run.optimizer = KerasAdam(
        group["params"], lr=group["lr"], betas=group["betas"], eps=epsilon, correct=correct, inside=inside
    )


def emulate_rmsprop(run: TorchRun, optimizer: Any) -> None:
    """Replaces the run's optimizer by RMSprop in Keras' form."""
    group = run.optimizer.param_groups[0]
    run.optimizer = KerasRMSprop(group["params"], lr=group["lr"], rho=optimizer.rho, eps=optimizer.epsilon)


def set_group(run: TorchRun, **values: Any) -> None:
    """Sets options of every parameter group."""
    for group in run.optimizer.param_groups:
        group.update({name: value for name, value in values.items() if name in group})
        if "lr" in values and "initial_lr" in group:
            group["initial_lr"] = values["lr"]
    if run.scheduler is not None and "lr" in values:
        run.scheduler.base_lrs = [values["lr"]] * len(run.scheduler.base_lrs)


def read_settings(optimizer: Any, reference: torch.optim.Optimizer) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the settings of the Keras and of the PyTorch optimizer by Keras' names.

    `decay` is the weight decay, and `coupled` whether it is added to the gradient.
    """
    group = reference.param_groups[0]
    theirs: dict[str, Any] = {"learning_rate": group.get("initial_lr", group["lr"])}
    theirs["decay"] = float(group.get("weight_decay", 0.0))
    theirs["coupled"] = not isinstance(reference, torch.optim.AdamW)
    if "momentum" in group:
        theirs["momentum"] = float(group["momentum"])
    if "nesterov" in group:
        theirs["nesterov"] = bool(group["nesterov"])
    if "dampening" in group:
        theirs["dampening"] = float(group["dampening"])
    if "betas" in group:
        theirs["beta_1"], theirs["beta_2"] = group["betas"]
    if "eps" in group:
        theirs["epsilon"] = float(group["eps"])
    if "alpha" in group:
        theirs["rho"] = float(group["alpha"])
    ours: dict[str, Any] = {"decay": float(optimizer.weight_decay or 0.0), "dampening": 0.0}
    ours["coupled"] = type(optimizer).__name__ == "Adam" and not type(optimizer).__module__.startswith("keras")
    if not isinstance(optimizer._learning_rate, keras.optimizers.schedules.LearningRateSchedule):
        ours["learning_rate"] = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
    for name in ("momentum", "nesterov", "beta_1", "beta_2", "epsilon", "rho"):
        if isinstance(getattr(optimizer, name, None), bool | int | float):
            ours[name] = getattr(optimizer, name)
    if not ours["decay"]:
        ours["coupled"] = theirs["coupled"] if not theirs["decay"] else ours["coupled"]
    return ours, theirs

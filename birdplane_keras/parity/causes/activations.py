"""Another activation: in all places, in all that have one function, or in one."""

import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from birdplane_keras.parity.causes.case import Case
from birdplane_keras.parity.causes.hypothesis import Change, Hypothesis, Repair, advise
from birdplane_keras.parity.kinds.repairing import attributes_set
from birdplane_keras.parity.sides.calls import Call, Rewrite
from birdplane_keras.parity.sides.keras_host import KerasHost

Function = Callable[[torch.Tensor], torch.Tensor]
ACTIVATIONS: dict[str, Function] = {
    "relu": functional.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "gelu": functional.gelu,
    "gelu, tanh approximation": lambda x: functional.gelu(x, approximate="tanh"),
    "leaky_relu, slope 0.01": lambda x: functional.leaky_relu(x, 0.01),
    "leaky_relu, slope 0.2": lambda x: functional.leaky_relu(x, 0.2),
    "leaky_relu, slope 0.3": lambda x: functional.leaky_relu(x, 0.3),
    "elu": functional.elu,
    "selu": functional.selu,
    "silu": functional.silu,
    "softplus": functional.softplus,
    "hard_sigmoid": functional.hardsigmoid,
    "hard_swish": functional.hardswish,
    "mish": functional.mish,
    "softmax": lambda x: torch.softmax(x, -1),
    "relu6": functional.relu6,
    "linear": lambda x: x,
}
NAMES = {
    "relu", "relu_", "tanh", "sigmoid", "gelu", "leaky_relu", "elu", "selu", "silu", "softplus", "hardsigmoid",
    "hardswish", "mish", "relu6",
}  # fmt: skip
PYTHON = {"leaky_relu", "elu", "relu6", "silu", "mish", "hardsigmoid", "hardswish"}  # whose signatures can be read
DEFAULTS = {"beta": 1, "threshold": 20}
BUILT_IN = {"gelu": ("approximate",), "softplus": ("beta", "threshold")}  # those of the others, after their input


@dataclass(frozen=True, kw_only=True)
class Used:
    """An activation that the reference calls.

    Args:
        name: Of PyTorch's function.
        words: The same with the settings that differ from what the name says.
        in_keras: How a port writes it.
        function: Of its input alone.
    """

    name: str
    words: str
    in_keras: str
    function: Function


def suppose_activations(case: Case) -> Iterator[Hypothesis]:
    """Yields each activation in every place, in those of one function, and in one place."""
    calls = activations_of(case)
    names = [call.name for call in calls]
    groups: list[Sequence[int]] = [list(range(len(names)))]
    if len(set(names)) > 1:
        groups += [[i for i, name in enumerate(names) if name == one] for one in dict.fromkeys(names)]
    groups += [[index] for index in range(len(names)) if [index] not in groups]
    for places, (name, activation) in itertools.product(groups, ACTIVATIONS.items()):
        if not places:
            continue
        used = sorted({calls[place].words for place in places})
        in_keras = list(dict.fromkeys(calls[place].in_keras for place in places))
        text = f"{describe(places, names)} is {name} in the port; the reference has {', '.join(used)}"
        advice = f"use the reference's activation, {in_keras[0]}"
        if len(in_keras) > 1:
            advice = f"use the reference's activations, in its order: {', '.join(in_keras)}"
        yield Hypothesis(
            cause="activation",
            text=text,
            advice=advise(f"{describe(places, names)}: {advice}", repair_places(case, places, calls)),
            change=rewriting(lambda activation=activation, places=places: replaced(activation, places, len(names))),
            calls=(NAMES, places),
        )


def describe(places: Sequence[int], names: Sequence[str]) -> str:
    """Returns in words which activations are meant."""
    if len(places) == 1:
        return f"activation {places[0] + 1} of {len(names)}"
    if len(places) == len(names):
        return "every activation"
    return f"every {names[places[0]]} ({len(places)} of {len(names)} activations)"


# Where Keras has another name than PyTorch. Its `leaky_relu` has a slope of 0.2 by that name, and 0.3 as a layer.
IN_KERAS = {"hardsigmoid": "hard_sigmoid", "hardswish": "hard_swish"}


def described(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[str, str]:
    """Returns what a call of an activation is in words, with its settings, and how Keras writes it.

    Args:
        name: Of PyTorch's function.
        args: What it was called with, after its input.
        kwargs: The same by name.
    """
    known = [*inspect.signature(getattr(functional, name)).parameters][1:] if name in PYTHON else BUILT_IN.get(name, ())
    given = dict(zip(known, args, strict=False)) | dict(kwargs)
    if name == "leaky_relu":
        slope = given.get("negative_slope", 0.01)
        return f"leaky_relu, slope {slope:g}", f"keras.layers.LeakyReLU(negative_slope={slope:g})"
    if name == "gelu" and given.get("approximate", "none") == "tanh":
        words = "keras.layers.Activation(lambda x: keras.activations.gelu(x, approximate=True))"
        return "gelu, tanh approximation", words
    if name == "elu" and given.get("alpha", 1.0) != 1.0:
        return f"elu, alpha {given['alpha']:g}", f"keras.layers.ELU(alpha={given['alpha']:g})"
    others = {key: value for key, value in given.items() if value != DEFAULTS.get(key, value)}
    if others:
        settings = ", ".join(f"{key} {value:g}" for key, value in others.items())
        return f"{name}, {settings}", f"{name} with {settings}, in a layer of your own"
    return name, f'activation="{IN_KERAS.get(name, name)}"'


def rewriting(make: Callable[[], Rewrite]) -> Change:
    """Returns a change that adds a new rewrite to a run."""
    return lambda run: run.rewrites.append(make())


def activations_of(case: Case) -> list[Used]:
    """Returns the activation functions that the reference calls, in their order, with what they were called with."""
    calls: list[Used] = []

    def note(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        if getattr(func, "__name__", "") in NAMES:
            kept = {name: value for name, value in kwargs.items() if name != "inplace"}
            # An in-place form would write into what the port's layer was given.
            called = functional.relu if func.__name__ == "relu_" else func
            name = func.__name__.rstrip("_")
            words, in_keras = described(name, args[1:], kept)
            calls.append(Used(name=name, words=words, in_keras=in_keras, function=bound(called, args[1:], kept)))
        return func, args, kwargs

    run = case.bench.reference()
    run.set_training()
    run.rewrites.append(note)
    with torch.no_grad(), run.patched():
        run.forward(case.plan[0])
    return calls


def bound(func: Callable[..., Any], rest: Sequence[Any], kwargs: dict[str, Any]) -> Function:
    """Returns a function of its input alone."""
    if func is functional.relu:
        return functional.relu
    return lambda x: func(x, *rest, **kwargs)


def replaced(activation: Function, places: Sequence[int], total: int) -> Rewrite:
    """Returns a rewrite of the activations at some places among the `total` of each forward pass."""
    counter, chosen = itertools.count(), set(places)

    def rewrite(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        if getattr(func, "__name__", "") not in NAMES or next(counter) % total not in chosen:
            return func, args, kwargs
        return (lambda input, *_, **__: activation(input)), args, kwargs

    return rewrite


def repair_places(case: Case, places: Sequence[int], calls: Sequence[Used]) -> Repair | None:
    """Returns what gives the port's layers the reference's functions, if the two have as many activations."""
    layers = [layer for layer in case.called_layers if applies_activation(layer)]
    if len(layers) != len(calls):
        return None

    def repair(host: KerasHost) -> AbstractContextManager[None]:
        chosen = [(layers[place], calls[place].function) for place in places]
        names = ["activation" if hasattr(layer, "activation") else "call" for layer, _ in chosen]
        return host.together(
            [attributes_set(layer, **{name: function}) for (layer, function), name in zip(chosen, names, strict=True)]
        )

    return repair


def applies_activation(layer: Any) -> bool:
    """Whether a layer applies an activation, as its own part or as all that it does."""
    function = getattr(layer, "activation", None)
    if function is not None:
        return getattr(function, "__name__", "") != "linear"
    return type(layer).__name__ in ("ReLU", "LeakyReLU", "ELU", "Softmax", "Activation")

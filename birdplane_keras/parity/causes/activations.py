"""Another activation: in all places, in all that have one function, or in one."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch.nn import functional

from birdplane_keras.parity.causes.case import Case
from birdplane_keras.parity.causes.hypothesis import Change, Hypothesis, Mend, advise
from birdplane_keras.parity.kinds.mending import attributes_set
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


def suppose_activations(case: Case) -> Iterator[Hypothesis]:
    """Yields each activation in every place, in those of one function, and in one place."""
    calls = activations_of(case)
    names = [name for name, _ in calls]
    groups: list[Sequence[int]] = [list(range(len(names)))]
    if len(set(names)) > 1:
        groups += [[i for i, name in enumerate(names) if name == one] for one in dict.fromkeys(names)]
    groups += [[index] for index in range(len(names)) if [index] not in groups]
    for places, (name, activation) in itertools.product(groups, ACTIVATIONS.items()):
        if not places:
            continue
        used = sorted({names[place] for place in places})
        text = f"{describe(places, names)} is {name} in the port; the reference has {', '.join(used)}"
        yield Hypothesis(
            cause="activation",
            text=text,
            advice=advise(f"{describe(places, names)}: {advice_for(used)}", mend_places(case, places, calls)),
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


def advice_for(used: Sequence[str]) -> str:
    """Returns which activation to use."""
    if len(used) > 1:
        return f"use the reference's activations, in its order ({', '.join(used)})"
    advice = f'use the reference\'s activation, activation="{used[0]}"'
    if used == ["gelu"]:
        advice += ", or keras.layers.Activation(lambda x: keras.activations.gelu(x, approximate=...)) for its two forms"
    return advice


def rewriting(make: Callable[[], Rewrite]) -> Change:
    """Returns a change that adds a new rewrite to a run."""
    return lambda run: run.rewrites.append(make())


def activations_of(case: Case) -> list[tuple[str, Function]]:
    """Returns the activation functions that the reference calls, in their order, with what they were called with."""
    calls: list[tuple[str, Function]] = []

    def note(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        if getattr(func, "__name__", "") in NAMES:
            kept = {name: value for name, value in kwargs.items() if name != "inplace"}
            # An in-place form would write into what the port's layer was given.
            called = functional.relu if func.__name__ == "relu_" else func
            calls.append((func.__name__.rstrip("_"), bound(called, args[1:], kept)))
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


def mend_places(case: Case, places: Sequence[int], calls: Sequence[tuple[str, Function]]) -> Mend | None:
    """Returns what gives the port's layers the reference's functions, if the two have as many activations."""
    layers = [layer for layer in case.called_layers if applies_activation(layer)]
    if len(layers) != len(calls):
        return None

    def mend(host: KerasHost) -> AbstractContextManager[None]:
        chosen = [(layers[place], calls[place][1]) for place in places]
        names = ["activation" if hasattr(layer, "activation") else "call" for layer, _ in chosen]
        return host.together(
            [attributes_set(layer, **{name: function}) for (layer, function), name in zip(chosen, names, strict=True)]
        )

    return mend


def applies_activation(layer: Any) -> bool:
    """Whether a layer applies an activation, as its own part or as all that it does."""
    function = getattr(layer, "activation", None)
    if function is not None:
        return getattr(function, "__name__", "") != "linear"
    return type(layer).__name__ in ("ReLU", "LeakyReLU", "ELU", "Softmax", "Activation")

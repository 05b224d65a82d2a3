"""Something done to the outputs that the reference does not do, or in another form."""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import torch

from birdplane_keras.parity.causes.case import Case
from birdplane_keras.parity.causes.hypothesis import Advice, Hypothesis, advise
from birdplane_keras.parity.kinds.repairing import attributes_set, calling
from birdplane_keras.parity.sides.keras_host import Repair

Function = Callable[[torch.Tensor], torch.Tensor]
APPLIED: dict[str, Function] = {
    "softmax": lambda x: torch.softmax(x, -1),
    "log_softmax": lambda x: torch.log_softmax(x, -1),
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "tanh": torch.tanh,
}
TO_PROBABILITIES = ("softmax", "log_softmax", "sigmoid")
ABOVE_ONE = 1e-3  # how far a sum of probabilities may be from 1


def suppose_outputs(case: Case) -> Iterator[Hypothesis]:
    """Yields functions of the outputs, by what the reference returns: logits, probabilities or their logarithms."""
    form = form_of(next(iter(case.reference.tensors["forward"].values())))
    if form == "log_softmax":
        told = "the port returns probabilities, the reference their logarithms"
        yield in_another_form(case, told, form, "numpy.exp", torch.exp)
        yield unnormalised(case, form)
    elif form == "softmax":
        told = "the port returns the logarithms of probabilities, the reference the probabilities"
        yield in_another_form(case, told, form, "numpy.log", torch.log)
        yield unnormalised(case, form)
    for name, function in APPLIED.items():
        probabilities = name in TO_PROBABILITIES
        told = {"log_softmax": "log-probabilities", "softmax": "probabilities"}.get(form, "them as they are")
        advice = "leave the last layer without an activation"
        yield Hypothesis(
            cause="softmax_before_loss" if probabilities else "activation",
            text=f"the port applies {name} to its outputs; the reference returns {told}",
            advice=advise(
                f"{advice}, and give the loss from_logits=True" if probabilities else advice,
                ending_with(case, lambda x: x),
            ),
            change=lambda run, function=function: setattr(run, "change_outputs", function),
        )


def form_of(outputs: np.ndarray) -> str:
    """Returns what outputs are: `softmax`, `log_softmax`, or nothing of the kind."""
    if outputs.ndim < 2 or outputs.shape[-1] < 2 or not np.issubdtype(outputs.dtype, np.floating):
        return ""
    wide = outputs.astype(np.float64)
    if (wide >= 0).all() and np.abs(wide.sum(-1) - 1).max() < ABOVE_ONE:
        return "softmax"
    if (wide <= 0).all() and np.abs(np.exp(wide).sum(-1) - 1).max() < ABOVE_ONE:
        return "log_softmax"
    return ""


def in_another_form(case: Case, text: str, form: str, turn: str, function: Function) -> Hypothesis:
    """Returns the hypothesis that one side returns the logarithms of what the other does."""
    return Hypothesis(
        cause="output_form",
        text=text,
        advice=(
            end_with(case, form),
            Advice(text=f"or, if the port is meant to return that: Pair(outputs_to_keras={turn})"),
        ),
        evidence="read from the reference's outputs",
        change=lambda run: setattr(run, "change_outputs", function),
    )


def unnormalised(case: Case, form: str) -> Hypothesis:
    """Returns the hypothesis that the port leaves out the softmax at the reference's end."""
    return Hypothesis(
        cause="output_form",
        text=f"the port returns logits, the reference applies {form} to them",
        advice=(
            end_with(case, form),
            Advice(text=f"or compare logits: leave {form} to the loss on both sides"),
        ),
        change=lambda run: run.rewrites.append(without_function(form)),
    )


def end_with(case: Case, form: str) -> Advice:
    """Returns the advice to end the port with a function of the outputs."""
    function: Any = getattr(keras.activations, form)
    return Advice(text=f"activation={form!r} at the port's end", repair=ending_with(case, function))


def without_function(name: str) -> Callable[..., Any]:
    """Returns a rewrite of a function to the identity."""

    def rewrite(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if getattr(func, "__name__", "") == name:
            return (lambda input, *_, **__: input), args, kwargs
        return func, args, kwargs

    return rewrite


def ending_with(case: Case, function: Callable[..., Any]) -> Repair | None:
    """Returns what gives the port's last layer this activation, if its last layer has one or is one."""
    last: Any = case.called_layers[-1] if case.called_layers else None
    if hasattr(last, "activation"):
        return lambda host: attributes_set(last, activation=function)
    if isinstance(last, keras.layers.Softmax):
        return lambda host: calling(lambda layer, inputs, mask=None: function(inputs))(last)
    return None

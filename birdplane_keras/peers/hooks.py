"""Forward hooks on every layer of both sides, which say where the outputs begin to differ."""

from typing import Any

import numpy as np
import torch

from birdplane_keras.parity.private_keras import layers_of
from birdplane_keras.parity.sides.arrays import to_numpy
from birdplane_keras.peers.comparing import allclose, describe
from birdplane_keras.peers.forward import FORWARD_ONLY, compare_outputs
from birdplane_keras.peers.method import Difference, Method
from birdplane_keras.peers.prepared import Prepared

Heard = list[tuple[str, np.ndarray]]  # a layer's name and what it returned, in the order of the calls

IS_CLOSE = allclose(1e-5)


def compare_layers(pair: Prepared) -> Difference | None:
    """Compares the outputs, and finds the first layer whose own output differs.

    Documents: guides and forum answers advise `register_forward_hook` on every module, to see where outputs part.
    Emulated: hooks on every module and every Keras layer, in evaluation mode at 1e-5. A layer of the port belongs to
    the next output of the reference that has its shape, in either layout, and is close; where none is, it differs.
    The verdict is that of the model's own outputs: an activation that is a function has no module and no hook, so a
    right port has layers without a partner, too.
    Limits: the place is a layer's name and no cause, and may be one layer late where shapes repeat.
    """
    found = compare_outputs(pair, IS_CLOSE)
    if found is None:
        return None
    return first_layer_apart(*hear_both(pair)) or found


def hear_both(pair: Prepared) -> tuple[Heard, Heard]:
    """Returns what every layer of the reference and of the port returns for the first batch."""
    reference, port = pair.bench.reference(), pair.bench.port()
    theirs: Heard = []
    ours: Heard = []
    hooks = [module.register_forward_hook(hear(theirs, n)) for n, module in reference.module.named_modules() if n]
    layers = layers_of(port.host.model, include_self=False)
    hooks += [layer.register_forward_hook(hear(ours, layer.name)) for layer in layers]
    try:
        pair.predict_reference(reference)
        pair.predict_port(port)
    finally:
        for hook in hooks:
            hook.remove()
    return theirs, ours


def hear(heard: Heard, name: str) -> Any:
    """Returns a forward hook that notes what a layer returns, the first part of it where there are several."""

    def hook(module: Any, args: Any, output: Any) -> None:
        first = output[0] if isinstance(output, tuple | list) and output else output
        if isinstance(first, torch.Tensor):
            heard.append((name, to_numpy(first)))

    return hook


def first_layer_apart(theirs: Heard, ours: Heard) -> Difference | None:
    """Returns the port's first layer that returns what no layer of the reference does, after those that agreed.

    Args:
        theirs: What the reference's layers return.
        ours: What the port's do.
    """
    reached = 0
    for name, value in ours:
        fitting = [place for place in range(reached, len(theirs)) if fits(theirs[place][1], value)]
        equal = next((place for place in fitting if agrees(theirs[place][1], value)), None)
        if equal is not None:
            reached = equal
        elif fitting:
            other, expected = theirs[fitting[0]]
            text = describe(in_layout(expected, value), value)
            return Difference(place=name, text=f"{text} from {other}")
    return None


def layouts(value: np.ndarray) -> list[np.ndarray]:
    """Returns what a layer of the reference returned, as it is and with its channels moved to the end."""
    return [value, np.moveaxis(value, 1, -1)] if value.ndim > 2 else [value]


def fits(expected: np.ndarray, value: np.ndarray) -> bool:
    """Whether two layers may be each other's partner."""
    return any(each.shape == value.shape for each in layouts(expected))


def in_layout(expected: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Returns the first layout of what the reference returned that has a shape."""
    return next(each for each in layouts(expected) if each.shape == value.shape)


def agrees(expected: np.ndarray, value: np.ndarray) -> bool:
    """Whether two layers return the same in one of the layouts."""
    return any(each.shape == value.shape and IS_CLOSE(each, value) for each in layouts(expected))


METHODS = (
    Method(
        name="hooks",
        title="hooks on every layer",
        compares="the outputs at 1e-5, and by order and shape the output of every layer",
        tells="a layer",
        limits=f"{FORWARD_ONLY} Functions have no hooks, so layers are paired by order and shape.",
        run=compare_layers,
    ),
)

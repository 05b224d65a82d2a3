"""Layers of an `nn.Sequential` exchanged, or one left out; inputs whose channels are reversed within the port."""

import itertools
from collections.abc import Iterator
from typing import Any

from torch import nn

from birdplane_keras.parity.causes.case import Case
from birdplane_keras.parity.causes.hypothesis import Hypothesis, advise
from birdplane_keras.parity.pair import flatten
from birdplane_keras.parity.sides.torch_run import TorchRun

IMAGES = 4  # axes


def suppose_order(case: Case) -> Iterator[Hypothesis]:
    """Yields neighbours exchanged, layers left out, and any two exchanged."""
    for name, container in case.pair.torch_module.named_modules():
        if not isinstance(container, nn.Sequential):
            continue
        for first in range(len(container) - 1):
            kinds = f"{type(container[first]).__name__}, {type(container[first + 1]).__name__}"
            yield exchanged(name, first, first + 1, f" ({kinds})")
        for index, module in enumerate(container):
            if not list(module.parameters()):
                yield Hypothesis(
                    cause="layer_missing",
                    text=f"layer {index} of {name or 'the module'} ({type(module).__name__}) is missing in the port",
                    advice=advise(f"add the counterpart of {module}"),
                    change=lambda run, name=name, index=index: leave_out(run, name, index),
                )
        for one, other in itertools.combinations(range(len(container)), 2):
            if other - one > 1 and type(container[one]) is not type(container[other]):
                yield exchanged(name, one, other, "")


def exchanged(name: str, one: int, other: int, told: str) -> Hypothesis:
    """Returns the hypothesis that two layers are exchanged."""
    return Hypothesis(
        cause="layers_swapped",
        text=f"layers {one} and {other} of {name or 'the module'}{told} are exchanged in the port",
        advice=advise("put them in the reference's order"),
        change=lambda run: swap(run, name, one, other),
    )


def swap(run: TorchRun, name: str, one: int, other: int) -> None:
    """Exchanges two modules of a Sequential."""
    container: Any = run.module.get_submodule(name)
    container[one], container[other] = container[other], container[one]


def leave_out(run: TorchRun, name: str, index: int) -> None:
    """Puts an identity in a module's place."""
    container: Any = run.module.get_submodule(name)
    container[index] = nn.Identity()


def suppose_inputs(case: Case) -> Iterator[Hypothesis]:
    """Yields images whose channels are reversed within the port."""
    if flatten(case.pair.data[0])[0].ndim != IMAGES:
        return
    yield Hypothesis(
        cause="channel_order",
        text="the port reads the channels in reverse order (BGR for RGB)",
        advice=advise("x[..., ::-1] before the first layer"),
        change=lambda run: setattr(run, "change_inputs", lambda given: (given[0].flip(1), *given[1:])),
    )

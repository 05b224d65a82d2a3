"""Draws trainings: networks of several families, losses, optimizers, schedules, pipelines."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from birdplane_keras.mutants.plans import Plan, Statement
from birdplane_keras.mutants.terms import (
    CLASSES,
    NUMBERS,
    draw_classes,
    draw_numbers,
    draw_pipeline,
    draw_schedule,
    draw_update,
)
from birdplane_keras.mutants.words import WORDS, Shape

MOST_SIZE = 600  # numbers of a value, for one example


class Draft:
    """A network that is being drawn.

    Args:
        random: Draws.
    """

    def __init__(self, random: np.random.Generator) -> None:
        self.random = random
        self.statements: list[Statement] = []
        self.values: dict[str, tuple[str, Shape]] = {}

    def add(self, name: str, *inputs: str, **settings: Any) -> str:
        """Adds an operation on values; settings that are not given are drawn. Returns the name of what it makes."""
        word = WORDS[name]
        kind, shape = self.values[inputs[0]]
        drawn = {key: self.choice(values) for key, values in word.settings.items()} | settings
        if kind == "vector" and "axis" in drawn:
            drawn["axis"] = "features"
        if drawn.get("stride", 1) > 1:
            drawn["dilation"] = 1  # Keras has no window that does both
        made = word.shape(drawn, shape) if word.shape else shape
        value = f"{name.split('_')[0]}{len(self.statements) + 1}"
        self.values[value] = (word.makes or kind, made)
        self.statements.append(
            Statement(name=value, word=name, inputs=inputs, settings=drawn, kind=word.makes or kind, shape=made)
        )
        return value

    def choice(self, values: Any) -> Any:
        """Returns one of some values."""
        return values[int(self.random.integers(len(values)))]

    def wander(self, value: str, steps: int) -> str:
        """Adds some operations that follow each other, each fit for what comes; returns the last value."""
        for _ in range(steps):
            kind, shape = self.values[value]
            others = [n for n, other in self.values.items() if other == (kind, shape) and n != value]
            fitting = [
                name
                for name, word in WORDS.items()
                if kind in word.kinds
                and word.fits(shape)
                and not word.makes
                and (word.inputs == 1 or (word.inputs == 2 and others))
                and (name != "concatenate" or np.prod(shape) * 2 <= MOST_SIZE)
                and name not in ("enlarge", "softmax")
            ]
            rarely = [name for name in fitting if WORDS[name].group == "elementwise"]
            often = [name for name in fitting if WORDS[name].group != "elementwise"]
            name = self.choice(rarely if self.random.random() < 0.4 else often)
            value = self.add(name, value, *([self.choice(others)] if WORDS[name].inputs == 2 else []))
        return value

    def reduce(self, value: str) -> str:
        """Makes a vector of an image or a sequence."""
        kind, _ = self.values[value]
        names = [name for name, word in WORDS.items() if word.makes == "vector" and kind in word.kinds]
        return self.add(self.choice(names), value) if names else value


def dense(draft: Draft) -> str:
    """A network of vectors."""
    value = draft.add("linear", "x", units=8)
    return draft.wander(draft.add("tanh", value), int(draft.random.integers(3, 7)))


def residual(draft: Draft) -> str:
    """Convolutions with a branch around some of them."""
    start = draft.add("convolution", "x", units=4, stride=1, dilation=1, groups=1)
    start = draft.add(draft.choice(("relu", "silu", "leaky_relu")), draft.add("batch_norm", start))
    branch = draft.add("convolution", start, units=4, stride=1, dilation=1)
    branch = draft.wander(draft.add(draft.choice(("batch_norm", "group_norm")), branch), 1)
    if draft.values[branch] == draft.values[start]:
        branch = draft.add(draft.choice(("add", "add", "gate", "maximum")), branch, start)
    return draft.reduce(draft.wander(branch, int(draft.random.integers(1, 4))))


def u_shaped(draft: Draft) -> str:
    """Down, up again, and what was before beside it."""
    before = draft.add("relu", draft.add("convolution", "x", units=4, stride=1, dilation=1, groups=1))
    down = draft.add(draft.choice(("max_pool", "average_pool")), before)
    low = draft.add("tanh", draft.add("group_norm", down))
    up = draft.add("enlarge", low)
    both = draft.add("concatenate", before, up)
    value = draft.add("convolution", both, units=4, stride=1, dilation=1, groups=1)
    return draft.reduce(draft.wander(value, int(draft.random.integers(1, 3))))


def recurrent(draft: Draft) -> str:
    """A sequence, read step by step."""
    value = draft.wander("x", int(draft.random.integers(1, 3)))
    value = draft.add("gru", value)
    return draft.reduce(draft.wander(value, int(draft.random.integers(1, 4))))


def attentive(draft: Draft) -> str:
    """A block of a transformer."""
    start = draft.add("linear", "x", units=6)
    normed = draft.add("layer_norm", start)
    names = [draft.add("linear", normed, units=6) for _ in range(3)]
    mixed = draft.add("linear", draft.add("attention", *names), units=6)
    value = draft.add("layer_norm", draft.add("add", start, mixed))
    value = draft.add(draft.choice(("gelu", "relu", "quick_gelu")), draft.add("linear", value, units=8))
    return draft.reduce(draft.wander(value, int(draft.random.integers(1, 3))))


def two_inputs(draft: Draft) -> str:
    """An image and a vector, put together."""
    image = draft.add("relu", draft.add("convolution", "x", units=6, stride=1, dilation=1, groups=1))
    image = draft.reduce(draft.wander(image, 1))
    while draft.values[image][0] != "vector":
        image = draft.reduce(image)
    image = draft.add("linear", image, units=6)
    vector = draft.add(draft.choice(("tanh", "silu", "softplus")), draft.add("linear", "w", units=6))
    value = draft.add(draft.choice(("concatenate", "multiply", "add", "gate", "subtract")), image, vector)
    return draft.wander(value, int(draft.random.integers(1, 4)))


FAMILIES: dict[str, tuple[Callable[[Draft], str], tuple[tuple[str, str, Shape], ...]]] = {
    "dense": (dense, (("x", "vector", (6,)),)),
    "residual": (residual, (("x", "image", (2, 6, 6)),)),
    "u_shaped": (u_shaped, (("x", "image", (2, 6, 6)),)),
    "recurrent": (recurrent, (("x", "sequence", (5, 4)),)),
    "attentive": (attentive, (("x", "sequence", (5, 4)),)),
    "two_inputs": (two_inputs, (("x", "image", (2, 6, 6)), ("w", "vector", (5,)))),
}


def draw_plan(seed: Sequence[int]) -> Plan:
    """Returns the training of a seed."""
    random = np.random.default_rng([*seed, 1])
    family = list(FAMILIES)[int(random.integers(len(FAMILIES)))]
    build, inputs = FAMILIES[family]
    draft = Draft(random)
    draft.values = {name: (kind, shape) for name, kind, shape in inputs}
    value = build(draft)
    outputs = [draft.add("linear", value, units=CLASSES)]
    if random.random() < 0.25:
        outputs.append(draft.add("linear", draft.add("tanh", value), units=NUMBERS))
    loss = [*draw_classes(random), *(draw_numbers(random) if len(outputs) > 1 else ())]
    optimizer, update = draw_update(random)
    schedule = draw_schedule(random) if random.random() < 0.4 else ()
    return Plan(
        inputs=inputs,
        statements=tuple(draft.statements),
        outputs=tuple(outputs),
        loss=tuple(loss),
        update=tuple(update),
        optimizer=optimizer,
        schedule=tuple(schedule),
        pipeline=tuple(draw_pipeline(random, inputs[0][1])),
        seed=int(random.integers(2**31)),
    )

"""Draws networks with parallel branches of one shape, and builds both sides, in orders and under names of their own."""

from dataclasses import dataclass, field

import keras
import numpy as np
import torch
from keras import layers, ops
from torch import nn

ACTIVATIONS = {"tanh": torch.tanh, "relu": torch.relu, "sigmoid": torch.sigmoid}


@dataclass
class Plan:
    """Nodes in an order in which each comes after what it takes: (what it is, the places of what it takes, width)."""

    width: int
    nodes: list[tuple[str, tuple[int, ...], int]] = field(default_factory=list)


def draw_plan(random: np.random.Generator) -> Plan:
    plan = Plan(width=int(random.integers(3, 7)))
    widths = [plan.width]
    few = [plan.width, int(random.integers(3, 7))]

    def add(what, takes, width):
        plan.nodes.append((what, takes, width))
        widths.append(width)
        return len(widths) - 1

    def last(width=None):
        fitting = [place for place, each in enumerate(widths) if width in (None, each)]
        return int(random.choice(fitting[-3:]))

    for _ in range(int(random.integers(2, 6))):
        kind = random.choice(["dense", "norm", "branches", "gate", "residual"])
        source, width = last(), int(random.choice(few))
        if kind == "dense":
            add(str(random.choice([*ACTIVATIONS])), (add("linear", (source,), width),), width)
        elif kind == "norm":
            add("norm", (source,), widths[source])
        elif kind == "residual":
            width = widths[source]
            add("add", (source, add("tanh", (add("linear", (source,), width),), width)), width)
        else:
            count = 2 if kind == "gate" else int(random.integers(2, 4))
            heads = [add("linear", (source,), width) for _ in range(count)]
            acts = ["tanh", "sigmoid", "relu"] if kind == "gate" else [str(random.choice([*ACTIVATIONS]))] * count
            made = [add(acts[index], (head,), width) for index, head in enumerate(heads)]
            merged = made[0]
            for other in made[1:]:
                merged = add(
                    "multiply" if kind == "gate" else str(random.choice(["add", "subtract"])), (merged, other), width
                )
    taken = {place for _, takes, _ in plan.nodes for place in takes}
    ends = [place for place in range(1, len(widths)) if place not in taken]
    for place in ends:  # each end is an output: heads of one shape are told apart by their names' places
        add("linear", (place,), 2)
    return plan


def names_of(plan: Plan, random: np.random.Generator, prefix: str) -> dict[int, str]:
    places = [place for place, (what, _, _) in enumerate(plan.nodes) if what in ("linear", "norm")]
    order = random.permutation(len(places))
    return {place: f"{prefix}{chr(97 + int(o) % 26)}{int(o)}" for place, o in zip(places, order, strict=True)}


class Reference(nn.Module):
    def __init__(self, plan, names, order):
        super().__init__()
        self.plan, self.names = plan, names
        widths = [plan.width, *(width for _, _, width in plan.nodes)]
        for place in order:
            what, takes, width = plan.nodes[place]
            setattr(self, names[place], nn.Linear(widths[takes[0]], width) if what == "linear" else nn.LayerNorm(width))

    def forward(self, x):
        values = [x]
        for place, (what, takes, _) in enumerate(self.plan.nodes):
            given = [values[each] for each in takes]
            values.append(getattr(self, self.names[place])(*given) if place in self.names else apply(what, given, True))
        return tuple(values[place + 1] for place in ends_of(self.plan))


def apply(what, given, on_torch):
    if what in ACTIVATIONS:
        return ACTIVATIONS[what](*given) if on_torch else getattr(ops, what)(*given)
    return {"add": lambda a, b: a + b, "subtract": lambda a, b: a - b, "multiply": lambda a, b: a * b}[what](*given)


def ends_of(plan):
    taken = {each for _, takes, _ in plan.nodes for each in takes}
    return [place for place in range(len(plan.nodes)) if place + 1 not in taken]


class Subclassed(keras.Model):
    def __init__(self, plan, made):
        super().__init__()
        self.plan, self.places = plan, [*made]
        self.members = [made[place] for place in self.places]  # registered in the order in which they were made

    def call(self, x):
        return run_keras(self.plan, dict(zip(self.places, self.members, strict=True)), x)


def run_keras(plan, made, x):
    values = [x]
    for place, (what, takes, _) in enumerate(plan.nodes):
        given = [values[each] for each in takes]
        values.append(made[place](*given) if place in made else apply(what, given, False))
    return tuple(values[place + 1] for place in ends_of(plan))


def draw_pair(seed: int):
    """Returns a Keras model, a PyTorch module, inputs, and which Keras layer, by `id`, is which module by name."""
    random = np.random.default_rng(seed)
    plan = draw_plan(random)
    theirs, ours = names_of(plan, random, "part_"), names_of(plan, random, "layer_")
    torch.manual_seed(seed)
    keras.utils.set_random_seed(seed)
    module = Reference(plan, theirs, [int(each) for each in random.permutation([*theirs])])
    made = {}
    for place in (int(each) for each in random.permutation([*ours])):
        what, _, width = plan.nodes[place]
        name = ours[place]
        made[place] = (
            layers.Dense(width, name=name) if what == "linear" else layers.LayerNormalization(epsilon=1e-5, name=name)
        )
    if random.random() < 0.5:
        inputs = keras.Input((plan.width,))
        model = keras.Model(inputs, run_keras(plan, made, inputs))
    else:
        model = Subclassed(plan, made)
        model(np.zeros((1, plan.width), np.float32))
    data = random.standard_normal((8, plan.width)).astype(np.float32)
    return model, module, data, {id(made[place]): theirs[place] for place in made}

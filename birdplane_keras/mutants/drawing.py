"""Draws trainings: networks of several families, losses, optimizers, schedules, pipelines."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from birdplane_keras.mutants.plans import Plan, Statement, Term
from birdplane_keras.mutants.words import WORDS, Shape

CLASSES, NUMBERS = 4, 3
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


def both(name: str, text: str, others: dict | None = None, instead: tuple[str, ...] = (), **settings: Any) -> Term:
    """Returns a line that both sides write alike: `F.` stands for `torch.` and for `ops.`."""
    return Term(
        name=name,
        torch=text.replace("F.", "torch."),
        keras=text.replace("F.", "ops."),
        settings=settings,
        others=others or {},
        instead=tuple(each.replace("F.", "ops.") for each in instead),
    )


def draw_classes(random: np.random.Generator) -> list[Term]:
    """Returns a loss of class scores."""
    logs = both("logs0", "F.log_softmax(z0, 1)", instead=("F.log_softmax(z0, 0)", "F.log(F.softmax(z0, 1) + 1e-3)"))
    target = Term(
        name="target0",
        torch=f"functional.one_hot(y0, {CLASSES}).float()",
        keras=f'ops.one_hot(ops.cast(y0, "int32"), {CLASSES})',
        instead=(f'ops.one_hot(({CLASSES} - 1) - ops.cast(y0, "int32"), {CLASSES})',),
    )
    kind = int(random.integers(5))
    if kind == 0:
        each = both(
            "each0", "-F.sum(target0 * logs0, 1)", instead=("-F.max(target0 * logs0, 1)", "F.sum(F.abs(logs0), 1)")
        )
        return [logs, target, each, mean("loss0", "each0")]
    if kind == 1:
        soft = both("soft0", "target0 * (1 - {share}) + {share} / 4", {"share": (0.05, 0.2, 0.0)}, share=0.1)
        return [logs, target, soft, both("each0", "-F.sum(soft0 * logs0, 1)"), mean("loss0", "each0")]
    if kind == 2:
        chance = both("chance0", "F.sum(target0 * F.exp(logs0), 1)")
        hard = both(
            "hard0", "(1 - chance0) ** {gamma}", {"gamma": (1.5, 1.0, 3.0)}, instead=("chance0 ** {gamma}",), gamma=2.0
        )
        each = both("each0", "-hard0 * F.sum(target0 * logs0, 1)", instead=("-F.sum(target0 * logs0, 1)",))
        return [logs, target, chance, hard, each, mean("loss0", "each0")]
    if kind == 3:
        right = Term(
            name="right0",
            torch="torch.sum(target0 * z0, 1, keepdim=True)",
            keras="ops.sum(target0 * z0, 1, keepdims=True)",
        )
        gap = both(
            "gap0", "{margin} - right0 + z0", {"margin": (0.5, 1.5)}, instead=("{margin} + right0 - z0",), margin=1.0
        )
        hinge = both(
            "hinge0", "F.relu(gap0) * (1 - target0)", instead=("F.relu(gap0)", "F.relu(gap0) ** 2 * (1 - target0)")
        )
        each = both("each0", "F.sum(hinge0, 1)", instead=("F.mean(hinge0, 1)",))
        return [target, right, gap, hinge, each, mean("loss0", "each0")]
    near = both("near0", "F.softmax(target0 * {sharp}, 1)", {"sharp": (2.0, 4.0)}, sharp=3.0)
    each = both(
        "each0", "F.sum(near0 * (F.log(near0) - logs0), 1)",
        instead=("F.sum(F.exp(logs0) * (logs0 - F.log(near0)), 1)", "F.sum(near0 * (logs0 - F.log(near0)), 1)"),
    )  # fmt: skip
    return [logs, target, near, each, mean("loss0", "each0")]


def mean(name: str, value: str) -> Term:
    """Returns the mean over the batch."""
    return both(name, f"F.mean({value})", instead=(f"F.sum({value})", f"F.sqrt(F.mean({value} ** 2))"))


def draw_numbers(random: np.random.Generator) -> list[Term]:
    """Returns a loss of numbers."""
    apart = both("apart1", "z1 - y1", instead=("z1 + y1",))
    kind = int(random.integers(3))
    if kind == 0:
        each = both("each1", "apart1 ** 2", instead=("F.abs(apart1)", "F.abs(apart1) ** 1.5", "apart1 ** 4"))
    elif kind == 1:
        each = both(
            "each1", "F.where(F.abs(apart1) < {delta}, 0.5 * apart1 ** 2, {delta} * (F.abs(apart1) - 0.5 * {delta}))",
            {"delta": (1.0, 0.3)}, delta=0.5,
        )  # fmt: skip
    else:
        each = both("each1", "F.sqrt(apart1 ** 2 + {epsilon})", {"epsilon": (0.1, 0.001)}, epsilon=0.01)
    share = both(
        "loss1", "{share} * F.mean(each1)", {"share": (1.0, 0.25)}, instead=("{share} * F.sum(each1)",), share=0.5
    )
    return [apart, each, share]


def draw_update(random: np.random.Generator) -> tuple[dict[str, Any], list[Term]]:
    """Returns an optimizer's settings, and its lines where it is one of its own."""
    kind = ("own", "sgd", "momentum", "adam", "adamw", "rmsprop")[int(random.integers(6))]
    settings: dict[str, Any] = {"kind": kind, "learning_rate": float((0.01, 0.02)[int(random.integers(2))])}
    if random.random() < 0.2:
        settings["clip"] = 0.05
    if kind != "own":
        return settings, []
    lines = [
        both("gradient", "gradient + {decay} * weight", {"decay": (0.0, 0.1)}, decay=0.05,
             instead=("gradient - {decay} * weight", "gradient")),
        both("mean", "{beta} * mean + (1 - {beta}) * gradient", {"beta": (0.8, 0.5)}, beta=0.9,
             instead=("{beta} * mean + gradient", "gradient")),
        both("square", "{gamma} * square + (1 - {gamma}) * gradient * gradient", {"gamma": (0.9, 0.999)}, gamma=0.99,
             instead=("{gamma} * square + (1 - {gamma}) * mean * mean",)),
        both("step", "mean / (F.sqrt(square) + {epsilon})", {"epsilon": (0.01, 0.3)}, epsilon=0.1,
             instead=("mean / F.sqrt(square + {epsilon})", "F.sign(mean)")),
        both("new", "weight - rate * step", instead=("weight - 1.1 * rate * step",)),
    ]  # fmt: skip
    return settings, lines


def draw_schedule(random: np.random.Generator) -> list[Term]:
    """Returns the lines of a factor of the rate."""
    warm = Term(
        name="warm",
        torch="min(1.0, (step + 1) / {steps})",
        keras="ops.minimum(1.0, (step + 1) / {steps})",
        settings={"steps": 4},
        others={"steps": (3, 5)},
        instead=("ops.minimum(1.0, step / {steps})", "1.0 + 0.0 * step"),
    )
    decay = Term(
        name="decayed",
        torch="warm * {base} ** step",
        keras="warm * {base} ** step",
        settings={"base": 0.9},
        others={"base": (0.95, 0.8)},
        instead=("warm * {base} ** ops.floor(step / 2)", "warm"),
    )
    return [warm, decay]


def draw_pipeline(random: np.random.Generator, kind: str) -> list[Term]:
    """Returns the lines that make an input of raw numbers between 0 and 255."""
    scaled = Term(
        name="scaled",
        torch="raw / {most}",
        keras="raw / {most}",
        settings={"most": 255.0},
        others={"most": (256.0, 1.0)},
    )
    centred = Term(
        name="centred",
        torch="(turned - {centre}) / {spread}",
        keras="(turned - {centre}) / {spread}",
        settings={"centre": 0.5, "spread": 0.25},
        others={"centre": (0.48, 0.0), "spread": (0.2, 1.0)},
        instead=("(turned - turned.mean()) / turned.std()", "turned - {centre}"),
    )
    moved = (
        ("scaled[:, ::-1]", "np.roll(scaled, 1, 1)", "scaled[:, :, ::-1]") if kind != "vector" else ("scaled[:, ::-1]",)
    )
    turned = Term(name="turned", torch="scaled", keras="scaled", instead=moved)
    return [scaled, turned, centred]

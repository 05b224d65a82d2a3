"""Draws losses, updates, schedules and pipelines, line by line, as both sides write them."""

from typing import Any

import numpy as np

from birdplane_keras.mutants.plans import Term

CLASSES, NUMBERS = 4, 3


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

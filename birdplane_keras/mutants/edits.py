"""Draws one mistake: an edit of the port's plan, and where it shows in both files."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from birdplane_keras.mutants.plans import Plan, Statement, Term
from birdplane_keras.mutants.words import WORDS

SECTIONS = ("network", "network", "network", "network", "loss", "loss", "update", "schedule", "pipeline")
OPTIMIZER: dict[str, dict[str, tuple[Any, ...]]] = {  # kind -> setting -> what the port has instead
    "sgd": {"weight_decay": (0.05,)},
    "momentum": {"momentum": (0.8, 0.0), "nesterov": (True,)},
    "adam": {"beta_1": (0.8,), "beta_2": (0.9,), "epsilon": (1e-3,)},
    "adamw": {"weight_decay": (0.1, 0.0), "beta_1": (0.8,)},
    "rmsprop": {"rho": (0.9,), "epsilon": (1e-3,)},
}


@dataclass(frozen=True, kw_only=True)
class Edit:
    """A mistake in the port.

    Args:
        section: Of the plan.
        name: Of the statement, the term or the setting.
        kind: What was done to it.
        text: In words.
        near: Other statements that show it: those that take a value that is not made any more.
    """

    section: str
    name: str
    kind: str
    text: str
    near: tuple[str, ...] = ()


Drawn = tuple[Plan, Edit]


def draw_edit(plan: Plan, random: np.random.Generator) -> Drawn:
    """Returns the port's plan with one mistake."""
    while True:
        section = SECTIONS[int(random.integers(len(SECTIONS)))]
        found = list(edits_of(plan, section))
        if found:
            return found[int(random.integers(len(found)))]


def edits_of(plan: Plan, section: str) -> Iterator[Drawn]:
    """Yields the mistakes of a section."""
    if section == "network":
        yield from edits_of_network(plan)
    elif section == "update":
        yield from edits_of_optimizer(plan)
        yield from edits_of_terms(plan, section)
    else:
        yield from edits_of_terms(plan, section)


def edits_of_terms(plan: Plan, section: str) -> Iterator[Drawn]:
    """Yields other numbers, and other ways to write a line."""
    for term in getattr(plan, section):
        for setting, values in term.others.items():
            for value in values:
                changed = replace(term, settings=term.settings | {setting: value})
                yield told(plan, section, term, changed, "number", f"{setting} {value} for {term.settings[setting]}")
        for text in term.instead:
            yield told(plan, section, term, replace(term, keras=text), "term", f"{text} for {term.keras}")


def told(plan: Plan, section: str, term: Term, changed: Term, kind: str, text: str) -> Drawn:
    """Returns a plan with another line, and what was done."""
    return plan.with_term(section, changed), Edit(
        section=section, name=term.name, kind=kind, text=f"{term.name}: {text}"
    )


def edits_of_optimizer(plan: Plan) -> Iterator[Drawn]:
    """Yields other settings of an optimizer."""
    rate = plan.optimizer["learning_rate"]
    others: dict[str, tuple[Any, ...]] = {"learning_rate": (rate * 1.1, rate / 2)}
    others |= OPTIMIZER.get(plan.optimizer["kind"], {})
    others["clip"] = (None, 0.1) if plan.optimizer.get("clip") else (0.05,)
    for setting, values in others.items():
        for value in values:
            text = f"{setting} {value} for {plan.optimizer.get(setting)}"
            edit = Edit(section="optimizer", name=setting, kind="number", text=text)
            yield replace(plan, optimizer=plan.optimizer | {setting: value}), edit


def edits_of_network(plan: Plan) -> Iterator[Drawn]:
    """Yields a setting, an operation, an input, an order, a precision that differs; one too many, or too few."""
    shapes = {name: shape for name, _, shape in plan.inputs} | {s.name: s.shape for s in plan.statements}
    for index, statement in enumerate(plan.statements):
        before = [name for name, *_ in plan.inputs] + [each.name for each in plan.statements[:index]]
        for kind, changed, text in changes(statement, shapes, before):
            edit = Edit(section="network", name=statement.name, kind=kind, text=f"{statement.name}: {text}")
            yield plan.with_statement(changed), edit
        if shapes[statement.inputs[0]] == statement.shape and not WORDS[statement.word].torch_layer:
            yield without(plan, statement)


def changes(
    statement: Statement, shapes: dict[str, tuple[int, ...]], before: list[str]
) -> Iterator[tuple[str, Statement, str]]:
    """Yields what may be done to a statement: a kind, the statement then, and in words what differs."""
    word, shape = WORDS[statement.word], shapes[statement.inputs[0]]
    for setting, values in word.settings.items():
        for value in dict.fromkeys(values):
            changed = statement.settings | {setting: value}
            fits = word.shape is None or word.shape(changed, shape) == statement.shape
            if value != statement.settings[setting] and setting not in ("units", "groups") and fits:
                text = f"{setting} {value} for {statement.settings[setting]}"
                yield "setting", replace(statement, settings=changed), text
    for name, other in WORDS.items():
        if word.group and other.group == word.group and name != statement.word and len(shape) > 0:
            settings = {key: values[0] for key, values in other.settings.items()}
            if "axis" in settings and "axis" in statement.settings:
                settings["axis"] = statement.settings["axis"]
            yield "operation", replace(statement, word=name, settings=settings), f"{name} for {statement.word}"
    if len(statement.inputs) == 2:
        yield "order", replace(statement, inputs=statement.inputs[::-1]), "its inputs exchanged"
    for place, taken in enumerate(statement.inputs):
        for name in before:
            if name != taken and shapes[name] == shapes[taken]:
                inputs = (*statement.inputs[:place], name, *statement.inputs[place + 1 :])
                yield "edge", replace(statement, inputs=inputs), f"of {name} in place of {taken}"
    wraps: dict[str, Callable[[], str]] = {
        "precision": lambda: 'ops.cast(ops.cast({}, "float16"), "float32")',
        "cut": lambda: "ops.stop_gradient({})",
        "added": lambda: "ops.tanh({})",
        "doubled": lambda: "2 * {}",
    }
    for kind, wrap in wraps.items():
        yield kind, replace(statement, wrap=wrap()), wrap()


def without(plan: Plan, statement: Statement) -> Drawn:
    """Returns a plan that goes on without a statement."""
    taken = statement.inputs[0]

    def renamed(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(taken if name == statement.name else name for name in names)

    rest = tuple(replace(each, inputs=renamed(each.inputs)) for each in plan.statements if each.name != statement.name)
    near = tuple(each.name for each in plan.statements if statement.name in each.inputs)
    edit = Edit(section="network", name=statement.name, kind="dropped", text=f"{statement.name} left out", near=near)
    return replace(plan, statements=rest, outputs=renamed(plan.outputs)), edit

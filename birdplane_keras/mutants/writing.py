"""Writes a plan as two source files: the reference in PyTorch, its port in Keras."""

from dataclasses import dataclass
from typing import Any

from birdplane_keras.mutants.plans import Plan, Statement, Term, has_layer
from birdplane_keras.mutants.words import AXES, WORDS

REFERENCE, PORT = 0, 1

HEADS = (
    """import numpy as np
import torch
from torch import nn
from torch.nn import functional


def attend(queries, keys, values, scale, causal):
    scores = torch.matmul(queries, torch.transpose(keys, 1, 2)) * scale
    if causal:
        steps = torch.arange(scores.shape[1])
        scores = torch.where(steps[:, None] >= steps[None, :], scores, torch.tensor(-1e9))
    return torch.matmul(torch.softmax(scores, -1), values)
""",
    """import keras
import numpy as np
from keras import layers, ops

from birdplane_keras import torch_equivalents


def attend(queries, keys, values, scale, causal):
    scores = ops.matmul(queries, ops.transpose(keys, (0, 2, 1))) * scale
    if causal:
        steps = ops.arange(scores.shape[1])
        scores = ops.where(steps[:, None] >= steps[None, :], scores, -1e9)
    return ops.matmul(ops.softmax(scores, -1), values)
""",
)


@dataclass(frozen=True, kw_only=True)
class Written:
    """A source file.

    Args:
        text: Its lines.
        lines: Section and name of a statement or term -> the numbers of the lines that it stands in.
    """

    text: str
    lines: dict[tuple[str, str], list[int]]


class Page:
    """A file that is being written."""

    def __init__(self, head: str) -> None:
        self.rows = head.rstrip("\n").split("\n")
        self.lines: dict[tuple[str, str], list[int]] = {}

    def write(self, text: str = "", *, indent: int = 0, of: tuple[str, str] | None = None) -> None:
        """Adds a line; `of` says which statement it is."""
        self.rows.append(("    " * indent + text).rstrip())
        if of is not None:
            self.lines.setdefault(of, []).append(len(self.rows))

    def written(self) -> Written:
        """Returns the file."""
        return Written(text="\n".join(self.rows) + "\n", lines=self.lines)


def write(plan: Plan, side: int) -> Written:
    """Returns one side's file."""
    page = Page(HEADS[side])
    write_network(plan, page, side)
    write_loss(plan, page, side)
    write_update(plan, page, side)
    write_schedule(plan, page, side)
    write_pipeline(plan, page, side)
    return page.written()


def write_network(plan: Plan, page: Page, side: int) -> None:
    """Writes the model's class."""
    names = ", ".join(name for name, *_ in plan.inputs)
    shapes = {name: shape for name, _, shape in plan.inputs} | {s.name: s.shape for s in plan.statements}
    base, forward = (("nn.Module", "forward"), ("keras.Model", "call"))[side]
    page.write()
    page.write()
    page.write(f"class Network({base}):")
    page.write("def __init__(self):", indent=1)
    page.write("super().__init__()", indent=2)
    for statement in plan.statements:
        if has_layer(statement):
            word = WORDS[statement.word]
            made = (word.torch_layer, word.keras_layer)[side].format(**fillings(statement, shapes, side))
            page.write(f"self.{statement.name}_layer = {made}", indent=2, of=("network", statement.name))
    page.write()
    several = side == PORT and len(plan.inputs) > 1
    mode = ", training=None" if side == PORT else ""
    page.write(f"def {forward}(self, {'inputs' if several else names}{mode}):", indent=1)
    if several:
        page.write(f"{names} = inputs", indent=2)
    for statement in plan.statements:
        word = WORDS[statement.word]
        text = (word.torch, word.keras)[side].format(*statement.inputs, **fillings(statement, shapes, side))
        page.write(f"{statement.name} = {statement.wrap.format(text)}", indent=2, of=("network", statement.name))
    page.write(f"return {', '.join(plan.outputs)}", indent=2)


def fillings(statement: Statement, shapes: dict[str, tuple[int, ...]], side: int) -> dict[str, Any]:
    """Returns what the braces of a statement stand for on a side."""
    shape = shapes[statement.inputs[0]]
    kind = ("vector", "sequence", "image")[len(shape) - 1]
    axes = {name: place[side] for name, place in AXES[kind].items()}
    features = axes["channels" if kind == "image" else "features"]
    other = {"image": axes.get("height"), "sequence": axes.get("steps"), "vector": features}[kind]
    given = dict(statement.settings)
    if "axis" in given:
        given["axis"] = features if given["axis"] == "features" else other
    return {**given, "layer": f"{statement.name}_layer", "first": shape[0], "last": shape[-1], "features": features}


def line(term: Term, side: int) -> str:
    """Returns a term as a side writes it."""
    return f"{term.name} = {(term.torch, term.keras)[side].format(**term.settings)}"


def write_terms(plan: Plan, section: str, page: Page, side: int, indent: int = 1) -> str:
    """Writes the lines of a section, and returns the name of the last."""
    terms = getattr(plan, section)
    for term in terms:
        page.write(line(term, side), indent=indent, of=(section, term.name))
    return terms[-1].name


def write_loss(plan: Plan, page: Page, side: int) -> None:
    """Writes the loss: in the port one for each output."""
    page.write()
    page.write()
    if side == PORT:
        for index in range(len(plan.outputs)):
            page.write(f"def loss{index}(y{index}, z{index}):")
            for term in plan.loss:
                if term.name.endswith(str(index)):
                    page.write(line(term, side), indent=1, of=("loss", term.name))
            page.write(f"return loss{index}", indent=1)
            page.write()
            page.write()
        return
    page.write("def loss(outputs, targets):")
    count = len(plan.outputs)
    page.write(f"{', '.join(f'z{i}' for i in range(count))} = outputs", indent=1)
    page.write(f"{', '.join(f'y{i}' for i in range(count))} = targets", indent=1)
    for term in plan.loss:
        page.write(line(term, side), indent=1, of=("loss", term.name))
    page.write(f"return {' + '.join(f'loss{i}' for i in range(count))}", indent=1)


def write_update(plan: Plan, page: Page, side: int) -> None:
    """Writes the optimizer, where it is one of its own."""
    if not plan.update:
        return
    page.write()
    page.write()
    if side == REFERENCE:
        page.write("class Optimizer(torch.optim.Optimizer):")
        page.write("@torch.no_grad()", indent=1)
        page.write("def step(self):", indent=1)
        page.write("for group in self.param_groups:", indent=2)
        page.write('rate = group["lr"]', indent=3)
        page.write('for parameter in (p for p in group["params"] if p.grad is not None):', indent=3)
        page.write("weight, gradient, state = parameter, parameter.grad, self.state[parameter]", indent=4)
        page.write('mean = state.get("mean", torch.zeros_like(weight))', indent=4)
        page.write('square = state.get("square", torch.zeros_like(weight))', indent=4)
        write_terms(plan, "update", page, side, indent=4)
        page.write('state["mean"], state["square"] = mean, square', indent=4)
        page.write("parameter.copy_(new)", indent=4)
        return
    page.write("class Optimizer(keras.optimizers.Optimizer):")
    page.write("def build(self, variables):", indent=1)
    page.write("if self.built:", indent=2)
    page.write("return", indent=3)
    page.write("super().build(variables)", indent=2)
    page.write('self.means = [self.add_variable_from_reference(v, name="mean") for v in variables]', indent=2)
    page.write('self.squares = [self.add_variable_from_reference(v, name="square") for v in variables]', indent=2)
    page.write()
    page.write("def update_step(self, gradient, variable, learning_rate):", indent=1)
    page.write("place, rate = self._get_variable_index(variable), learning_rate", indent=2)
    page.write("weight, mean, square = variable.value, self.means[place].value, self.squares[place].value", indent=2)
    write_terms(plan, "update", page, side, indent=2)
    page.write("self.assign(self.means[place], mean)", indent=2)
    page.write("self.assign(self.squares[place], square)", indent=2)
    page.write("self.assign(variable, new)", indent=2)


def write_schedule(plan: Plan, page: Page, side: int) -> None:
    """Writes the rate at a step, where it changes."""
    if not plan.schedule:
        return
    page.write()
    page.write()
    rate = plan.optimizer["learning_rate"]
    if side == REFERENCE:
        page.write("def factor(step):")
        page.write(f"return {write_terms(plan, 'schedule', page, side)}", indent=1)
        return
    page.write("class Rate(keras.optimizers.schedules.LearningRateSchedule):")
    page.write("def __call__(self, step):", indent=1)
    page.write('step = ops.cast(step, "float32")', indent=2)
    last = write_terms(plan, "schedule", page, side, indent=2)
    page.write(f"return {rate} * {last}", indent=2)


def write_pipeline(plan: Plan, page: Page, side: int) -> None:
    """Writes what makes the first input of raw numbers."""
    page.write()
    page.write()
    page.write("def prepare(raw):")
    page.write(f"return {write_terms(plan, 'pipeline', page, side)}", indent=1)

"""A drawn training: statements of a network, a loss, an update, a schedule and a pipeline, which both sides write."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from birdplane_keras.mutants.words import WORDS, Shape


@dataclass(frozen=True, kw_only=True)
class Statement:
    """A line of the network: a name is given to what an operation makes.

    Args:
        name: Of its value.
        word: The operation.
        inputs: Names.
        settings: Of the operation.
        kind: Of its value.
        shape: Of its value, without the batch.
        wrap: What is written around it by mistake: `{}` stands for it.
    """

    name: str
    word: str
    inputs: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    kind: str
    shape: Shape
    wrap: str = "{}"


@dataclass(frozen=True, kw_only=True)
class Term:
    """A line of the loss, the update, the schedule or the pipeline, which both sides write alike but for names.

    Args:
        name: Of its value.
        torch: How the reference writes it, with settings in braces.
        keras: How the port does.
        settings: Numbers, and the like, in it.
        others: Setting -> other values that a mistake gives it.
        instead: Other ways in which a mistake writes the port's line.
    """

    name: str
    torch: str
    keras: str
    settings: dict[str, Any] = field(default_factory=dict)
    others: dict[str, Sequence[Any]] = field(default_factory=dict)
    instead: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A training.

    Args:
        inputs: Name, kind and shape of each input.
        statements: The network.
        outputs: Names of what it returns.
        loss: Its lines; the last is the loss.
        update: The name of an optimizer, and its settings; or the lines of one of its own.
        optimizer: Settings.
        schedule: The lines of the rate at a step.
        pipeline: The lines that make an input of raw numbers.
        seed: Of weights and data.
    """

    inputs: tuple[tuple[str, str, Shape], ...]
    statements: tuple[Statement, ...]
    outputs: tuple[str, ...]
    loss: tuple[Term, ...]
    update: tuple[Term, ...]
    optimizer: dict[str, Any]
    schedule: tuple[Term, ...]
    pipeline: tuple[Term, ...]
    seed: int

    def with_statement(self, statement: Statement) -> "Plan":
        """Returns the plan with another statement of the same name."""
        statements = tuple(statement if each.name == statement.name else each for each in self.statements)
        return replace(self, statements=statements)

    def with_term(self, section: str, term: Term) -> "Plan":
        """Returns the plan with another line of the same name in a section."""
        lines: Any = tuple(term if each.name == term.name else each for each in getattr(self, section))
        changed: dict[str, Any] = {section: lines}
        return replace(self, **changed)


def has_layer(statement: Statement) -> bool:
    """Tells whether a statement has a layer of its own."""
    return bool(WORDS[statement.word].torch_layer)

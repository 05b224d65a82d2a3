"""The ladder: its rungs, cheapest first, one new ingredient each. To add one, write its function and its line here."""

from collections.abc import Callable
from dataclasses import dataclass

from birdplane_keras.parity.core import first_steps, given, training
from birdplane_keras.parity.core.check import Check
from birdplane_keras.parity.core.climb import Climb


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One check on the ladder.

    Args:
        name: As reports have it.
        take: Asks the bench for its facts and compares them; called once the rungs below have passed.
        trains: Whether it needs a step of training.
    """

    name: str
    take: Callable[[Climb], Check]
    trains: bool = False


LADDER: list[Rung] = [
    Rung(name="recipe", take=given.recipe),
    Rung(name="data", take=given.data),
    Rung(name="batch_order", take=given.batch_order, trains=True),
    Rung(name="determinism", take=given.determinism),
    Rung(name="structure", take=given.structure),
    Rung(name="parameter_counts", take=given.parameter_counts),
    Rung(name="initial_weights", take=given.initial_weights),
    Rung(name="initialisation", take=given.initialisation, trains=True),
    Rung(name="forward", take=first_steps.forward),
    Rung(name="loss", take=first_steps.loss, trains=True),
    Rung(name="gradients", take=first_steps.gradients, trains=True),
    Rung(name="first_update", take=first_steps.first_update, trains=True),
    Rung(name="optimizer_state", take=first_steps.optimizer_state, trains=True),
    Rung(name="evaluation", take=first_steps.evaluation),
    Rung(name="trajectory", take=training.trajectory, trains=True),
    Rung(name="final_weights", take=training.final_weights, trains=True),
    Rung(name="predictions", take=training.predictions, trains=True),
    Rung(name="accuracy", take=training.accuracy, trains=True),
]


def names() -> list[str]:
    """Returns the names of all rungs, in order."""
    return [rung.name for rung in LADDER]

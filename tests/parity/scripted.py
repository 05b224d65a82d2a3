"""A bench of made-up runs: what a training run does is a function of its step and of its state."""

from collections.abc import Callable

import numpy as np

from birdplane_keras.parity.core.climb import Climb

NUDGE = 1e-7  # of the scripted copies
ROUNDING = 1e-9  # of the scripted port, at each step
WRONG = 1e-2

Move = Callable[[int, float], float]  # from the step and the deviation to the deviation after that step


def stay(step: int, deviation: float) -> float:
    return deviation


def kinks_at(*steps: int) -> Move:
    """A port that rounds, and whose rounding, if there is any, is amplified at some steps."""
    return lambda step, deviation: deviation + ROUNDING + (WRONG if step in steps and deviation else 0.0)


def wrong_at(*steps: int) -> Move:
    """A port that does something else at some steps, whatever its state is."""
    return lambda step, deviation: deviation + ROUNDING + (WRONG if step in steps else 0.0)


class ScriptedRun:
    """A run whose two weights are 1 and 1 plus a deviation.

    Args:
        bench: What says how the copies of this run move, and whether its state can be set.
        move: How the deviation moves.
        deviation: At the start.
        steps: That were made before.
    """

    def __init__(self, bench: "ScriptedBench", move: Move, deviation: float = 0.0, steps: int = 0) -> None:
        self.bench, self.moves, self.deviation, self.steps = bench, move, deviation, steps
        self.moved, self.closed = False, False

    def step(self, rows: np.ndarray) -> np.ndarray:
        assert rows[0] == self.steps
        if not (self.moved and self.bench.nowhere_else):
            self.deviation = self.moves(self.steps, self.deviation)
        self.steps += 1
        return np.array(0.5)

    def names(self) -> list[str]:
        return ["still", "moving"]

    def read(self, name: str) -> np.ndarray:
        return np.array([1.0 + (self.deviation if name == "moving" else 0.0)])

    def read_some(self, name: str, places: np.ndarray) -> np.ndarray:
        return self.read(name)[places]

    def weights(self, *, trainable: bool | None = None) -> dict[str, np.ndarray]:
        return {name: self.read(name) for name in self.names()}

    def predict(self) -> dict[str, np.ndarray]:
        return {"outputs": np.array([[0.0, 1.0], [1.0 + self.deviation, 0.0]])}

    def learning_rate(self) -> float:
        return 0.1

    def close(self) -> None:
        self.closed = True

    def take_state(self, weights, states) -> bool:
        if self.bench.can_synchronise:
            self.deviation = float(weights["moving"][0] - 1.0)
            self.moved = bool(states["moving", "moved"])
        return self.bench.can_synchronise

    def optimizer_state(self) -> dict[tuple[str, str], np.ndarray]:
        return {("moving", "moved"): np.array(self.moved)}

    def move(self, seed: int) -> None:
        self.moved = True

    def fork(self, nudge: int) -> "ScriptedRun":
        return ScriptedRun(self.bench, self.bench.copies, self.deviation + NUDGE, self.steps)


class ScriptedBench:
    """As much of a bench as a training run needs.

    Args:
        port: How the port moves; the reference stays.
        copies: How a copy moves, from its nudge on.
        can_synchronise: Whether the port's state can be set.
        nowhere_else: Whether runs move in the very state that the reference is in, and in none near by.
    """

    def __init__(
        self, port: Move, copies: Move = stay, *, can_synchronise: bool = True, nowhere_else: bool = False
    ) -> None:
        self.moves, self.copies = port, copies
        self.can_synchronise, self.nowhere_else = can_synchronise, nowhere_else

    def plan(self, steps: int) -> list[np.ndarray]:
        return [np.array([step]) for step in range(steps)]

    def batches(self, epochs: int):
        return iter([self.plan(1000)]), iter([self.plan(1000)])

    def checkpoints(self, steps: int) -> list[int]:
        """Every tenth of the run, or each step of a short one."""
        return sorted({*range(max(1, steps // 20) - 1, steps, max(1, steps // 20)), steps - 1})

    def programs(self) -> tuple[ScriptedRun, ScriptedRun]:
        return self.port(), self.reference()

    def port(self) -> ScriptedRun:
        return ScriptedRun(self, self.moves)

    def reference(self, *, nudge: int | None = None) -> ScriptedRun:
        return ScriptedRun(self, stay) if nudge is None else ScriptedRun(self, self.copies, NUDGE)

    def read_halves(self, plan):
        return None

    def beside(self, nudge: int) -> ScriptedRun:
        return self.reference(nudge=nudge)

    def accuracies(self, port: ScriptedRun, reference: ScriptedRun) -> None:
        return None

    def start_weights(self):
        return self.port().weights(), self.reference().weights()


def climb_with(bench: ScriptedBench, steps: int) -> Climb:
    """Returns a climb that stands before the rung `trajectory`."""
    return Climb(bench=bench, steps=steps, noise={"loss": {"loss": NUDGE}})

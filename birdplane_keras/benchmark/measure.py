"""Times rows in interleaved rounds, and says how far they are from the base."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from birdplane_keras.benchmark.rows import BASE, Row


@dataclass(frozen=True, kw_only=True)
class Timing:
    """A row's times over the rounds.

    Args:
        name: The row's.
        seconds: One epoch in each round.
        ratios: To the base of the same round.
        steps: In an epoch.
    """

    name: str
    seconds: list[float]
    ratios: list[float]
    steps: int

    def report(self) -> dict[str, Any]:
        """Returns medians, and the extremes of the ratio."""
        return {
            "name": self.name,
            "milliseconds_per_step": 1e3 * statistics.median(self.seconds) / self.steps,
            "ratio": statistics.median(self.ratios),
            "ratio_min": min(self.ratios),
            "ratio_max": max(self.ratios),
            "rounds": len(self.seconds),
        }


def joined(sets: Sequence[Sequence[Timing]]) -> list[Timing]:
    """Returns the times of several sets of rounds as one set, by the names of the rows."""
    rows: dict[str, list[Timing]] = {}
    for timing in (each for found in sets for each in found):
        rows.setdefault(timing.name, []).append(timing)
    return [
        Timing(
            name=name,
            seconds=[seconds for each in found for seconds in each.seconds],
            ratios=[ratio for each in found for ratio in each.ratios],
            steps=found[0].steps,
        )
        for name, found in rows.items()
    ]


def time_rows(rows: Sequence[Row], *, rounds: int, steps: int) -> list[Timing]:
    """Runs A B C, A B C, …: one round to warm up, then those that count.

    Args:
        rows: One of them is the base.
        rounds: That count.
        steps: In an epoch.
    """
    return time_calls({row.name: row.epoch for row in rows}, rounds=rounds, steps=steps)


def time_calls(calls: Mapping[str, Callable[[], object]], *, rounds: int, steps: int) -> list[Timing]:
    """Calls A B C, A B C, …: one round to warm up, then those that count.

    Args:
        calls: Name -> what is timed; one of them is the base.
        rounds: That count.
        steps: Of which a call is made.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - started)
    counted = {name: values[1:] for name, values in seconds.items()}
    return [
        Timing(
            name=name,
            seconds=values,
            ratios=[ours / base for ours, base in zip(values, counted[BASE], strict=True)],
            steps=steps,
        )
        for name, values in counted.items()
    ]

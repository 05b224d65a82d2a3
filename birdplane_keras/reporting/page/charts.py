"""Line charts for the page: where points, ticks and labels lie, in percent of the plot, and what is said of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

MOST_TICKS = 6
FLOOR = 1e-12  # the smallest distance between two values that a chart tells apart


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a chart.

    Args:
        name: For the legend.
        kind: `torch`, `keras` or `envelope`: its colour and stroke; `alone` where no other side's line may lie on it.
        values: One for each place on the chart's axis; `None` where there is none.
    """

    name: str
    kind: str
    values: Sequence[float | None]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart, ready to be drawn.

    Args:
        id: Names it in the page.
        title: What it shows.
        x_label: What the axis counts.
        x: Places on the axis, rising.
        lines: What is drawn over them.
        logarithmic: Whether equal heights are equal ratios; zero is then at the foot, which is marked 0.
        note: What a reader must know of it.
    """

    id: str
    title: str
    x_label: str
    x: Sequence[float]
    lines: Sequence[Line]
    logarithmic: bool = False
    note: str = ""
    bounds: tuple[float, float] = field(init=False)  # the values at the foot and at the top
    x_ticks: list[tuple[float, str]] = field(init=False)
    y_ticks: list[tuple[float, str]] = field(init=False)

    def __post_init__(self) -> None:
        values = [value for line in self.lines for value in line.values if value is not None and math.isfinite(value)]
        find_bounds = logarithmic_bounds if self.logarithmic else linear_bounds
        object.__setattr__(self, "bounds", find_bounds(values))
        object.__setattr__(self, "x_ticks", [(self.across(tick), f"{tick:,.0f}") for tick in self._places()])
        levels = self._levels(has_zeros=self.logarithmic and min(values, default=1.0) <= 0, all_zero=not any(values))
        object.__setattr__(self, "y_ticks", [(self.up(level), number(level)) for level in levels])

    def _places(self) -> list[float]:
        """Where the axis is marked: at whole numbers."""
        first, last = self.x[0], self.x[-1]
        return [tick for tick in ticks(first, last) if first <= tick <= last and tick == int(tick)] or [first]

    def _levels(self, *, has_zeros: bool, all_zero: bool) -> list[float]:
        """The heights that are marked: the foot as 0 where zeros lie on it."""
        low, high = self.bounds
        levels = powers(low, high) if self.logarithmic else ticks(low, high)
        levels = [level for level in levels if low <= level <= high]
        return [0.0, *([] if all_zero else levels[1:])] if has_zeros else levels

    def across(self, x: float) -> float:
        """Returns how far to the right a place is, in percent."""
        first, last = self.x[0], self.x[-1]
        return 50.0 if last == first else 100 * (x - first) / (last - first)

    def up(self, value: float) -> float:
        """Returns how far up a value is, in percent."""
        low, high = self.bounds
        if self.logarithmic:
            value, low, high = math.log10(max(value, low)), math.log10(low), math.log10(high)
        return min(100.0, max(0.0, 100 * (value - low) / max(high - low, FLOOR)))

    def path(self, line: Line) -> str:
        """Returns a line as the path of an SVG whose view is 100 by 100, from the upper left."""
        pen, parts = "M", []
        for x, value in zip(self.x, line.values, strict=True):
            if value is None or not math.isfinite(value):
                pen = "M"
                continue
            parts.append(f"{pen}{self.across(x):.2f} {100 - self.up(value):.2f}")
            pen = "L"
        return " ".join(parts) if len(parts) > 1 else f"{parts[0]} h0.01" if parts else ""

    def summary(self) -> str:
        """Returns the chart in words, for those who do not see it."""
        told = []
        for line in self.lines:
            values = [value for value in line.values if value is not None]
            if values:
                told.append(f"{line.name} from {number(values[0])} to {number(values[-1])}")
        return f"{self.title}, by {self.x_label}: {'; '.join(told)}."

    def data(self) -> dict[str, Any]:
        """Returns what the page's script needs to say the values under the pointer."""
        return {
            "x": list(self.x),
            "xLabel": self.x_label,
            "across": [round(self.across(x), 3) for x in self.x],
            "lines": [{"name": line.name, "values": [number(value) for value in line.values]} for line in self.lines],
        }

    def rows(self, most: int = 25) -> list[list[str]]:
        """Returns the table behind the chart, evenly thinned out to so many rows, with the first and the last."""
        count = len(self.x)
        chosen = sorted(
            {round(index * (count - 1) / max(1, min(most, count) - 1)) for index in range(min(most, count))}
        )
        return [[f"{self.x[i]:,.0f}", *(number(line.values[i]) for line in self.lines)] for i in chosen]


def linear_bounds(values: Sequence[float]) -> tuple[float, float]:
    """Returns foot and top with a margin around the values; the foot is not below 0 where no value is."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return (max(0.0, low - margin) if low >= 0 else low - margin), high + margin


def logarithmic_bounds(values: Sequence[float]) -> tuple[float, float]:
    """Returns powers of ten around the values; a zero lies one of them below the rest."""
    positive = [value for value in values if value > 0] or [1.0]
    below = 1 if min(values, default=1.0) <= 0 else 0
    return 10.0 ** (math.floor(math.log10(min(positive))) - below), 10.0 ** math.ceil(math.log10(max(positive) * 1.001))


def ticks(low: float, high: float) -> list[float]:
    """Returns round numbers that span a range, at most six steps of 1, 2 or 5 times a power of ten."""
    span = high - low
    if span <= 0:
        return [low]
    power = 10 ** math.floor(math.log10(span / MOST_TICKS))
    step = next(power * unit for unit in (1, 2, 5, 10, 20) if span / (power * unit) <= MOST_TICKS)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 12) for index in range(first, math.floor(high / step + 1e-9) + 1)]


def powers(low: float, high: float) -> list[float]:
    """Returns powers of ten from `low` to `high`, at most six steps."""
    first, last = round(math.log10(low)), round(math.log10(high))
    step = max(1, math.ceil((last - first) / MOST_TICKS))
    return [10.0**exponent for exponent in range(first, last + 1, step)]


def number(value: float | None) -> str:
    """Returns a number in a few characters."""
    if value is None:
        return "none"
    return f"{value:.4g}"

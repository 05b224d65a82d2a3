"""Two schedules as two sequences of rates, and what turns one into the other."""

from collections.abc import Sequence

import numpy as np

MOST_SHOWN = 8  # rates
LATEST = 16  # steps by which a schedule may be late
NEAR = 1e-6  # relative: one side computes its schedule in float32
FEWEST = 3  # rates that must agree

Rates = Sequence[float]


def describe_rates(ours: Rates, theirs: Rates) -> str:
    """Returns both sequences in words, and what turns the reference's into the port's, where something does.

    Args:
        ours: The port's rate of each step.
        theirs: The reference's.
    """
    apart = [step for step, (a, b) in enumerate(zip(ours, theirs, strict=True)) if abs(a - b) > NEAR * abs(b)]
    begin = max(0, min(apart, default=0) - 1)
    window = slice(begin, begin + MOST_SHOWN)
    shown = [", ".join(f"{rate:.6g}" for rate in rates[window]) for rates in (ours, theirs)]
    told = f"rates from step {begin} on: {shown[0]} in the port; {shown[1]} in the reference"
    turned = describe_turn(ours, theirs)
    return f"{told}; {turned}" if turned else told


def describe_turn(ours: Rates, theirs: Rates) -> str:
    """Returns what turns the reference's rates into the port's; empty where nothing that is tried does."""
    mine, yours = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if len(mine) < FEWEST or len(mine) != len(yours) or equal(mine, yours):
        return ""
    for late in range(1, min(LATEST, len(mine) - FEWEST) + 1):
        for one, other, word in ((mine, yours, "late"), (yours, mine, "early")):
            if changes(other[: len(other) - late]) and equal(one[late:], other[: len(other) - late]):
                return f"the port's are {late} step{'s' if late > 1 else ''} {word}"
    if yours.all() and equal(mine / yours, np.full(len(mine), mine[0] / yours[0])):
        return f"the port's are {mine[0] / yours[0]:.4g} times the reference's"
    for one, other, lacking, having in ((mine, yours, "port", "reference"), (yours, mine, "reference", "port")):
        rising = 1 + int(np.argmax(other))
        if changes(other[:rising]) and (np.diff(other[:rising]) > 0).all() and equal(one[:rising], other[rising - 1]):
            return f"the {having}'s grow at the start, the {lacking}'s do not"
    runs = [run_lengths(rates) for rates in (mine, yours)]
    shared = min(len(values) for values, _ in runs)
    if shared > 1 and equal(runs[0][0][:shared], runs[1][0][:shared]):
        kept = [lengths[0] for _, lengths in runs]
        return f"the port keeps each for {kept[0]} step{'s' if kept[0] > 1 else ''}, the reference for {kept[1]}"
    return ""


def equal(one: np.ndarray, other: np.ndarray | float) -> bool:
    """Tells whether rates are the same, up to the rounding of one side."""
    return bool(np.allclose(one, other, rtol=NEAR, atol=NEAR * float(np.abs(one).max(initial=0.0))))


def changes(rates: np.ndarray) -> bool:
    """Tells whether rates are not all the same."""
    return len(rates) > 1 and not equal(rates, float(rates[0]))


def run_lengths(rates: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Returns the rates that follow on each other, and for how many steps each is kept."""
    starts = [0, *(i for i in range(1, len(rates)) if not equal(rates[i : i + 1], float(rates[i - 1])))]
    return rates[starts], np.diff([*starts, len(rates)]).tolist()

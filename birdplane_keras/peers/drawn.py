"""What every method makes of drawn pairs, and of a mistake in each: those that `birdplane mutants` draws."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from birdplane_keras.mutants.judging import TRIES, draw_ports, drawing, judge_clean
from birdplane_keras.mutants.pairs import built
from birdplane_keras.mutants.plans import Plan
from birdplane_keras.peers.judging import ask_pair


def judge_drawn(seed: int, number: int, judged: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Judges a drawn pair as it is, and with one mistake in its port, by all methods and by this project's judge.

    The pair and the mistake are those of `birdplane mutants` for that seed and number.

    Args:
        seed: Of the draws.
        number: Of the pair.
        judged: Name -> what the judge said before; what is not in it is judged now.

    Returns:
        two entries as `judge_entry` returns them, of kind `right` and `mutant`; the latter is missing where no mistake
        was found that can be trained. Its `ours` has `draw`, the number of the edit among those that were drawn.
    """
    right, mutant = (f"{kind} {number} of seed {seed}" for kind in ("right port", "mutant"))
    with drawing(seed, number) as (plan, random, folder):
        ours = judged.get(right) or {"caught": bool(judge_clean(plan, folder)), "named": False}
        entries = [entry_of(right, "right", "", ours, plan, plan, folder)]
        found = draw_mistake(plan, random, folder, judged.get(mutant))
        if found is not None:
            port, text, ours = found
            entries.append(entry_of(mutant, "mutant", text, ours, plan, port, folder))
    return entries


def draw_mistake(
    plan: Plan, random: np.random.Generator, folder: Path, judged: Mapping[str, Any] | None
) -> tuple[Plan, str, dict[str, Any]] | None:
    """Draws edits until one changes something and can be trained.

    Args:
        plan: Of the reference.
        random: As `birdplane mutants` draws from.
        folder: For the files.
        judged: What the judge said of this mutant before, with its `draw`; `None` where it is to be judged.

    Returns:
        the port's plan, the mistake in words, and `ours`; `None` where none was found.
    """
    drawn = enumerate(draw_ports(plan, random, folder, 1, judged_from=0 if judged is None else TRIES))
    for draw, port in drawn:
        if judged is not None:
            if draw == judged["draw"]:
                return port.plan, port.edits[0].text, dict(judged)
        elif port.trained:
            (outcome,) = port.outcomes
            named = outcome["caught"] and outcome["explained"] and not outcome["wrong"]
            return port.plan, port.edits[0].text, {"caught": outcome["caught"], "named": named, "draw": draw}
    return None


def entry_of(
    name: str, kind: str, mistake: str, ours: dict[str, Any], plan: Plan, port: Plan, folder: Path
) -> dict[str, Any]:
    """Returns an entry of a drawn pair, asked about by all methods."""
    with built(plan, port, folder) as (pair, _, _):
        found = ask_pair(pair)
    return {"name": name, "kind": kind, "mistake": mistake, "cause": "", "ours": ours, **found}

"""Judges a drawn pair as it is, and with one mistake in its port; says what became of the mistake."""

import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from birdplane_keras.mutants.drawing import draw_plan
from birdplane_keras.mutants.edits import Drawn, Edit, draw_edit, edits_of
from birdplane_keras.mutants.pairs import built
from birdplane_keras.mutants.plans import Plan
from birdplane_keras.mutants.telling import CHANGED
from birdplane_keras.mutants.unchanged import changes_nothing
from birdplane_keras.mutants.writing import Written
from birdplane_keras.parity import check_parity
from birdplane_keras.parity.causes.diagnose import OPERATIONS
from birdplane_keras.parity.core.finding import UNKNOWN

STEPS = 12
MOST_OTHERS = 3  # lines that may be told beside the right one
TRIES = 20  # edits that are drawn until they can be trained
UPDATES = ("first_update", "optimizer_state", "trajectory", "evaluation")

# What known causes may be called for a mistake: the name of a setting, or of what was done, that they fit.
NAMES: dict[str, tuple[str, ...]] = {
    "epsilon": ("epsilon", "adam_epsilon", "rmsprop_epsilon"),
    "slope": ("activation",),
    "alpha": ("activation",),
    "padding": ("padding",),
    "dilation": ("dilation", "padding"),
    "stride": ("stride",),
    "operation": ("activation", "pooling", "layers_swapped"),
    "precision": ("precision",),
    "cut": ("gradient_stopped",),
    "dropped": ("activation", "layer_missing", "layers_swapped"),
    "added": ("activation",),
    "edge": ("layers_swapped", "activation", "gradient_stopped"),
    "optimizer": ("optimizer",),
    "learning_rate": ("learning_rate", "schedule"),
    "clip": ("gradient_clipping",),
    "momentum": ("momentum",),
    "nesterov": ("nesterov",),
    "beta_1": ("betas", "beta_1", "adam_betas", "momentum"),
    "beta_2": ("betas", "beta_2", "adam_betas"),
    "rho": ("rho", "smoothing"),
    "weight_decay": ("weight_decay",),
    "schedule": ("schedule", "learning_rate"),
    "loss": ("reduction", "label_smoothing", "softmax_before_loss", "from_logits", "labels_permuted", "one_hot_targets",
             "loss_function", "missing_output", "loss_weights", "loss_scale"),
    "update": ("optimizer", "weight_decay", "learning_rate", "momentum"),
    "pipeline": ("normalisation_constants", "not_normalised", "normalised_twice", "flipped", "channel_order", "shifted",
                 "standardised", "axes_exchanged", "truncated"),
}  # fmt: skip


def judge_seed(seed: int, number: int = 0, mistakes: int = 1) -> dict[str, Any]:
    """Judges a drawn pair, and its port with some mistakes.

    Args:
        seed: Of the draws.
        number: Of the pair.
        mistakes: In the port, at once.

    Returns:
        `number`, `mistakes`; `alarm`: what the pair as it is was accused of, empty where it was not; `outcomes`: what
        became of each mistake: `edit` in words, `section`, `state` (`same`: it changes nothing; `crashed`: it cannot
        be trained; `missed`; `caught`), `caught`, `placed` (the edited line is reported, and at most three others are),
        `explained` (proved, or named correctly), `wrong` (a known cause is named that it is not), `told`.
    """
    with drawing(seed, number) as (plan, random, folder):
        alarm = judge_clean(plan, folder)
        outcomes = list(draw_ports(plan, random, folder, mistakes))[-1].outcomes
    return {"number": number, "mistakes": mistakes, "alarm": alarm, "outcomes": outcomes}


@contextmanager
def drawing(seed: int, number: int) -> Iterator[tuple[Plan, np.random.Generator, Path]]:
    """Yields the plan of a drawn pair, what the mistakes in its port are drawn from, and a folder for the files."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Gradients do not exist")  # a mistake may cut them off
        yield draw_plan([seed, number]), np.random.default_rng([seed, number, 3]), Path(folder)


@dataclass(frozen=True)
class DrawnPort:
    """A port with drawn mistakes: its plan, the mistakes, and what became of each, as `judge_seed` returns it."""

    plan: Plan
    edits: Sequence[Edit]
    outcomes: Sequence[dict[str, Any]]

    @property
    def trained(self) -> bool:
        """Whether every mistake changes something, and the port can be trained."""
        return all(outcome["state"] in CHANGED for outcome in self.outcomes)


def draw_ports(
    plan: Plan, random: np.random.Generator, folder: Path, mistakes: int, judged_from: int = 0
) -> Iterator[DrawnPort]:
    """Yields ports with drawn mistakes, at most `TRIES`, until one can be trained and all mistakes change something.

    Args:
        plan: Of the reference.
        random: What the mistakes are drawn from.
        folder: For the files.
        mistakes: In each port.
        judged_from: The ports before this one are drawn and not judged.
    """
    for draw in range(TRIES):
        port, edits, without = draw_edits(plan, random, mistakes)
        outcomes = judge_edits(port, edits, [plan, *without], folder) if draw >= judged_from else []
        drawn = DrawnPort(port, edits, outcomes)
        yield drawn
        if outcomes and drawn.trained:
            return


def judge_clean(plan: Plan, folder: Path) -> str:
    """Returns what a right port is accused of; empty where it is not."""
    with built(plan, plan, folder) as (pair, _, _):
        result = check_parity(pair, steps=STEPS)
    return str(result) if result.verdict == "diverged" else ""


def draw_edits(plan: Plan, random: np.random.Generator, count: int) -> tuple[Plan, list[Edit], list[Plan]]:
    """Returns the port's plan with some mistakes, each of another statement, term or setting; and without each."""
    while True:
        drawn: list[Drawn] = []
        port = plan
        while len(drawn) < count:
            changed, edit = draw_edit(port, random)
            if all((edit.section, edit.name) != (other.section, other.name) for _, other in drawn):
                port = changed
                drawn.append((changed, edit))
        edits = [edit for _, edit in drawn]
        without = [
            made for left in edits if (made := made_again(plan, [e for e in edits if e is not left])) is not None
        ]
        if len(without) == count:
            return port, edits, without


def made_again(plan: Plan, edits: Sequence[Edit]) -> Plan | None:
    """Returns a plan with some mistakes; `None` where one of them cannot be made without the others."""
    for edit in edits:
        section = "update" if edit.section == "optimizer" else edit.section
        found = next((changed for changed, other in edits_of(plan, section) if other == edit), None)
        if found is None:
            return None
        plan = found
    return plan


def judge_edits(port: Plan, edits: Sequence[Edit], others: Sequence[Plan], folder: Path) -> list[dict[str, Any]]:
    """Returns what becomes of each of some mistakes in a port.

    Args:
        port: Its plan.
        edits: The mistakes.
        others: The plan of the reference, and the port's without each of the mistakes: all must compute something else.
        folder: For the files.
    """
    plan = others[0]
    try:
        if any(changes_nothing(other, port, folder) for other in others):
            return [outcome(edit, "same") for edit in edits]
        with built(plan, port, folder) as (pair, theirs, ours):
            result = check_parity(pair, steps=STEPS)
    except Exception as error:  # an edit after which the port cannot be trained is no silent mistake
        return [outcome(edit, "crashed", told=f"{type(error).__name__}: {error}") for edit in edits]
    if result.verdict != "diverged":
        return [outcome(edit, "missed") for edit in edits]
    found = result.content()["diagnosis"]
    told = "\n".join(f"  {f['cause']}: {f['text']} {f['parting'] or ''} {f['evidence']}" for f in found)
    names = set().union(*(accepted(edit) for edit in edits))
    wrong = any(finding["cause"] not in {*OPERATIONS, UNKNOWN, *names} for finding in found)
    return [
        outcome(
            edit,
            "caught",
            told=told,
            placed=any(is_placed(finding, edit, ours, theirs) for finding in found),
            explained=any(finding["proved"] or finding["cause"] in accepted(edit) for finding in found),
            wrong=wrong,
        )
        for edit in edits
    ]


def outcome(edit: Edit, state: str, **found: Any) -> dict[str, Any]:
    """Returns what became of a mistake."""
    about = {"edit": edit.text, "section": edit.section, "state": state, "caught": state == "caught"}
    return about | {"placed": False, "explained": False, "wrong": False, "told": ""} | found


def is_placed(finding: Mapping[str, Any], edit: Edit, ours: Written, theirs: Written) -> bool:
    """Whether what is reported shows the edited line of either side, or the edited setting, and few others."""
    if edit.section == "pipeline":
        return bool(finding["rung"] == "data")  # the data have no operations
    parting = finding["parting"] or {}
    told = " ".join([finding["text"], finding["evidence"], *parting.get("port", ()), *parting.get("reference", ())])
    if edit.section == "optimizer":
        shows = bool(parting) or edit.name in told or finding["cause"] in accepted(edit)
        return finding["rung"] in UPDATES and shows
    for written, file in ((ours, "drawn_port.py"), (theirs, "drawn_reference.py")):
        right = {n for name in (edit.name, *edit.near) for n in written.lines.get((edit.section, name), ())}
        lines = {int(number) for number in re.findall(rf"{re.escape(file)}:(\d+)", told)}
        if lines & right and len(lines - right) <= MOST_OTHERS:
            return True
    return edit.section == "schedule" and finding["rung"] in UPDATES and finding["cause"] in accepted(edit)


def accepted(edit: Edit) -> set[str]:
    """Returns the known causes that a mistake may be called."""
    setting = edit.text.split(": ")[-1].split(" ")[0]
    keys = (edit.section, edit.kind, edit.name, setting)
    return {name for key in keys for name in NAMES.get(key, ())}

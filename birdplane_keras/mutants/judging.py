"""Judges a drawn pair as it is, and with one mistake in its port; says what became of the mistake."""

import re
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from birdplane_keras.mutants.drawing import draw_plan
from birdplane_keras.mutants.edits import Edit, draw_edit
from birdplane_keras.mutants.pairs import built
from birdplane_keras.mutants.plans import Plan
from birdplane_keras.mutants.writing import Written
from birdplane_keras.parity import check_parity
from birdplane_keras.parity.causes.diagnose import OPERATIONS
from birdplane_keras.parity.core.finding import UNKNOWN

STEPS = 12
MOST_OTHERS = 3  # lines that may be told beside the right one
SAME = 1e-6  # relative: what an edit that changes nothing moves
TRIES = 20  # edits that are drawn until one can be trained

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
    "edge": ("layers_swapped",),
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
    "pipeline": ("normalisation_constants", "not_normalised", "normalised_twice", "flipped", "channel_order", "data",
                 "rescaling", "axis_order", "shifted", "standardised"),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a mistake.

    Args:
        seed: Of the pair.
        family: Section and kind of the mistake.
        edit: In words.
        state: `same` (the edit changes nothing), `crashed`, `missed`, or `caught`.
        rung: That failed.
        placed: Whether the edited line is told, and at most three others are.
        proved: Whether the cause is proved, or a known one is named rightly.
        wrong: Whether a known cause is named that it is not.
        told: The causes, in words.
    """

    seed: int
    family: str
    edit: str
    state: str
    rung: str = ""
    placed: bool = False
    proved: bool = False
    wrong: bool = False
    told: str = ""


def judge_seed(seed: int) -> dict[str, Any]:
    """Judges the pair of a seed, and a mistake in it.

    Returns:
        `alarm`: what the pair as it is was accused of, empty where it was not; `outcome`: what became of the mistake.
    """
    plan = draw_plan(seed)
    with tempfile.TemporaryDirectory() as folder:
        alarm = judge_clean(plan, Path(folder))
        outcome = judge_mutant(plan, np.random.default_rng([seed, 3]), Path(folder))
    return {"seed": seed, "alarm": alarm, "outcome": asdict(outcome)}


def judge_clean(plan: Plan, folder: Path) -> str:
    """Returns what a right port is accused of; empty where it is not."""
    with built(plan, plan, folder) as (pair, _, _):
        result = check_parity(pair, steps=STEPS)
    return str(result) if result.verdict == "diverged" else ""


def judge_mutant(plan: Plan, random: np.random.Generator, folder: Path) -> Outcome:
    """Returns what becomes of a mistake in the port: the first drawn one that can be trained and changes something."""
    outcome = None
    for _ in range(TRIES):
        port, edit = draw_edit(plan, random)
        outcome = judge_edit(plan, port, edit, folder)
        if outcome.state not in ("same", "crashed"):
            return outcome
    if outcome is None:
        raise RuntimeError("expected a mistake to be drawn")
    return outcome


def judge_edit(plan: Plan, port: Plan, edit: Edit, folder: Path) -> Outcome:
    """Returns what becomes of one mistake."""
    about: dict[str, Any] = {"seed": plan.seed, "family": f"{edit.section}/{edit.kind}", "edit": edit.text}
    try:
        if changes_nothing(plan, port, folder):
            return Outcome(**about, state="same")
        with built(plan, port, folder) as (pair, theirs, ours):
            result = check_parity(pair, steps=STEPS)
    except Exception as error:  # an edit after which the port cannot be trained is no silent mistake
        return Outcome(**about, state="crashed", told=f"{type(error).__name__}: {error}")
    if result.verdict != "diverged":
        return Outcome(**about, state="missed")
    content = result.content()
    found = content["diagnosis"]
    rung = next(check["name"] for check in content["checks"] if not check["passed"])
    return Outcome(
        **about,
        state="caught",
        rung=rung,
        placed=any(is_placed(finding, edit, ours, theirs) for finding in found),
        proved=any(is_explained(finding, edit) for finding in found),
        wrong=any(is_wrong(finding, edit) for finding in found),
        told="\n".join(f"{f['cause']}: {f['text']} [{f['parting']}] {f['evidence']}" for f in found),
    )


def changes_nothing(plan: Plan, port: Plan, folder: Path) -> bool:
    """Whether the port with a mistake computes what it does without, up to rounding, over a few steps."""
    runs = []
    for each in (plan, port):
        with built(plan, each, folder) as (pair, _, _):
            runs.append(trained(pair))
    ours, theirs = runs
    return all(
        np.abs(one - other).max(initial=0.0) <= SAME * max(np.abs(other).max(initial=0.0), 1e-30)
        for one, other in zip(ours, theirs, strict=True)
    )


def trained(pair: Any) -> list[np.ndarray]:
    """Returns a port's outputs and weights around a few steps, from weights that are drawn the same each time."""
    model = pair.keras_model
    random = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(random.normal(0, 0.3, variable.shape))
    inputs, targets = pair.keras_data
    found = [np.concatenate([np.ravel(each) for each in keras.tree.flatten(model.predict(inputs, verbose=0))])]
    model.fit(inputs, targets, batch_size=pair.batch_size, epochs=2, shuffle=False, verbose=0)
    found += [np.asarray(keras.ops.convert_to_numpy(variable)) for variable in model.trainable_variables]
    data = [np.ravel(each).astype(np.float64) for each in keras.tree.flatten(inputs)]
    return [*found, *data]


def is_placed(finding: Mapping[str, Any], edit: Edit, ours: Written, theirs: Written) -> bool:
    """Whether what is told shows the edited line of either side, or the edited setting, and few others."""
    if edit.section in ("optimizer", "pipeline"):
        rungs = (
            ("data",) if edit.section == "pipeline" else ("first_update", "optimizer_state", "trajectory", "evaluation")
        )
        return finding["rung"] in rungs
    parting = finding["parting"] or {}
    told = " ".join([finding["text"], *parting.get("port", ()), *parting.get("reference", ())])
    for written, file in ((ours, "drawn_port.py"), (theirs, "drawn_reference.py")):
        right = {n for name in (edit.name, *edit.near) for n in written.lines.get((edit.section, name), ())}
        lines = {int(number) for number in re.findall(rf"{re.escape(file)}:(\d+)", told)}
        if lines & right and len(lines - right) <= MOST_OTHERS:
            return True
    return edit.section in ("update", "schedule") and finding["rung"] in (
        "first_update",
        "optimizer_state",
        "trajectory",
    )


def accepted(edit: Edit) -> set[str]:
    """Returns the known causes that a mistake may be called."""
    setting = edit.text.split(": ")[-1].split(" ")[0]
    keys = (edit.section, edit.kind, edit.name, setting)
    return {name for key in keys for name in NAMES.get(key, ())}


def is_explained(finding: Mapping[str, Any], edit: Edit) -> bool:
    """Whether a cause is proved, or named rightly."""
    return bool(finding["proved"]) or finding["cause"] in accepted(edit)


def is_wrong(finding: Mapping[str, Any], edit: Edit) -> bool:
    """Whether a known cause is named that it is not."""
    return finding["cause"] not in {*OPERATIONS, UNKNOWN, *accepted(edit)}

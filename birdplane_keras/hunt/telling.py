"""What a hunt found, as a table, and how to see one finding again."""

import dataclasses
import re
from collections import Counter
from collections.abc import Sequence

from birdplane_keras.hunt.running import Finding, Outcome
from birdplane_keras.hunt.trainings import Training
from birdplane_keras.reporting.markdown import table_lines

WORDS = {
    Outcome.BITS: "equal bits",
    Outcome.ROUNDING: "equal to rounding",
    Outcome.DECLINED: "declined with a warning, and equal",
    Outcome.NEITHER: "neither runs",
    Outcome.WRONG: "**wrong**",
    Outcome.CRASHED: "**crashed**",
}
MOST_REASONS = 8


def render(found: Sequence[Finding], *, seed: int, date: str) -> str:
    """Returns the outcomes, and the reasons for what was declined, as Markdown.

    Args:
        found: Of one hunt.
        seed: Of its draws.
        date: ISO 8601.
    """
    import keras
    import torch

    counts = Counter(each.outcome for each in found)
    traced = sum(each.on_engine for each in found)
    shown = [outcome for outcome in Outcome if counts[outcome] or outcome in REQUIRED]
    lines = table_lines(["outcome", "trainings"], [[WORDS[each], str(counts[each])] for each in shown])
    reasons: Counter[str] = Counter()
    for each in found:
        reasons.update({short(words) for words in each.words if each.outcome is Outcome.DECLINED})
    lines += [
        "",
        f"{len(found)} trainings drawn with seed {seed}; {traced} ({traced / len(found):.0%}) train on the engine. "
        f"{date}, torch {torch.__version__}, Keras {keras.__version__}, cpu.",
    ]
    if reasons:
        lines += ["", "Why a step, or a part of it, was declined:", ""]
        lines += [f"- {reason} ({count})" for reason, count in reasons.most_common(MOST_REASONS)]
    return "\n".join(lines)


REQUIRED = (Outcome.WRONG, Outcome.CRASHED)


def short(words: str) -> str:
    """Returns the reason in what the plugin said, without what is of one training only."""
    reason = re.split(r"because |in Python: ", words.removeprefix("torch_plugin: "), maxsplit=1)[-1]
    reason = re.sub(r"an object of type `[^`]*`, whose", "an object whose", reason)
    reason = re.sub(r"the step itself changes Python state: .*", "the step itself changes Python state", reason)
    return re.sub(r"\s+", " ", re.sub(r"`[^`]*` of (?!its own)\w+ ?\w*", "a value", reason))[:100]


def reproduction(training: Training, finding: Finding) -> str:
    """Returns a program that shows a finding again."""
    plain = Training()
    given = [
        f"{field.name}={getattr(training, field.name)!r}"
        for field in dataclasses.fields(Training)
        if getattr(training, field.name) != getattr(plain, field.name)
    ]
    return "\n".join(
        [
            f"{WORDS[finding.outcome]}: {'; '.join(finding.words)}",
            "from birdplane_keras.hunt.running import judge",
            "from birdplane_keras.hunt.trainings import Training",
            f"print(judge(Training({', '.join(given)})))",
        ]
    )

"""What there is to train: each preset on both sides, and some of them from more seeds in PyTorch alone."""

import dataclasses
import importlib.metadata
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from birdplane_keras.recipe import PRESETS, Recipe, build_recipe

MORE_SEEDS = (1, 2, 3, 4)  # beside 0, from which each preset is compared
# The article's figures come from one seed each; and how `shifted` stands after its last epoch is a matter of luck.
OVER_SEEDS = ("narrow", "wide", "shifted")
MINUTES = 5.0  # what a job is taken to last before it was ever measured


@dataclass(frozen=True, kw_only=True)
class Job:
    """One process: a comparison of both sides, or the reference from another seed.

    Args:
        recipe: What is trained.
        folder: Where it leaves `result.json` beside what the process itself writes.
        compares: Whether both sides are trained and judged; else only the reference is trained.
    """

    recipe: Recipe
    folder: Path
    compares: bool

    @property
    def name(self) -> str:
        """What it is called in progress and errors."""
        return self.recipe.name if self.compares else f"{self.recipe.name}, seed {self.recipe.seed}"

    def command(self, data_dir: Path | None, synthetic: bool) -> list[str]:
        """Returns the command line of its process."""
        program = ["birdplane_keras", "compare"] if self.compares else ["torch_reference"]
        recipe = self.recipe
        flags = ["--preset", recipe.name, "--epochs", str(recipe.epochs), "--seed", str(recipe.seed)]
        flags += ["--out", str(self.folder)] if self.compares else []
        flags += [] if data_dir is None else ["--data-dir", str(data_dir)]
        return [sys.executable, "-m", *program, *flags, *(["--synthetic"] if synthetic else [])]

    def setting(self, synthetic: bool) -> dict[str, Any]:
        """Returns all that its result depends on, as JSON has it: a result of anything else is not its result."""
        versions = {name: importlib.metadata.version(name) for name in ("torch", "keras", "numpy")}
        recipe = dataclasses.asdict(self.recipe)
        setting = {"recipe": recipe, "compares": self.compares, "synthetic": synthetic, "versions": versions}
        return json.loads(json.dumps(setting))

    def result(self, synthetic: bool) -> dict[str, Any] | None:
        """Returns what an earlier process found; `None` where none has finished with this very setting."""
        try:
            content = json.loads((self.folder / "result.json").read_text())
        except (OSError, ValueError):
            return None
        return content["found"] if content.get("setting") == self.setting(synthetic) else None


def plan_jobs(presets: Sequence[str], folder: Path, *, epochs: int | None, seeds: Sequence[int]) -> list[Job]:
    """Returns the jobs, the longest first, so that no long one is left at the end.

    Args:
        presets: Names.
        folder: Each job has a folder of its own in it.
        epochs: In place of each preset's own.
        seeds: From which those of `OVER_SEEDS` are trained, too.

    Raises:
        RequestError: There is no such preset, or a number is outside what both frameworks accept.
    """
    jobs = [Job(recipe=build_recipe(name, epochs=epochs), folder=folder / name, compares=True) for name in presets]
    jobs += [
        Job(recipe=build_recipe(name, epochs=epochs, seed=seed), folder=folder / f"{name}-seed-{seed}", compares=False)
        for name in presets
        if name in OVER_SEEDS
        for seed in seeds
    ]
    return sorted(jobs, key=estimate_minutes, reverse=True)


def estimate_minutes(job: Job) -> float:
    """Returns how long a job may take, from what was measured last."""
    from birdplane_keras.reporting.presets import load_expected

    measured = load_expected()["presets"].get(job.recipe.name, {}).get("minutes", MINUTES)
    share = 1.0 if job.compares else 0.45  # one side instead of two, and no judge
    return measured * share * job.recipe.epochs / PRESETS[job.recipe.name].epochs

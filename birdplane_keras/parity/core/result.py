"""What the judge found, as an object, and as files. NumPy only."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from birdplane_keras.parity.core.compare import Check
from birdplane_keras.parity.core.disk import check_entries, write_atomically, write_json
from birdplane_keras.parity.core.finding import Finding
from birdplane_keras.parity.core.renderings import render_junit, render_markdown, render_text

MATCHES = ("bit-exact", "rounding-only")  # the verdicts of sides that are the same


class DivergenceError(AssertionError):
    """The port is not the reference; the message names the rung, the place and the cause."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """The verdict on a pair and everything that it rests on.

    Args:
        verdict: `bit-exact`, `rounding-only` or `diverged`.
        checks: One per rung, in order.
        diagnosis: What explains the first rung that failed; empty where none did.
        steps: Of the trajectory.
        seed: Of the batches' order and of the nudges.
        environment: Versions, device, threads.
        hashes: SHA-256 sums of the data and of both sides' weights at the start and at the end.
        noise: rung -> tensor -> the measured noise, in the tensor's unit.
        layers: One row for each matched layer of the forward pass.
        left_out: Rungs that were not asked for -> why.
        trajectory: Both sides' losses by step, and how far losses and weights were apart, with the noise of both;
            `None` where nothing was trained.
        notes: What the judge could not do, or did beside the rungs, in words.
        churn: Validation examples that the sides predict differently at the end; `None` where nothing was trained.
        source: `package.module:function` that made the pair, if it is known.
    """

    verdict: str
    checks: Sequence[Check]
    diagnosis: Sequence[Finding]
    steps: int
    seed: int
    environment: Mapping[str, Any]
    hashes: Mapping[str, str]
    noise: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    layers: Sequence[Mapping[str, Any]] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    trajectory: Mapping[str, Any] | None = None
    notes: Sequence[str] = ()
    churn: int | None = None
    source: str | None = None

    def raise_for_divergence(self) -> None:
        """Does nothing where the sides match.

        Raises:
            DivergenceError: They do not.
        """
        if self.verdict == "diverged":
            raise DivergenceError(str(self))

    def content(self) -> dict[str, Any]:
        """Returns the certificate's content."""
        failed = next((check for check in self.checks if not check.passed), None)
        return {
            "kind": "pair",
            "verdict": self.verdict,
            "source": self.source,
            "steps": self.steps,
            "seed": self.seed,
            "environment": dict(self.environment),
            "hashes": dict(self.hashes),
            "churn": self.churn,
            "first_failure": None
            if failed is None
            else {"rung": failed.name, "reason": failed.reason, **(failed.where or {})},
            "diagnosis": [asdict(finding) for finding in self.diagnosis],
            "checks": check_entries(self.checks),
            "noise": self.noise,
            "layers": list(self.layers),
            "left_out": dict(self.left_out),
            "trajectory": self.trajectory,
            "notes": list(self.notes),
        }

    def save(self, folder: str | Path) -> list[Path]:
        """Writes `certificate.json`, `junit.xml` and `report.md`, each at once or not at all; returns their paths."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        content = self.content()
        write_atomically(folder / "junit.xml", render_junit(content).encode())
        write_atomically(folder / "report.md", render_markdown(content).encode())
        write_json(folder / "certificate.json", content)
        return [folder / name for name in ("certificate.json", "junit.xml", "report.md")]

    def __str__(self) -> str:
        return render_text(self.content())

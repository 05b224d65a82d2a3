"""What the judge found, as an object, and as files: the certificate, and the long series beside it. NumPy only.

What draws a result, for a notebook, is imported when it is asked for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from birdplane_keras.parity.core.check import Check, State, first_failure
from birdplane_keras.parity.core.disk import write_atomically, write_json
from birdplane_keras.parity.core.finding import Finding
from birdplane_keras.parity.core.records import FORWARD_RUNGS
from birdplane_keras.parity.core.renderings import render_junit, render_markdown, render_text

if TYPE_CHECKING:
    from birdplane_keras.reporting.inline_figure import InlineFigure

VERSION = 1  # of the content; a key may be added within a version, none is renamed or removed
CERTIFICATE_FILE = "certificate.json"
SERIES_FILE = "series.json"


class DivergenceError(AssertionError):
    """The port is not the reference; the message names the rung, the place and the cause."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """The verdict on two sides and everything that it rests on.

    Args:
        verdict: `bit-exact`, `rounding-only` or `diverged`.
        checks: One for every rung of the ladder, in order.
        diagnosis: What explains the first rung that failed; empty where none did.
        settings: What was compared: `kind` ("pair" or "preset"), `source` (`package.module:function` that made a pair,
            if it is known), `steps`, `seed`, and what else tells how to make the same again.
        environment: Versions, device, threads.
        hashes: SHA-256 sums of both sides' data, and of their weights at the start and after `steps_made` steps.
        steps_made: How many steps both sides trained: fewer than were asked for where a break ended it.
        churn: Validation examples that the sides name differently after these; `None` where nothing was trained.
        notes: What the judge could not do, or did beside the rungs, in words.
        sides: What the two programs of a preset report of themselves: `keras`, `torch`, and the `time_ratio`.
        noise: rung -> tensor -> the measured noise, in the tensor's unit.
        layers: One row for each matched layer of the forward pass, where `forward` failed.
        trajectory: Both sides' losses by step, and how far losses and weights were apart, with the noise of both;
            `None` where nothing was trained.
    """

    verdict: str
    checks: Sequence[Check]
    diagnosis: Sequence[Finding]
    settings: Mapping[str, Any]
    environment: Mapping[str, Any]
    hashes: Mapping[str, str]
    steps_made: int = 0
    churn: int | None = None
    notes: Sequence[str] = ()
    sides: Mapping[str, Any] = field(default_factory=dict)
    noise: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    layers: Sequence[Mapping[str, Any]] = ()
    trajectory: Mapping[str, Any] | None = None

    @property
    def left_out(self) -> dict[str, str]:
        """Returns the rungs that were not asked for -> why."""
        return {check.name: check.reason for check in self.checks if check.state is State.LEFT_OUT}

    @property
    def tolerances(self) -> dict[str, float]:
        """Returns what the forward pass compared -> the smallest absolute tolerance with which it would pass.

        Outputs by name, layers as `name (between)` for what they receive and `name (alone)` for what they make of the
        reference's activations. Of a model that is trained, layers are compared where outputs differ.
        """
        outputs = [row for check in self.checks if check.name in FORWARD_RUNGS for row in check.tensors]
        found = {str(row["name"]): row["max_abs_difference"] for row in outputs}
        found |= {f"{row['at']} ({row['kind']})": row["max_abs_difference"] for row in self.layers}
        return {name: float(value) for name, value in found.items() if value is not None}

    def raise_for_divergence(self) -> None:
        """Does nothing where the sides match.

        Raises:
            DivergenceError: They do not.
        """
        if self.verdict == "diverged":
            raise DivergenceError(str(self))

    def content(self) -> dict[str, Any]:
        """Returns the certificate's content: `certificate.json` of a pair, `report.json` of a preset."""
        broken = first_failure(self.checks)
        failure = None
        if broken is not None:
            place = {} if broken.place is None else broken.place.content()
            failure = {"rung": broken.name, "code": broken.code, "reason": broken.reason, **place}
        return {
            "version": VERSION,
            "verdict": self.verdict,
            **self.settings,
            "environment": dict(self.environment),
            "hashes": dict(self.hashes),
            **self.sides,
            "steps_made": self.steps_made,
            "churn": self.churn,
            "first_failure": failure,
            "diagnosis": [finding.content() for finding in self.diagnosis],
            "notes": list(self.notes),
            "checks": [check.content() for check in self.checks],
        }

    def series(self) -> dict[str, Any]:
        """Returns what is too long for the certificate, the content of `series.json`."""
        return {"trajectory": self.trajectory, "noise": self.noise, "layers": list(self.layers)}

    def save(self, folder: str | Path) -> list[Path]:
        """Writes the certificate, `junit.xml`, `report.md` and the series; returns their paths in that order.

        Each is written at once or not at all.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        content = self.content()
        write_atomically(folder / "junit.xml", render_junit(content).encode())
        write_atomically(folder / "report.md", render_markdown(content).encode())
        write_json(folder / SERIES_FILE, self.series())
        write_json(folder / CERTIFICATE_FILE, content)
        return [folder / name for name in (CERTIFICATE_FILE, "junit.xml", "report.md", SERIES_FILE)]

    def __str__(self) -> str:
        return render_text(self.content())

    def plot(self) -> "InlineFigure":
        """Draws both sides' losses by step, and how far their weights are apart, with the noise envelope.

        Where nothing was trained, how far each layer is from the reference's.

        Returns:
            A Matplotlib figure without a background, which a notebook shows by itself.

        Raises:
            RequestError: There is neither: a rung that compares no layers failed before the trajectory.
        """
        from birdplane_keras.reporting.notebook_figures import draw_result

        return draw_result(self.content(), self.series())

    def _repr_html_(self) -> str:
        """Returns the verdict, what explains it and the ladder, as a notebook shows them."""
        from birdplane_keras.reporting.notebook import render_result

        return render_result(self.content())

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Prints the verdict and what explains it where IPython shows text."""
        printer.text(str(self))

"""What the judge makes of an entry of the catalogue, as plain data."""

from typing import Any

from birdplane_keras.catalogue.records import Clean, Fault
from birdplane_keras.parity import check_parity


def judge_fault(fault: Fault) -> dict[str, Any]:
    """Judges a port with a planted mistake.

    Returns:
        `name` and `mistake`; `expected` and `found`, each (rung, cause); whether it was `caught`; the `environment`.
    """
    report = check_parity(fault.make(0))
    failed = next((check.name for check in report.checks if not check.passed), None)
    cause = report.diagnosis[0].cause if report.diagnosis else None
    return {
        "name": fault.name,
        "mistake": fault.mistake,
        "expected": (fault.rung, fault.cause),
        "found": (failed, cause),
        "caught": report.verdict == "diverged",
        "environment": report.environment,
    }


def judge_clean(clean: Clean, seed: int) -> str | None:
    """Judges a port without a mistake; returns what to call the false alarm, `None` where there is none."""
    report = check_parity(clean.make(seed), seed=seed)
    return f"{clean.name}, seed {seed}" if report.verdict == "diverged" else None

"""What the judge makes of an entry of the catalogue, as plain data."""

from typing import Any

from birdplane_keras.catalogue.records import Clean, Fault
from birdplane_keras.parity import check_parity
from birdplane_keras.parity.causes.diagnose import OPERATIONS


def judge_fault(fault: Fault) -> dict[str, Any]:
    """Judges a port with a planted mistake.

    Returns:
        `name` and `mistake`; `expected` and `found`, each (rung, cause), where operations that differ are a cause only
        if that is proved; whether it was `caught`; the `environment`.
    """
    report = check_parity(fault.make(0))
    failed = next((check.name for check in report.checks if not check.passed), None)
    first = report.diagnosis[0] if report.diagnosis else None
    told = first is not None and (first.proved or first.cause not in OPERATIONS)
    cause = first.cause if first is not None and told else None
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

"""The contract of `report.json`: the keys that others build on."""

from birdplane_keras.parity.core.rungs import names as rung_names

CONTRACT = {
    "verdict", "preset", "engine", "seed", "epochs", "recipe", "environment", "keras", "torch", "churn", "checks",
}  # fmt: skip
SIDE = {
    "parameter_count", "parameter_counts", "train_accuracy", "validation_accuracy", "confusion_matrix", "step_losses",
    "epoch_losses", "weights_sha256", "seconds_per_epoch",
}  # fmt: skip
CHECK = {"name", "passed", "max_abs_difference", "bits_differing", "tolerance", "reason", "where"}


def check_contract(report: dict) -> None:
    assert set(report) >= CONTRACT
    assert set(report["keras"]) == set(report["torch"]) >= SIDE
    assert set(report["environment"]) >= {"python", "torch", "keras", "device", "threads"}
    assert [check["name"] for check in report["checks"]] == rung_names()
    assert all(set(check) >= CHECK for check in report["checks"])
    for side in ("keras", "torch"):
        assert report[side]["step_losses"].startswith("sha256:")
        assert len(report[side]["epoch_losses"]) == len(report[side]["seconds_per_epoch"]) == report["epochs"]

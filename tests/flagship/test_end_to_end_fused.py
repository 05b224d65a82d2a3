"""The engine `fused` over whole runs; in a file of its own, so that it runs beside the engine `exact`."""

import json

import pytest

from flagship.comparing import finish, start
from flagship.contract import check_contract


def train_fused(tmp_path, data_dir, preset, epochs):
    flags = ["--preset", preset, "--engine", "fused", "--epochs", str(epochs)]
    report = finish(start(tmp_path, data_dir, *flags), tmp_path)
    check_contract(report)
    assert (report["epochs"], report["engine"], report["verdict"]) == (epochs, "fused", "rounding-only")
    exact = report["torch"]["validation_accuracy"]  # the exact engine ends in its bits
    assert report["keras"]["validation_accuracy"] == pytest.approx(exact, abs=0.01)
    return report


@pytest.mark.slow
@pytest.mark.parametrize(("preset", "epochs"), [("narrow", 20), ("wide", 10)])
def test_fused_differs_from_the_original_by_rounding(tmp_path, data_dir, preset, epochs):
    assert train_fused(tmp_path, data_dir, preset, epochs)["churn"] <= 2


@pytest.mark.long
def test_chaos_takes_fused_no_further_than_the_reference_is_from_itself(tmp_path, data_dir):
    train_fused(tmp_path, data_dir, "wide", 100)  # where chaos shows, and late
    distances = json.loads((tmp_path / "series.json").read_text())["trajectory"]["weight_distances"]
    assert max(distances["sides"]) > 1e-4
    assert max(distances["envelope"]) > 1e-4
    assert (tmp_path / "weight_distances.png").stat().st_size > 10_000

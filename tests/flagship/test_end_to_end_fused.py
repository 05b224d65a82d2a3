"""The engine `fused` over whole runs; in a file of its own, so that it runs beside the engine `exact`."""

import json

import pytest

from flagship.comparing import finish, start
from flagship.contract import check_contract


@pytest.mark.slow
@pytest.mark.parametrize(("preset", "epochs"), [("narrow", 20), ("wide", 100)])  # chaos shows in `wide`, and late
def test_fused_differs_from_the_original_by_rounding(tmp_path, data_dir, preset, epochs):
    flags = ["--preset", preset, "--engine", "fused", "--epochs", str(epochs)]
    report = finish(start(tmp_path, data_dir, *flags), tmp_path)
    check_contract(report)
    assert (report["epochs"], report["engine"], report["verdict"]) == (epochs, "fused", "rounding-only")
    exact = report["torch"]["validation_accuracy"]  # the exact engine ends in its bits
    assert report["keras"]["validation_accuracy"] == pytest.approx(exact, abs=0.01)
    if preset == "narrow":
        assert report["churn"] <= 2
    else:  # chaotic: weights far apart, and yet no further than the reference is from itself
        distances = json.loads((tmp_path / "series.json").read_text())["trajectory"]["weight_distances"]
        assert max(distances["sides"]) > 1e-4
        assert max(distances["envelope"]) > 1e-4
        assert (tmp_path / "weight_distances.png").stat().st_size > 10_000

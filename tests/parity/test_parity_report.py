"""What the judge hands back: an object that raises, a certificate without NaN, JUnit XML, Markdown."""

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import keras
import numpy as np
import pytest
import torch
from rich.console import Console

from birdplane_keras.catalogue.networks import regression_pair, vector_pair
from birdplane_keras.parity import check_parity
from birdplane_keras.parity.core.check import State
from birdplane_keras.parity.core.result import VERSION, DivergenceError
from birdplane_keras.parity.core.rungs import names as rung_names
from birdplane_keras.reporting.terminal import print_pair


def wrong_rate():
    return vector_pair(0, keras_optimizer=keras.optimizers.SGD(0.1))


def not_finite():
    """A port whose loss is NaN at its first step."""

    def broken(targets, outputs):
        return keras.ops.mean(keras.ops.log(-1 - keras.ops.square(outputs)))

    return regression_pair(0, keras_loss=broken)


def no_initialisation():
    return vector_pair(0, initialisation=False)


MADE = {"clean": lambda: vector_pair(0), "wrong": wrong_rate, "nan": not_finite, "left out": no_initialisation}


@pytest.fixture(scope="module")
def reports():
    keras.utils.set_random_seed(0)
    return {name: check_parity(make(), steps=10) for name, make in MADE.items()}


def no_constant(text):
    raise AssertionError(f"{text} is no JSON")


@pytest.mark.parametrize("name", MADE)
def test_four_files_are_written(reports, name, tmp_path):
    written = reports[name].save(tmp_path / "new" / "folder")
    assert [path.name for path in written] == ["certificate.json", "junit.xml", "report.md", "series.json"]
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == sorted(p.name for p in written)
    assert all(path.stat().st_size > 100 for path in written)


@pytest.mark.parametrize("name", MADE)
def test_the_certificate_is_json_without_nan(reports, name, tmp_path):
    path = reports[name].save(tmp_path)[0]
    content = json.loads(path.read_text(), parse_constant=no_constant)
    assert content["verdict"] == reports[name].verdict
    assert content["version"] == VERSION
    assert [check["name"] for check in content["checks"]] == rung_names()
    assert {check["state"] for check in content["checks"]} <= set(State)
    assert content["kind"] == "pair"
    assert content["environment"]["torch"] == torch.__version__


@pytest.mark.parametrize("name", MADE)
def test_what_is_long_lies_beside_the_certificate(reports, name, tmp_path):
    content = reports[name].content()
    series = json.loads((reports[name].save(tmp_path)[3]).read_text(), parse_constant=no_constant)
    assert set(series) == {"trajectory", "noise", "layers"}
    assert not set(series) & set(content)
    if name == "clean":
        assert len(series["trajectory"]["losses"]["keras"]) == 10
    if name == "wrong":
        assert series["trajectory"] is None  # nothing was trained


@pytest.mark.parametrize(
    ("name", "failures", "skipped"),
    [("clean", 0, 2), ("left out", 0, 3), ("wrong", 1, None), ("nan", 1, None)],
)
def test_junit_counts_failures_and_rungs_that_were_not_reached(reports, name, failures, skipped, tmp_path):
    path = reports[name].save(tmp_path)[1]
    suite = ElementTree.parse(path).getroot()
    cases = suite.findall("testcase")
    assert {case.get("name") for case in cases} == set(rung_names())
    assert len(cases) == len(rung_names()) == int(suite.get("tests"))
    assert len(suite.findall("testcase/failure")) == int(suite.get("failures")) == failures
    if skipped is None:
        broken = reports[name].content()["first_failure"]["rung"]
        skipped = len(rung_names()) - 1 - rung_names().index(broken) + 1  # and the recipe, which no pair states
        assert cases[rung_names().index(broken)].find("failure").get("message")
    assert len(suite.findall("testcase/skipped")) == int(suite.get("skipped")) == skipped
    assert suite.get("errors") == "0"


def test_the_failure_in_junit_tells_the_cause_and_the_fix(reports, tmp_path):
    suite = ElementTree.parse(reports["wrong"].save(tmp_path)[1]).getroot()
    text = suite.find("testcase/failure").text
    assert "learning_rate" in text
    assert "Fix:" in text


@pytest.mark.parametrize("name", MADE)
def test_the_markdown_has_a_row_for_every_rung(reports, name, tmp_path):
    text = reports[name].save(tmp_path)[2].read_text()
    assert text.startswith(f"## Parity: {reports[name].verdict}")
    for check in reports[name].checks:
        row = next(line for line in text.splitlines() if line.startswith(f"| `{check.name}` |"))
        assert row.count("|") == 8
    for rung, reason in reports[name].left_out.items():
        assert f"`{rung}` was left out: {reason}." in text


def test_a_match_raises_nothing(reports):
    reports["clean"].raise_for_divergence()
    reports["left out"].raise_for_divergence()


@pytest.mark.parametrize(("name", "cause"), [("wrong", "learning_rate"), ("nan", "not_a_number")])
def test_a_divergence_raises_with_the_rung_the_cause_and_the_fix(reports, name, cause):
    with pytest.raises(AssertionError) as raised:
        reports[name].raise_for_divergence()
    assert isinstance(raised.value, DivergenceError)
    rung, fix = reports[name].content()["first_failure"]["rung"], reports[name].diagnosis[0].fix
    for told in (f"First broken rung: {rung}", f"Cause: {cause}", f"Fix: {fix}"):
        assert told in str(raised.value)


def test_the_figures_of_a_clean_report_are_finite(reports):
    for check in reports["clean"].checks:
        for value in (check.max_abs_difference, check.tolerance, check.ulps, check.times_noise):
            assert value is None or np.isfinite(value)
    assert reports["clean"].churn == 0
    assert reports["wrong"].churn is None


def test_hashes_of_equal_data_are_equal(reports):
    hashes = reports["clean"].hashes
    assert hashes["keras_data"] == hashes["torch_data"]
    assert hashes["keras_initial_weights"] == hashes["torch_initial_weights"]
    assert set(hashes) == {f"{s}_{what}" for s in ("keras", "torch") for what in HASHED}
    assert all(len(value) == 64 for value in hashes.values())


HASHED = ("data", "initial_weights", "final_weights")


def test_notes_are_told_wherever_the_verdict_is(reports, tmp_path):
    report = replace(reports["clean"], notes=["rounding had grown by steps [12]"])
    told = "Note: rounding had grown by steps [12]."
    assert told in str(report)
    assert told in report.save(tmp_path)[2].read_text()
    console = Console(record=True, width=200)
    print_pair(report.content(), console)
    assert told in console.export_text()

"""`compare.py --pair` and `--verify`, as a person runs them, and the story of the LeNet that the README tells."""

import importlib
import json
import sys
from pathlib import Path

import pytest

from birdplane_keras import cli
from birdplane_keras.pairs import compare_certificates, load_pair
from birdplane_keras.parity import check_parity

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()

MODULE = """
import birdplane_keras
import keras, numpy as np, torch
from birdplane_keras.parity import Pair

def make_pair(rate=0.1):
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    x = random.normal(size=(64, 8)).astype("float32")
    module = torch.nn.Linear(8, 3)
    start = keras.initializers.RandomUniform(-(8**-0.5), 8**-0.5)
    dense = keras.layers.Dense(3, kernel_initializer=start, bias_initializer=start)
    model = keras.Sequential([keras.Input((8,)), dense])
    model.compile(keras.optimizers.SGD(rate), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    y = (x[:, 0] > 0).astype("int64")
    return Pair(keras_model=model, torch_module=module, torch_loss=torch.nn.CrossEntropyLoss(),
                torch_optimizer=optimizer, data=(x, y), batch_size=16)

def make_wrong_pair():
    return make_pair(0.11)

def make_nothing():
    return None

def make_trouble():
    return 1 / 0

not_a_function = 7
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a package of pairs in it."""
    (tmp_path / "ported.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a file changed within a second is read again
    yield tmp_path
    sys.modules.pop("ported", None)


def test_a_pair_that_matches_exits_0_and_leaves_its_certificate(folder, capsys):
    assert cli.compare(["--pair", "ported:make_pair", "--steps", "10"]) == 0
    printed = capsys.readouterr().out
    assert "rounding-only" in printed or "bit-exact" in printed
    written = folder / "runs" / "ported-make_pair"
    assert sorted(path.name for path in written.iterdir()) == [
        "certificate.json",
        "junit.xml",
        "report.html",
        "report.md",
    ]
    content = json.loads((written / "certificate.json").read_text())
    assert (content["source"], content["steps"], content["seed"]) == ("ported:make_pair", 10, 0)


def test_a_pair_that_diverged_exits_1_and_prints_cause_and_fix(folder, capsys):
    assert cli.compare(["--pair", "ported:make_wrong_pair", "--out", "here"]) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert "First broken rung: first_update" in printed
    assert "the Keras side's update is 1.1 times the reference's at every parameter" in printed
    assert "learning_rate 0.11, expected 0.1" in printed
    assert "Fix: learning_rate=0.1" in printed
    assert (folder / "here" / "certificate.json").exists()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--pair", "ported"], "expected --pair package.module:function"),
        (["--pair", "nowhere:make_pair"], "nowhere cannot be imported (ModuleNotFoundError"),
        (["--pair", "ported:missing"], "ported has no function missing"),
        (["--pair", "ported:not_a_function"], "ported has no function not_a_function"),
        (["--pair", "ported:make_nothing"], "which returned NoneType"),
        (["--pair", "ported:make_trouble"], "ported:make_trouble failed: ZeroDivisionError: division by zero"),
        (["--pair", "ported:make_pair", "--steps", "0"], "expected --steps of at least 1"),
        (["--pair", "ported:make_pair", "--seed", "-1"], "--seed of at least 0"),
        (["--pair", "ported:make_pair", "--epochs", "3"], "expected --pair without --epochs"),
        (["--pair", "ported:make_pair", "--engine", "stock"], "expected --pair without --engine"),
        (["--steps", "3"], "expected --steps together with --pair"),
        (["--verify", "nothing.json"], "expected a certificate for --verify, received nothing.json"),
        (["--verify", "ported.py"], "expected a certificate for --verify, received ported.py"),
    ],
)
def test_a_bad_request_is_one_line_and_writes_nothing(folder, capsys, flags, expected):
    assert cli.compare(flags) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.strip().splitlines()
    assert expected in line
    assert [path.name for path in folder.iterdir() if path.name != "__pycache__"] == ["ported.py"]


def test_a_certificate_holds_until_the_pair_changes(folder, capsys):
    cli.compare(["--pair", "ported:make_pair", "--steps", "10", "--out", "here"])
    assert cli.compare(["--verify", "here/certificate.json"]) == 0
    assert "The certificate holds" in capsys.readouterr().out
    (folder / "ported.py").write_text(MODULE.replace("random_seed(0)", "random_seed(1)"))
    sys.modules.pop("ported")
    assert cli.compare(["--verify", "here/certificate.json"]) == 1
    assert "torch initial weights was" in capsys.readouterr().out
    (folder / "ported.py").write_text(MODULE.replace("rate=0.1)", "rate=0.1000)").replace("lr=0.1", "lr=0.2"))
    sys.modules.pop("ported")
    assert cli.compare(["--verify", "here/certificate.json"]) == 1
    assert "and is diverged" in capsys.readouterr().out


def test_in_another_environment_the_last_bits_may_differ_and_the_verdict_may_not():
    before = {
        "verdict": "rounding-only",
        "environment": {"torch": "2.13"},
        "hashes": {"torch_data": "a" * 64, "keras_final_weights": "b" * 64},
    }
    assert compare_certificates(before, before) == []
    later = {**before, "hashes": before["hashes"] | {"keras_final_weights": "c" * 64}}
    assert compare_certificates(before, later) == ["keras final weights was bbbbbbbbbbbb and is cccccccccccc"]
    later["environment"] = {"torch": "2.14"}
    assert compare_certificates(before, later) == []
    assert compare_certificates(before, {**later, "verdict": "diverged"}) == [
        "the verdict was rounding-only and is diverged"
    ]
    moved = {**later, "hashes": {"torch_data": "d" * 64}}
    assert len(compare_certificates(before, moved)) == 1
    assert compare_certificates({**before, "hashes": {}}, later) == ["torch data was nothing and is aaaaaaaaaaaa"]


@pytest.mark.slow
def test_a_presets_report_is_a_certificate_too(folder, monkeypatch, capsys, data_dir):
    monkeypatch.setenv("BIRDPLANE_DATA", str(data_dir))
    assert cli.compare(["--epochs", "1", "--synthetic", "--out", "first"]) == 0
    assert cli.compare(["--verify", "first/report.json"]) == 0
    report = json.loads((folder / "first" / "report.json").read_text())
    report["torch"]["weights_sha256"] = "0" * 64
    (folder / "first" / "report.json").write_text(json.dumps(report))
    assert cli.compare(["--verify", "first/report.json"]) == 1
    assert "no longer holds: torch final weights was 000000000000" in capsys.readouterr().out


@pytest.fixture
def lenet(monkeypatch, images):
    """Makes the story's pairs from the images that the session has loaded already."""
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(ROOT))
    module = importlib.import_module("examples.lenet")
    monkeypatch.setattr(module, "load_data", lambda: images)
    return lambda function: load_pair(f"examples.lenet:{function}")


STORY = [
    ("make_pair", "data", "not_normalised"),
    ("make_pair_normalised", "initialisation", "default_initialisation"),
    ("make_pair_initialised", "first_update", "adam_epsilon"),
]


@pytest.mark.parametrize(("function", "rung", "cause"), STORY, ids=[entry[0] for entry in STORY])
def test_the_lenet_is_told_what_to_mend(lenet, function, rung, cause):
    report = check_parity(lenet(function))
    failed = next(check for check in report.checks if not check.passed)
    assert (report.verdict, failed.name, report.diagnosis[0].cause) == ("diverged", rung, cause)
    assert f"First broken rung: {rung}" in README
    assert f"Cause: {cause}. {report.diagnosis[0].text}." in README


@pytest.mark.parametrize("steps", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_the_lenet_that_followed_the_advice_differs_by_rounding(lenet, steps):
    assert check_parity(lenet("make_fixed_pair"), steps=steps).verdict == "rounding-only"

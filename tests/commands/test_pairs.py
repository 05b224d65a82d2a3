"""`compare.py --pair` and `--verify`, as a person runs them."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from birdplane_keras import cli
from birdplane_keras.certificates import compare_certificates, describe_changes

ROOT = Path(__file__).parents[2]

MODULE = """
import birdplane_keras
import dataclasses, keras, numpy as np, torch
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

def make_exit():
    raise SystemExit(0)

def make_pair_that_exits():
    pair = make_pair()
    steps = []
    def loss(outputs, targets):
        steps.append(1)
        if len(steps) > 40:
            raise SystemExit(0)
        return torch.nn.functional.cross_entropy(outputs, targets)
    return dataclasses.replace(pair, torch_loss=loss)

class Interruption(BaseException):
    pass

def make_interrupted():
    raise Interruption("enough")

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
        "series.json",
    ]
    content = json.loads((written / "certificate.json").read_text())
    assert (content["source"], content["steps"], content["seed"]) == ("ported:make_pair", 10, 0)
    page = (written / "report.html").read_text()
    assert 'id="chart-loss"' in page
    assert cli.main(["report", str(written)]) == 0
    assert (written / "report.html").read_text() == page  # drawn again, from what was left


def test_a_pair_that_diverged_exits_1_and_prints_cause_and_fix(folder, capsys):
    assert cli.compare(["--pair", "ported:make_wrong_pair", "--out", "here"]) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert "First broken rung: first_update" in printed
    assert "learning_rate is 0.11 in Keras, 0.1 in PyTorch" in printed
    assert "Fix: learning_rate=0.1" in printed
    assert (folder / "here" / "certificate.json").exists()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--pair", "ported"], "expected --pair package.module:function"),
        (["--pair", "nowhere:make_pair"], "nowhere cannot be imported: ModuleNotFoundError"),
        (["--pair", "ported:missing"], "ported has no function missing"),
        (["--pair", "ported:not_a_function"], "ported has no function not_a_function"),
        (["--pair", "ported:make_nothing"], "which returned NoneType"),
        (["--pair", "ported:make_trouble"], "ported:make_trouble failed: ZeroDivisionError: division by zero"),
        (["--pair", "ported:make_exit"], "ported:make_exit failed: SystemExit: 0"),
        (["--pair", "ported:make_interrupted"], "ported:make_interrupted failed: Interruption: enough"),
        (["--pair", "sys:exit"], "sys:exit failed: SystemExit"),
        (["--pair", "ported:make_pair", "--search-seconds", "-1"], "expected --search-seconds of at least 0"),
        (["--search-seconds", "3"], "expected --search-seconds together with --pair"),
        (["--trust"], "expected --trust together with --verify"),
        (["--pair", "ported:make_pair", "--steps", "0"], "expected --steps of at least 1"),
        (["--pair", "ported:make_pair", "--seed", "-1"], "--seed of at least 0"),
        (["--pair", "ported:make_pair", "--epochs", "3"], "expected --pair without --epochs"),
        (["--pair", "ported:make_pair", "--engine", "stock"], "expected --pair without --engine"),
        (["--steps", "3"], "expected --steps together with --pair"),
        (["--verify", "nothing.json"], "expected a certificate for --verify, received nothing.json"),
        (["--verify", "ported.py"], "expected a certificate for --verify, received ported.py"),
        (["--verify", "ported.py", "--steps", "9"], "expected --verify without --steps: the certificate says it"),
        (["--verify", "ported.py", "--search-seconds", "9"], "expected --verify without --search-seconds"),
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
    assert cli.compare(["--verify", "here/certificate.json", "--trust"]) == 0
    printed = capsys.readouterr().out
    assert "The certificate holds" in printed
    told = hashlib.sha256((folder / "ported.py").read_bytes()).hexdigest()
    assert f"Runs ported:make_pair in {folder / 'ported.py'}, sha256 {told}." in printed
    (folder / "ported.py").write_text(MODULE.replace("random_seed(0)", "random_seed(1)"))
    sys.modules.pop("ported")
    assert cli.compare(["--verify", "here/certificate.json", "--pair", "ported:make_pair"]) == 1
    assert "torch initial weights was" in capsys.readouterr().out
    (folder / "ported.py").write_text(MODULE.replace("rate=0.1)", "rate=0.1000)").replace("lr=0.1", "lr=0.2"))
    sys.modules.pop("ported")
    assert cli.compare(["--verify", "here/certificate.json", "--trust"]) == 1
    assert "and is diverged" in capsys.readouterr().out


def certificate_of(source):
    hashes = {"torch_data": "a" * 64}
    return {
        "kind": "pair",
        "verdict": "bit-exact",
        "environment": {},
        "hashes": hashes,
        "source": source,
        "steps": 10,
        "seed": 0,
    }


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("sys:exit", "which no file holds"),
        ("builtins:exit", "which no file holds"),
        ("os:abort", "os.py, sha256 "),
        ("this:make", "this.py, sha256 "),
        ("ported:make_exit", "ported.py, sha256 "),
        ("package.within:make", "within.py, sha256 "),
        ("plain.deeper.within:make", "within.py, sha256 "),
        ("nowhere.within:make", "which no file holds"),
    ],
)
def test_what_a_certificate_names_does_not_run_unless_it_is_trusted(folder, source, told):
    """In a process of its own: some of these would end it, and one would print."""
    package = folder / "package"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit(0)")
    deeper = folder / "plain" / "deeper"  # neither has an __init__.py
    deeper.mkdir(parents=True)
    for place in (package, deeper):
        (place / "within.py").write_text("raise SystemExit(0)")
    (folder / "certificate.json").write_text(json.dumps(certificate_of(source)))
    before = sorted(path.name for path in folder.iterdir())
    for more in ([], ["--pair", "ported:make_pair"]):
        done = subprocess.run(
            [sys.executable, str(ROOT / "scripts" / "compare.py"), "--verify", "certificate.json", *more],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        assert (done.returncode, done.stdout) == (2, "")
        (line,) = done.stderr.splitlines()
        assert (told in line and "expected --trust, or" in line) if not more else f"expected --pair {source}" in line
    assert sorted(path.name for path in folder.iterdir()) == before


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"kind": "recipe"}, "of the kind 'recipe'"),
        ({"version": 99}, "expected a certificate of version 1, received certificate.json, of 99"),
        ({"hashes": {"torch_data": None}}, "whose hashes names nothing"),
        ({"environment": []}, "whose environment names nothing"),
        ({"verdict": 3}, "whose verdict is no word"),
        ({"steps": "many"}, "whose steps is no such number"),
        ({"source": None}, "nothing says how it was made"),
    ],
)
def test_a_certificate_that_was_tampered_with_is_refused_in_one_line(folder, capsys, changed, told):
    (folder / "certificate.json").write_text(json.dumps(certificate_of("ported:make_pair") | changed))
    assert cli.compare(["--verify", "certificate.json", "--trust"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line


def test_the_certificate_of_a_pair_is_verified_without_a_folder(folder, capsys):
    (folder / "certificate.json").write_text(json.dumps(certificate_of("ported:make_pair")))
    assert cli.compare(["--verify", "certificate.json", "--trust", "--out", "here"]) == 2
    assert "expected --verify without --out" in capsys.readouterr().err
    assert not (folder / "here").exists()


def test_a_trusted_certificate_whose_code_ends_the_program_is_an_error(folder, capsys):
    (folder / "certificate.json").write_text(json.dumps(certificate_of("sys:exit")))
    assert cli.compare(["--verify", "certificate.json", "--trust"]) == 2
    assert "sys:exit failed: SystemExit" in capsys.readouterr().err


def test_a_pair_that_ends_the_program_while_it_is_judged_is_an_error(folder, capsys):
    assert cli.compare(["--pair", "ported:make_pair_that_exits", "--out", "here"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "SystemExit: 0" in line


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
    assert describe_changes(before, later) == "torch 2.13 then, 2.14 now"
    assert describe_changes({**before, "environment": {}}, later) == "torch not stated then, 2.14 now"
    assert compare_certificates({**before, "hashes": {}}, later) == ["torch data was nothing and is aaaaaaaaaaaa"]


@pytest.mark.slow
def test_a_presets_report_is_a_certificate_too(folder, monkeypatch, capsys, data_dir):
    monkeypatch.setenv("BIRDPLANE_DATA", str(data_dir))
    assert cli.compare(["--epochs", "1", "--synthetic", "--out", "first"]) == 0
    assert cli.compare(["--verify", "first/report.json"]) == 0
    report = json.loads((folder / "first" / "report.json").read_text())
    report["hashes"]["torch_final_weights"] = "0" * 64
    (folder / "first" / "report.json").write_text(json.dumps(report))
    assert cli.compare(["--verify", "first/report.json"]) == 1
    assert "no longer holds: torch final weights was 000000000000" in capsys.readouterr().out

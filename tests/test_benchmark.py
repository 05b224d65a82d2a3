"""`scripts/benchmark.py`, so that it cannot rot. How fast anything is, is measured there and asserted nowhere."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from birdplane_keras.benchmark import cli, memory, network_run, run
from birdplane_keras.benchmark.measure import Timing, joined, time_rows
from birdplane_keras.benchmark.network_rows import CONTESTANTS
from birdplane_keras.benchmark.network_run import TIMED
from birdplane_keras.benchmark.network_tables import render_networks
from birdplane_keras.benchmark.networks import NETWORKS
from birdplane_keras.benchmark.networks.sequences import UNITS
from birdplane_keras.benchmark.rows import BASE, JIT, ROWS, Row
from birdplane_keras.benchmark.tables import render_markdown

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_a_quick_benchmark_measures_every_row_within_a_minute(tmp_path, data_dir):
    command = [sys.executable, "scripts/benchmark.py", "--quick", "--out", str(tmp_path), "--data-dir", str(data_dir)]
    started = time.monotonic()
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "benchmark.json").read_text())
    for preset in ("narrow", "wide"):
        rows = {row["name"]: row for row in report["presets"][preset]}
        assert set(rows) == set(run.QUICK)
        assert rows[BASE]["ratio"] == rows[BASE]["ratio_min"] == rows[BASE]["ratio_max"] == 1
        assert all(row["ratio_min"] <= row["ratio"] <= row["ratio_max"] for row in rows.values())
        assert all(row["milliseconds_per_step"] > 0 for row in rows.values())
    assert {"python", "torch", "keras", "device", "threads"} <= report["environment"].keys()
    assert "exact, tensors" in result.stdout
    assert time.monotonic() - started < 60


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--preset", "tall"], "expected a preset among narrow, wide, received 'tall'"),
        (["--rounds", "0"], "expected 1 round or more, received 0"),
        (["--quick", "--tables", "README.md"], "expected a whole run on CIFAR-10 for --tables"),
        (
            ["--networks", "tall"],
            "expected networks among lenet, mlp, resnet20, mobilenet, unet, autoencoder, gru, lstm,",
        ),
        (["--networks", "lenet", "--tables", "README.md"], "expected all networks for --tables"),
        (["--networks", "lenet", "--processes", "0"], "expected --processes of at least 1"),
        (["--device", "warp"], "expected a device that this machine has"),
    ],
)
def test_an_unusable_request_is_one_line_and_exit_2(flags, line, tmp_path, capsys):
    assert cli.main([*flags, "--out", str(tmp_path / "out")]) == 2
    errors = capsys.readouterr().err
    assert line in errors
    assert errors.count("\n") == 1


def test_rounds_are_interleaved_and_the_first_does_not_count():
    calls = []
    rows = [Row(name=name, epoch=lambda name=name: calls.append(name)) for name in (BASE, "b")]
    timings = time_rows(rows, rounds=2, steps=10)
    assert calls == [BASE, "b"] * 3
    assert [len(timing.seconds) for timing in timings] == [2, 2]
    assert timings[0].ratios == [1, 1]


def test_rounds_of_several_processes_count_alike():
    one, other = (Timing(name="b", seconds=[n], ratios=[n], steps=2) for n in (1.0, 3.0))
    (timing,) = joined([[one], [other]])
    assert (timing.seconds, timing.report()["ratio"], timing.report()["rounds"]) == ([1.0, 3.0], 2.0, 2)


def test_a_ratio_is_the_median_over_rounds():
    report = Timing(name="b", seconds=[2.0, 4.0, 9.0], ratios=[1.0, 3.0, 2.0], steps=2).report()
    assert (report["ratio"], report["ratio_min"], report["ratio_max"]) == (2.0, 1.0, 3.0)
    assert report["milliseconds_per_step"] == 2000


@pytest.fixture
def small_task(port_data):
    (x, y), _ = port_data
    return run.build_task("narrow", x[:80], y[:80], device="cpu", hidden_layers=(4,))


@pytest.mark.parametrize("name", [name for name in ROWS if name != JIT])
def test_a_row_trains_an_epoch_whenever_it_is_called(small_task, name):
    row = ROWS[name](small_task)
    row.epoch()
    row.epoch()


@pytest.mark.slow
def test_peak_memory_is_that_of_a_process_of_its_own(small_task):
    assert 100 < memory.peak_memory(run.epoch_of, BASE, small_task, device="cpu") < 3_000


def test_sizes_are_measured_for_the_rows_that_are_compared(small_task):
    (entry,) = run.measure_sizes({80: small_task}, rounds=1, progress=lambda line: None)
    assert entry["size"] == 80
    assert [row["name"] for row in entry["rows"]] == list(run.COMPARED)


def test_a_whole_run_is_timed_over_its_epochs(port_data):
    (x, y), _ = port_data
    task = run.build_task("narrow", x[:80], y[:80], device="cpu", hidden_layers=(4,), epochs=2)
    reports = run.measure_whole_run(task, progress=lambda line: None)
    assert [entry["name"] for entry in reports] == list(run.COMPARED)
    assert all(entry["epochs"] == 2 and entry["seconds"] > 0 for entry in reports)


def test_a_row_that_this_machine_cannot_run_is_named_and_not_measured(small_task, monkeypatch):
    def fail(task):
        raise RuntimeError("no working C++ compiler\nand more")

    monkeypatch.setitem(ROWS, run.JIT, fail)
    names = (BASE, run.JIT)
    rows = run.measure_preset(small_task, names, rounds=1, progress=lambda line: None)
    assert rows[-1] == {"name": run.JIT, "not_measured": "no working C++ compiler"}


def test_the_table_holds_what_was_measured():
    figures = {"ratio": 0.98, "ratio_min": 0.9, "ratio_max": 1.1, "rounds": 15}
    rows = [{"name": BASE, **figures}, {"name": "jit", **figures, "seconds_to_compile": 31.4}]
    table = render_markdown(
        {
            "presets": {"narrow": rows, "wide": rows},
            "batch_sizes": [{"size": 1024, "rows": rows}],
            "date": "2026-01-02",
            "environment": {"device": "cpu", "threads": 2, "python": "3", "torch": "2", "keras": "3"},
        }
    )
    assert "| jit | 0.98 (0.90 to 1.10), after 31 s of compiling |" in table
    assert "| 1,024 | 0.98 | 0.98 |" in table
    assert "the median of 15 interleaved rounds" in table


@pytest.mark.parametrize("layout", ["channels_last", "channels_first"])
def test_a_network_is_the_same_one_on_both_sides(layout):
    for network in NETWORKS.values():
        module, model = network.module(), network.compiled_model(layout)
        x, y = network.draw(2)
        outputs = module(torch.from_numpy(x))
        assert (
            tuple(model(network.as_laid_out(x, layout)).shape)
            == network.as_laid_out(outputs.detach().numpy(), layout).shape
        )
        assert torch.isfinite(network.torch_loss(outputs, torch.from_numpy(y)))
        trained = sum(parameter.numel() for parameter in module.parameters())
        second_bias = 4 * UNITS if network.name == "lstm" else 0  # of which Keras has one
        assert sum(weight.value.numel() for weight in model.trainable_weights) == trained - second_bias


class Pretended:
    """Stands for a contestant in a process of its own; stock Keras' jit cannot be had."""

    started: ClassVar[list] = []

    def __init__(self, network, layout, steps, device, name):
        self.name = name
        self.started.append(name)

    def ask(self, what, *arguments):
        if "jit" in self.name:
            raise RuntimeError("no compiler")
        return 100.0

    def end(self):
        pass


def test_each_contestant_is_timed_in_several_processes(monkeypatch):
    monkeypatch.setattr(network_run, "Isolated", Pretended)
    monkeypatch.setattr(Pretended, "started", [])
    task = network_run.NetworkTask(network=NETWORKS["mlp"], layout="channels_last", steps=2, device="cpu")
    told = []
    report = network_run.measure_network(task, rounds=3, processes=2, quick=False, progress=told.append)
    assert {Pretended.started.count(name) for name in report["megabytes"]} == {2}
    assert [row["rounds"] for row in report["training"]] == [6] * (len(CONTESTANTS) - 1)
    assert report["not_measured"] == {"stock fit, jit_compile": "no compiler"}
    assert Pretended.started.count("stock fit, jit_compile") == 1
    assert told[0] == "mlp, 1 of 2: hand-written PyTorch"


@pytest.mark.slow
def test_a_quick_look_at_a_network(tmp_path, capsys):
    assert cli.main(["--networks", "lenet", "lstm", "--quick", "--out", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "networks.json").read_text())
    assert [network["name"] for network in report["networks"]] == ["lenet", "lstm"]
    for network in report["networks"]:
        assert not network["not_measured"]
        assert all(50 < megabytes < 20_000 for megabytes in network["megabytes"].values())
        for what in TIMED:
            assert {"hand-written PyTorch", "stock fit", "exact", "fused"} <= {row["name"] for row in network[what]}
    for line in ("| training | stock fit |", "| peak memory of the process that trains, MB | hand-written PyTorch |"):
        assert line in render_networks(report)
    assert "predict, one by one" in capsys.readouterr().out

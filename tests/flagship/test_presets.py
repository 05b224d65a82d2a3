"""Every experiment of the article as a preset: trained on both sides, judged, and bit-exact."""

import dataclasses
import json

import numpy as np
import pytest
import torch

import birdplane_keras.training
from birdplane_keras import cli
from birdplane_keras.data import batches
from birdplane_keras.data.inputs import epoch_shifts
from birdplane_keras.parity.core import training
from birdplane_keras.parity.core.breaks import Break
from birdplane_keras.recipe import PRESETS, Recipe
from birdplane_keras.reporting.presets import describe_network, describe_training, render_list
from torch_reference.recipe import PRESETS as REFERENCE_PRESETS
from torch_reference.recipe import Recipe as ReferenceRecipe
from torch_reference.training import OneHotMSELoss
from torch_reference.training import train as train_reference

pytestmark = pytest.mark.usefixtures("loaded_once")
slow = pytest.mark.slow


def compare(out, *flags):
    """Runs `compare.py`; returns its exit status and its report."""
    status = cli.compare(["--epochs", "1", "--out", str(out), *flags])
    return status, json.loads((out / "report.json").read_text())


@pytest.mark.parametrize("preset", [pytest.param(name, marks=slow) for name in PRESETS if name != "narrow"])
def test_every_preset_is_bit_exact(tmp_path, preset):
    """`narrow` is in test_comparison.py; all epochs are trained by scripts/reproduce.py."""
    status, report = compare(tmp_path, "--preset", preset)
    assert (status, report["verdict"], report["churn"]) == (0, "bit-exact", 0)
    assert report["keras"]["weights_sha256"] == report["torch"]["weights_sha256"]
    with np.load(tmp_path / "weights.npz") as weights:
        assert sum(weights[name].size for name in weights.files if name.startswith("torch/")) == sum(
            report["torch"]["parameter_counts"]
        )


@slow
def test_the_convolutions_are_bit_exact_on_two_threads_too(tmp_path):
    """On two threads PyTorch adds up in another order, and so do both sides."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        status, report = compare(tmp_path, "--preset", "convolution")
    finally:
        torch.set_num_threads(threads)
    assert (status, report["verdict"], report["environment"]["threads"]) == (0, "bit-exact", 2)


@slow
def test_a_new_preset_is_one_entry_on_each_side(tmp_path, monkeypatch):
    fields = {"name": "tiny", "hidden_layers": (16,), "head": "logits", "loss": "cross_entropy", "largest_shift": 2}
    monkeypatch.setitem(PRESETS, "tiny", Recipe(**fields))
    monkeypatch.setitem(REFERENCE_PRESETS, "tiny", ReferenceRecipe(**fields))
    status, report = compare(tmp_path, "--preset", "tiny")
    assert (status, report["verdict"]) == (0, "bit-exact")
    assert report["keras"]["parameter_counts"] == [3072 * 16, 16, 32, 2]
    assert "tiny         3072-16-2: logits and cross-entropy" in render_list(PRESETS, {"presets": {}})


def test_an_entry_on_one_side_only_is_the_first_rung_that_breaks(tmp_path, monkeypatch):
    fields = {"name": "tiny", "hidden_layers": (16,), "head": "logits", "loss": "cross_entropy"}
    monkeypatch.setitem(PRESETS, "tiny", Recipe(**fields, largest_shift=2))
    monkeypatch.setitem(REFERENCE_PRESETS, "tiny", ReferenceRecipe(**fields))
    status, report = compare(tmp_path, "--preset", "tiny")
    assert status == 1
    assert (report["first_failure"]["rung"], report["first_failure"]["field"]) == ("recipe", "largest_shift")


def draw_other_shifts(monkeypatch):
    monkeypatch.setattr(batches, "epoch_shifts", lambda size, *, seed, **other: epoch_shifts(size, seed=1, **other))


def leave_the_images_where_they_are(monkeypatch):
    monkeypatch.setattr(batches, "shift_pixels", lambda x, shifts: x)


@slow
@pytest.mark.parametrize("sabotage", [draw_other_shifts, leave_the_images_where_they_are])
def test_another_augmentation_is_seen_before_training_and_named(tmp_path, monkeypatch, sabotage):
    sabotage(monkeypatch)
    status, report = compare(tmp_path, "--preset", "shifted")
    assert status == 1
    assert report["first_failure"]["rung"] == "data"
    assert report["first_failure"]["tensor"] == "x_train in epoch 0"
    assert report["diagnosis"][0]["cause"] == "augmentation"
    assert "examples differ in x_train in epoch 0, and without" in report["diagnosis"][0]["evidence"]


def few_steps(preset, reference_data, **changes):
    """Weights and step losses of PyTorch after three short epochs of a preset."""
    recipe = dataclasses.replace(REFERENCE_PRESETS[preset], epochs=3, **changes)
    trained = train_reference(recipe, reference_data[0][:200], reference_data[1][:64])
    return {name: value.tobytes() for name, value in trained.weights.items()}, trained.step_losses.tobytes()


def test_log_softmax_with_nll_is_cross_entropy_to_the_last_bit(reference_data):
    """The article's claim, in PyTorch itself; scripts/reproduce.py shows it over 100 epochs."""
    assert few_steps("wide", reference_data) == few_steps("wide-nll", reference_data)
    assert few_steps("wide", reference_data)[0] != few_steps("wide-nll", reference_data, learning_rate=0.011)[0]


def test_squared_error_is_against_one_hot_rows():
    loss = OneHotMSELoss()(torch.tensor([[0.25, 0.75], [1.0, 0.0]]), torch.tensor([1, 1]))
    assert float(loss) == pytest.approx((0.0625 + 0.0625 + 1 + 1) / 4)
    ours = birdplane_keras.training.build_loss(PRESETS["softmax-mse"])
    assert float(ours(np.array([1, 1]), np.float32([[0.25, 0.75], [1.0, 0.0]]))) == pytest.approx(float(loss))


def test_a_preset_is_described_from_its_fields():
    assert describe_network(PRESETS["convolution"]) == "3072-16 3x3-8 3x3-32-2"
    told = describe_training(PRESETS["per-sample"])
    assert told == "LogSoftmax and NLL, rate 0.01, batches of 1, in file order, 1 epoch"
    assert "shifted by up to 4 pixels" in describe_training(PRESETS["shifted"])


@pytest.mark.slow
@pytest.mark.parametrize("faulty", [False, True])
def test_rounding_that_has_grown_is_not_the_last_word(tmp_path, monkeypatch, faulty):
    """Where both sides make the same step from one state, the run goes on from it; where they do not, it has broken."""
    import keras

    if faulty:
        schedule = keras.optimizers.schedules.PiecewiseConstantDecay([50], [1e-2, 0.999e-2])
        monkeypatch.setattr(birdplane_keras.training, "build_optimizer", lambda recipe: keras.optimizers.SGD(schedule))
    unpatched, met = training.train_to_break, []

    def break_at_first(bench, together):
        met.append(unpatched(bench, together))
        return Break(tensor="loss", step=51, agreed=50) if len(met) == 1 else met[-1]

    monkeypatch.setattr(training, "train_to_break", break_at_first)
    status, report = compare(tmp_path, "--preset", "small", "--engine", "stock")
    assert (status, report["verdict"]) == ((1, "diverged") if faulty else (0, "rounding-only"))
    assert len(met) == (1 if faulty else 2)
    assert any("rounding had grown by steps [51]" in note for note in report["notes"]) != faulty

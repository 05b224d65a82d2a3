"""The whole ladder on real images: clean sides pass, and each sabotage of the Keras side is named at its rung."""

import dataclasses
import json

import keras
import numpy as np
import pytest

import birdplane_keras.data
import birdplane_keras.model
import birdplane_keras.training
import torch_reference.training
from birdplane_keras import cli
from birdplane_keras.data.batches import EpochBatches
from birdplane_keras.flagship.port import Port
from birdplane_keras.parity.core.rungs import names as rung_names
from birdplane_keras.training import StepCrossentropy
from flagship.contract import check_contract

pytestmark = pytest.mark.usefixtures("loaded_once")


def compare(out, *flags):
    """Runs `compare.py`; returns its exit status and its report."""
    status = cli.compare(["--epochs", "1", "--out", str(out), *flags])
    return status, json.loads((out / "report.json").read_text())


@pytest.mark.parametrize(
    ("preset", "engine", "verdict"),
    [
        ("narrow", "exact", "bit-exact"),
        pytest.param("narrow", "fused", "rounding-only", marks=pytest.mark.slow),
        pytest.param("narrow", "stock", "rounding-only", marks=pytest.mark.slow),
        pytest.param("wide", "exact", "bit-exact", marks=pytest.mark.slow),
    ],
)
def test_clean_sides_are_the_same(tmp_path, preset, engine, verdict, capsys):
    status, report = compare(tmp_path, "--preset", preset, "--engine", engine)
    assert status == 0
    check_contract(report)
    assert (report["engine"], report["verdict"]) == (engine, verdict)
    differing = sum(check["bits_differing"] for check in report["checks"])
    assert (differing == 0) == (verdict == "bit-exact")
    distances = json.loads((tmp_path / "series.json").read_text())["trajectory"]["weight_distances"]
    assert (distances["envelope"] is None) == (verdict == "bit-exact")  # no noise to measure
    sampled = distances["sampled"]
    assert sampled["steps"] == list(range(1, 158))
    assert sampled["sides"][-1] <= distances["sides"][-1]
    assert (max(sampled["sides"]) == 0) == (verdict == "bit-exact")
    assert (sampled["envelope"] is None) == (verdict == "bit-exact")
    assert report["diagnosis"] == []
    assert [check["name"] for check in report["checks"]] == rung_names()
    assert all(check["passed"] for check in report["checks"])
    assert report["first_failure"] is None
    assert report["churn"] == 0
    assert sum(map(sum, report["keras"]["confusion_matrix"])) == 2_000
    printed = capsys.readouterr().out
    assert verdict in printed
    assert "Confusion matrices" in printed
    assert "Classification reports" in printed
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "confusion_matrices.png",
        "curves.png",
        "details.npz",
        "report.html",
        "report.json",
        "series.json",
        "weight_distances.png",
        "weights.npz",
    ]


# --- sabotage: each function breaks one thing on the Keras side -------------------------------------------------------


def declare_another_rate(monkeypatch):
    recipe = dataclasses.replace(birdplane_keras.recipe.PRESETS["narrow"], learning_rate=1.1e-2)
    monkeypatch.setitem(birdplane_keras.recipe.PRESETS, "narrow", recipe)


def use_another_rate(monkeypatch):
    monkeypatch.setattr(birdplane_keras.training, "build_optimizer", lambda recipe: keras.optimizers.SGD(1.1e-2))


def use_another_order(monkeypatch):
    def build(data, recipe):
        return EpochBatches(*data, batch_size=recipe.batch_size, seed=recipe.seed + 1)

    monkeypatch.setattr(birdplane_keras.training, "build_train_batches", build)


def drop_the_last_batch(monkeypatch):
    monkeypatch.setattr(EpochBatches, "__len__", lambda self: len(self.x) // self.batch_size)


def start_from(monkeypatch, change):
    build = Port.new_model

    def build_changed(self):
        model = build(self)
        model.set_weights(change(model.get_weights()))
        return model

    monkeypatch.setattr(Port, "new_model", build_changed)


def transpose_a_kernel(monkeypatch):
    start_from(monkeypatch, lambda weights: [weights[0].T.reshape(weights[0].shape), *weights[1:]])


def plant_a_nan(monkeypatch):
    def change(weights):
        weights[2][7, 1] = np.nan
        return weights

    start_from(monkeypatch, change)


def move_a_weight(monkeypatch):
    def change(weights):
        weights[0][5, 3] = np.nextafter(weights[0][5, 3], np.float32(1))
        return weights

    start_from(monkeypatch, change)


def sum_the_loss(monkeypatch):
    def build(recipe):
        loss = StepCrossentropy(from_logits=True)
        loss.reduction = "sum"
        return loss

    monkeypatch.setattr(birdplane_keras.training, "build_loss", build)


def swap_the_labels(monkeypatch):
    (x, y), validation = birdplane_keras.data.load_data()
    monkeypatch.setattr(birdplane_keras.data, "load_data", lambda *_, **__: ((x, 1 - y), validation))


def flip_one_pixel(monkeypatch):
    train, (x, y) = birdplane_keras.data.load_data()
    x = x.copy()
    x[1999, 31, 31, 2] ^= 1
    monkeypatch.setattr(birdplane_keras.data, "load_data", lambda *_, **__: (train, (x, y)))


def build_with(monkeypatch, change):
    build = birdplane_keras.model.build_model

    def build_changed(recipe):
        return change(build(recipe))

    monkeypatch.setattr(birdplane_keras.model, "build_model", build_changed)


def use_relu(monkeypatch):
    def change(model):
        model.layers[0].activation = keras.activations.relu
        return model

    build_with(monkeypatch, change)


def apply_softmax_before_a_loss_that_applies_it(monkeypatch):
    def change(model):
        model.layers[-1].activation = keras.activations.softmax
        return model

    build_with(monkeypatch, change)


def freeze_a_layer(monkeypatch):
    def change(model):
        model.layers[0].trainable = False
        return model

    build_with(monkeypatch, change)


def decay_the_rate(monkeypatch):
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([50], [1e-2, 0.999e-2])
    monkeypatch.setattr(birdplane_keras.training, "build_optimizer", lambda recipe: keras.optimizers.SGD(schedule))


def after_training(monkeypatch, change):
    train = birdplane_keras.training.train
    monkeypatch.setattr(birdplane_keras.training, "train", lambda *args, **options: change(train(*args, **options)))


def misreport_the_accuracy(monkeypatch):
    def change(done):
        done.history["validation_accuracy"][-1] = 0.5
        return done

    after_training(monkeypatch, change)


def save_the_wrong_bias(monkeypatch):
    def change(done):
        path = list(done.weights)[1]
        return dataclasses.replace(done, weights=done.weights | {path: done.weights[path] + np.float32(1e-5)})

    after_training(monkeypatch, change)


def predict_in_another_order(monkeypatch):
    after_training(
        monkeypatch,
        lambda done: dataclasses.replace(done, validation_logits=np.roll(done.validation_logits, 1, axis=0)),
    )


slow = pytest.mark.slow
SABOTAGE = [  # each trains only where the rungs before training do not see it
    (declare_another_rate, "recipe", {"field": "learning_rate"}),
    pytest.param(swap_the_labels, "data", {"tensor": "y_train"}, marks=slow),
    pytest.param(flip_one_pixel, "data", {"tensor": "x_validation"}, marks=slow),
    (use_another_order, "batch_order", {"epoch": 0, "step": 0}),
    pytest.param(drop_the_last_batch, "batch_order", {"epoch": 0, "step": 156}, marks=slow),
    pytest.param(freeze_a_layer, "parameter_counts", {"tensor": "0.weight"}, marks=slow),
    (transpose_a_kernel, "initial_weights", {"tensor": "0.weight"}),
    pytest.param(plant_a_nan, "initial_weights", {"tensor": "2.weight", "index": [1, 7]}, marks=slow),
    pytest.param(move_a_weight, "initial_weights", {"tensor": "0.weight", "index": [3, 5]}, marks=slow),
    pytest.param(use_relu, "forward", {"tensor": "outputs"}, marks=slow),
    pytest.param(apply_softmax_before_a_loss_that_applies_it, "forward", {"tensor": "outputs"}, marks=slow),
    pytest.param(sum_the_loss, "loss", {"tensor": "loss"}, marks=slow),
    pytest.param(use_another_rate, "first_update", {"tensor": "0.weight"}, marks=slow),
    pytest.param(decay_the_rate, "trajectory", {"tensor": "2.bias", "step": 51, "epoch": 0, "batch": 51}, marks=slow),
    pytest.param(save_the_wrong_bias, "final_weights", {"tensor": "0.bias"}, marks=slow),
    pytest.param(predict_in_another_order, "predictions", {"tensor": "outputs"}, marks=slow),
    pytest.param(misreport_the_accuracy, "accuracy", {"tensor": "Keras's metric against the recount"}, marks=slow),
]


@pytest.mark.parametrize(("sabotage", "rung", "where"), SABOTAGE, ids=lambda value: getattr(value, "__name__", ""))
def test_a_sabotaged_keras_side_exits_1_and_names_the_first_rung(tmp_path, monkeypatch, capsys, sabotage, rung, where):
    sabotage(monkeypatch)
    status, report = compare(tmp_path)
    assert status == 1
    assert report["verdict"] == "diverged"
    assert report["first_failure"]["rung"] == rung
    assert where.items() <= report["first_failure"].items()
    before = [check["passed"] for check in report["checks"][: rung_names().index(rung)]]
    assert all(before)
    assert f"First broken rung: {rung}" in capsys.readouterr().out
    if sabotage is decay_the_rate:
        assert report["diagnosis"][0]["cause"] == "schedule"
        assert "the rate of step 51 is 0.00999 in Keras, 0.01 in PyTorch" in report["diagnosis"][0]["evidence"]


def test_nothing_is_trained_once_a_rung_before_training_has_failed(tmp_path, monkeypatch):
    swap_the_labels(monkeypatch)
    monkeypatch.setattr(torch_reference.training, "train", lambda *_, **__: pytest.fail("trained"))
    _, report = compare(tmp_path)
    assert report["keras"]["weights_sha256"] is None
    assert {check["reason"] for check in report["checks"][2:]} == {"data failed first"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json", "series.json"]


def test_an_interruption_leaves_the_earlier_report_whole_and_nothing_else(tmp_path, monkeypatch, capsys):
    (tmp_path / "report.json").write_text('{"old": true}')

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(birdplane_keras.training, "train", interrupt)
    assert cli.compare(["--epochs", "1", "--out", str(tmp_path)]) == 130
    assert json.loads((tmp_path / "report.json").read_text()) == {"old": True}
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]
    assert "interrupted" in capsys.readouterr().err

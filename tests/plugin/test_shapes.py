"""Shapes that vary, and large steps: traced at once, once it can pay back, or not at all, and told."""

import warnings
from collections.abc import Iterable

import keras
import numpy as np
import pytest
import torch
from keras import layers

from birdplane_keras import torch_plugin
from birdplane_keras.torch_plugin import TorchPluginWarning, patience
from birdplane_keras.torch_plugin.entries import Entries, Entry
from birdplane_keras.torch_plugin.patience import Patience
from plugin.networks import COLUMNS, draw, network
from plugin.training import entries


def train(model: keras.Model, x: np.ndarray, y: np.ndarray) -> None:
    for _ in range(3):
        model.train_on_batch(x, y)


class Loop(layers.Layer):
    """Adds up the steps of a sequence one by one, so that its length must be a number."""

    def call(self, x):
        total = 0.0
        for step in range(x.shape[1]):
            total = total + x[:, step]
        return total


def loop() -> keras.Model:
    return keras.Sequential([keras.Input((None, COLUMNS)), Loop(), layers.Dense(3)])


def ask_for_lengths(model: keras.Model, lengths: Iterable[int]) -> None:
    for length in lengths:
        model.predict_on_batch(draw(4, length, COLUMNS))


def test_the_first_four_shapes_are_traced_and_the_others_wait_with_a_warning():
    model = torch_plugin.attach(loop())
    with pytest.warns(TorchPluginWarning, match="at first, because its shapes are many") as told:
        ask_for_lengths(model, range(2, 14))
    assert len([each for each in told if issubclass(each.category, TorchPluginWarning)]) == 1
    entries = torch_plugin.traces(model)
    assert [entry.step is not None for entry in entries] == [*[True] * 4, *[False] * 8]
    explained = torch_plugin.explain(model)
    assert "its shape is one of many: tracing waits until its" in explained
    reason = "it needs the size of axis 1 of tensor 0 of a batch as a number"
    assert f"predict: each size has its own trace, because {reason}" in explained


def test_a_shape_that_was_seen_often_is_traced(monkeypatch):
    monkeypatch.setattr(patience, "SAVED", 1e6)
    model = torch_plugin.attach(loop())
    with pytest.warns(TorchPluginWarning, match="its shapes are many"):
        ask_for_lengths(model, (2, 3, 4, 5, 6, 6, 6))
    assert [entry.step is not None for entry in torch_plugin.traces(model)] == [True] * 5


def test_strict_does_not_wait():
    model = torch_plugin.attach(loop(), strict=True)
    ask_for_lengths(model, range(2, 8))
    assert [entry.step is not None for entry in torch_plugin.traces(model)] == [True] * 6


def test_no_more_than_so_many_traces_are_held(monkeypatch):
    monkeypatch.setattr(patience, "AT_ONCE", 100)
    model = torch_plugin.attach(loop(), traces=3)
    batches = [draw(4, length, COLUMNS) for length in range(2, 8)] * 2
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", TorchPluginWarning)
        predicted = [model.predict_on_batch(batch) for batch in batches]
    told = [str(each.message) for each in caught if issubclass(each.category, TorchPluginWarning)]
    assert len(told) == 1
    assert "3 traces of other shapes and states are held, the most that `attach(..., traces=3)` allows" in told[0]
    assert sum(entry.step is not None for entry in torch_plugin.traces(model)) == 3
    assert len(predicted) == 12


def test_a_large_step_waits_until_tracing_can_pay_back(monkeypatch):
    monkeypatch.setattr(patience, "LARGE", 5)
    model = network()
    model.compile(optimizer="sgd", loss="mse")
    torch_plugin.attach(model)
    x, y = draw(8, COLUMNS), draw(8, 3)
    with pytest.warns(TorchPluginWarning, match="at first, because it is large"):
        train(model, x, y)
    assert "tracing waits until it can pay back" in torch_plugin.explain(model)
    monkeypatch.setattr(patience, "SAVED", 1e6)
    for _ in range(2):
        model.train_on_batch(x, y)
    assert "stock path" not in torch_plugin.explain(model)


@pytest.mark.parametrize(
    ("wait", "steps", "pays"),
    [
        (17.0, 100, False),
        (17.0, 400, True),
        (0.5, 60, False),
        (0.5, 100, True),
    ],  # a recurrent network; one of few calls
)
def test_it_waits_for_what_tracing_takes_by_calls_or_by_steps(wait, steps, pays):
    entry = Entry(key="", kind="train", batch="", step=None, wait=wait, steps=steps + 1, stock_seconds=steps * 0.02)
    assert Patience(Entries(4), waits=True).pays_back(entry) == pays


def test_explain_tells_what_tracing_took_and_saves():
    model = network()
    model.compile(optimizer="sgd", loss="mse")
    torch_plugin.attach(model, audit="step", strict=True)
    for _ in range(3):
        model.train_on_batch(draw(8, COLUMNS), draw(8, 3))
    assert "time: a stock step took" in torch_plugin.explain(model)


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        (lambda: torch.autograd.set_detect_anomaly(True), "anomaly mode is on"),
        (lambda: torch.autocast("cpu", dtype=torch.bfloat16), "`torch.autocast` is on"),
        (lambda: torch.device("cpu"), "a mode that sees PyTorch's calls is on"),
    ],
)
def test_a_mode_of_pytorch_is_named(mode, words):
    model = network()
    model.compile(optimizer="sgd", loss="mse")
    torch_plugin.attach(model)
    with mode(), pytest.warns(TorchPluginWarning, match=words):
        model.train_on_batch(draw(8, COLUMNS), draw(8, 3))


def test_steps_that_wait_end_in_the_bits_of_stock_keras(monkeypatch):
    """Kernels lie as Keras lays them, also once another kind of step is traced."""
    monkeypatch.setattr(patience, "LARGE", 20)
    weights = []
    for attached in (False, True):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((30,)), layers.Dense(64, activation="tanh"), layers.Dense(2)])
        model.compile("adam", "mse")
        if attached:
            torch_plugin.attach(model)
            with pytest.warns(TorchPluginWarning, match="at first, because it is large"):
                train(model, draw(16, 30), draw(16, 2))
        else:
            train(model, draw(16, 30), draw(16, 2))
        model.predict_on_batch(draw(16, 30))
        assert not attached or {each.kind: each.step is not None for each in entries(model)} == {
            "train": False,
            "predict": True,
        }
        train(model, draw(16, 30), draw(16, 2))
        assert all(weight.value.is_contiguous() for weight in model.weights)
        weights.append(model.get_weights())
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(*weights, strict=True))

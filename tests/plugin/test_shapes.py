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
from plugin.networks import COLUMNS, draw, network


def ask(model: keras.Model, sizes: Iterable[int]) -> None:
    for rows in sizes:
        model.predict_on_batch(draw(rows, COLUMNS))


def train(model: keras.Model, x: np.ndarray, y: np.ndarray) -> None:
    for _ in range(3):
        model.train_on_batch(x, y)


def of_any_length() -> keras.Model:
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((None, 3)), layers.Conv1D(4, 3, padding="same"), layers.GlobalMaxPooling1D()])
    model.compile(optimizer="sgd", loss="mse")
    return model


def test_the_first_four_shapes_are_traced_and_the_others_wait_aloud():
    model = torch_plugin.attach(network())
    with pytest.warns(TorchPluginWarning, match="at first, because its shapes are many") as told:
        ask(model, range(1, 13))
    assert len([each for each in told if issubclass(each.category, TorchPluginWarning)]) == 1
    entries = torch_plugin.traces(model)
    assert [entry.step is not None for entry in entries] == [*[True] * 4, *[False] * 8]
    assert "its shape is one of many: tracing waits until its" in torch_plugin.explain(model)


def test_a_shape_that_was_seen_often_is_traced(monkeypatch):
    monkeypatch.setattr("birdplane_keras.torch_plugin.attachment.SAVED", 1e6)
    model = torch_plugin.attach(network())
    with pytest.warns(TorchPluginWarning, match="its shapes are many"):
        ask(model, (1, 2, 3, 4, 5, 5, 5))
    assert [entry.step is not None for entry in torch_plugin.traces(model)] == [True] * 5


def test_strict_does_not_wait():
    model = torch_plugin.attach(network(), strict=True)
    ask(model, range(1, 7))
    assert [entry.step is not None for entry in torch_plugin.traces(model)] == [True] * 6


def test_no_more_than_so_many_traces_are_held(monkeypatch):
    monkeypatch.setattr(patience, "AT_ONCE", 100)
    model = torch_plugin.attach(network(), traces=3)
    batches = [draw(rows, COLUMNS) for rows in range(1, 7)] * 2
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", TorchPluginWarning)
        predicted = [model.predict_on_batch(batch) for batch in batches]
    told = [str(each.message) for each in caught if issubclass(each.category, TorchPluginWarning)]
    assert len(told) == 1
    assert "3 traces of other shapes and states are held, the most that `attach(..., traces=3)` allows" in told[0]
    assert sum(entry.step is not None for entry in torch_plugin.traces(model)) == 3
    assert len(predicted) == 12


def test_every_length_gives_stocks_result():
    stock, attached = of_any_length(), torch_plugin.attach(of_any_length())
    for length in [*range(3, 12), *range(3, 12)]:
        x, y = draw(4, length, 3, seed=length), draw(4, 4)
        assert attached.train_on_batch(x, y) == pytest.approx(stock.train_on_batch(x, y), rel=1e-5)
    for one, other in zip(attached.get_weights(), stock.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_large_step_waits_until_tracing_can_pay_back(monkeypatch):
    monkeypatch.setattr(patience, "LARGE", 5)
    model = network()
    model.compile(optimizer="sgd", loss="mse")
    torch_plugin.attach(model)
    x, y = draw(8, COLUMNS), draw(8, 3)
    with pytest.warns(TorchPluginWarning, match="at first, because it is large"):
        train(model, x, y)
    assert "tracing waits until it can pay back" in torch_plugin.explain(model)
    monkeypatch.setattr("birdplane_keras.torch_plugin.attachment.SAVED", 1e6)
    for _ in range(2):
        model.train_on_batch(x, y)
    assert "stock path" not in torch_plugin.explain(model)


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

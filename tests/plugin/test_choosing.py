"""Without an engine, the fastest that keeps the promise is taken, after it was measured."""

import shutil
import time

import keras
import numpy as np
import pytest
import torch
from keras import layers

from birdplane_keras import torch_plugin
from birdplane_keras.torch_plugin import choosing, proving
from birdplane_keras.torch_plugin.codegen import compile_graph
from birdplane_keras.torch_plugin.errors import NotTraceableError
from plugin.networks import CLASSES, COLUMNS, draw, network
from plugin.training import entries

STEPS = 2 * choosing.TIMED + 8


def taking(seconds: float):
    """A compiler whose code takes so much longer than the trace."""

    def compile_slowly(graph, constants, inputs, state):
        replay = compile_graph(graph, constants, state)

        def run(*given):
            time.sleep(seconds)
            with torch.no_grad():
                return replay(*given)

        return run

    return compile_slowly


def trained(promise: str | None, steps: int = STEPS, **attach) -> keras.Model:
    keras.utils.set_random_seed(0)
    model = network(layers.Dropout(0.3, seed=2))
    model.compile(keras.optimizers.Adam(1e-2), "mse", metrics=["mae"])
    if promise is not None:
        torch_plugin.attach(model, promise=promise, strict=True, **attach)
    keras.utils.set_random_seed(1)
    for step in range(steps):
        model.train_on_batch(draw(8, COLUMNS, seed=step), draw(8, CLASSES, seed=30))
    return model


def assert_as_stock(model: keras.Model, steps: int = STEPS) -> None:
    stock = trained(None, steps)
    for ours, theirs in zip(
        [*model.get_weights(), *model.optimizer.variables],
        [*stock.get_weights(), *stock.optimizer.variables],
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_bits_are_promised_unless_said_otherwise():
    assert entries(trained("bits", 2), "train")[0].step.engine == "exact"
    model = network()
    model.compile("sgd", "mse")
    torch_plugin.attach(model)
    assert "is attached, engine exact." in torch_plugin.explain(model)


@pytest.mark.parametrize(("seconds", "engine"), [(0.0, None), (0.01, "fused")])
def test_the_faster_engine_stays_and_each_step_is_made_once(seconds, engine, monkeypatch):
    monkeypatch.setattr(proving, "compile_by_inductor", taking(seconds))
    monkeypatch.setattr(choosing, "PAYS", 0.0)
    model = trained("rounding")
    told = torch_plugin.explain(model)
    assert "is attached, engine fused or compiled, as measured." in told
    assert f"ms compiled ({choosing.TIMED} of each, in turns)" in told
    chosen = entries(model, "train")[0].step.engine
    assert engine in (None, chosen)
    assert ("pay back" in told) == (chosen == "compiled")
    assert_as_stock(model)


def test_a_much_faster_engine_is_taken(monkeypatch):
    """`fused` is made slow here: its steps wait."""
    monkeypatch.setattr(proving, "compile_by_inductor", taking(0.0))
    monkeypatch.setattr(choosing, "PAYS", 0.0)
    timed = choosing._timed

    def slowly(step, data, leaves):
        result, seconds = timed(step, data, leaves)
        return result, seconds + (step.engine == "fused")

    monkeypatch.setattr(choosing, "_timed", slowly)
    model = trained("rounding")
    assert entries(model, "train")[0].step.engine == "compiled"
    assert_as_stock(model)


def test_nothing_is_compiled_for_a_few_steps():
    told = torch_plugin.explain(trained("rounding", 4))
    assert "choice: `fused`, until its steps have taken" in told


def test_what_cannot_be_compiled_stays_fused(monkeypatch):
    def fail(*_):
        raise NotTraceableError("of a test")

    monkeypatch.setattr(proving, "compile_by_inductor", fail)
    monkeypatch.setattr(choosing, "PAYS", 0.0)
    model = trained("rounding")
    assert "choice: `compiled` is the same, because of a test" in torch_plugin.explain(model)
    assert entries(model, "train")[0].step.engine == "fused"
    assert_as_stock(model)


def test_a_change_of_state_ends_the_measurement(monkeypatch):
    monkeypatch.setattr(proving, "compile_by_inductor", taking(0.0))
    monkeypatch.setattr(choosing, "PAYS", 0.0)
    model = trained("rounding", 6)
    stock = trained(None, 6)
    for each in (model, stock):
        each.layers[-1].trainable = False
        each.compile(keras.optimizers.SGD(0.1), "mse", metrics=["mae"])
        for step in range(3):
            each.train_on_batch(draw(8, COLUMNS, seed=step), draw(8, CLASSES, seed=30))
    for ours, theirs in zip(model.get_weights(), stock.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_pytorchs_compiler_is_tried_and_timed(monkeypatch):
    monkeypatch.setattr(choosing, "PAYS", 0.0)
    model = trained("rounding")
    assert "ms compiled" in torch_plugin.explain(model)
    assert_as_stock(model)


@pytest.mark.parametrize("promise", ["speed", 1])
def test_an_unknown_promise_is_told(promise):
    with pytest.raises(ValueError, match="expected a promise among bits, rounding"):
        torch_plugin.attach(network(), promise=promise)

"""The engine `compiled`: what PyTorch's compiler makes of a step is held against the step, and it falls back aloud."""

import shutil

import keras
import numpy as np
import pytest
import torch
from keras import layers

from birdplane_keras import torch_plugin
from birdplane_keras.torch_plugin import TorchPluginError, TorchPluginWarning, proving
from birdplane_keras.torch_plugin.codegen import compile_graph
from birdplane_keras.torch_plugin.errors import NotTraceableError
from plugin.networks import draw
from plugin.training import entries

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")


def model_of_images() -> keras.Model:
    keras.utils.set_random_seed(0)
    inner = [layers.Conv2D(4, 3, activation="relu"), layers.BatchNormalization(), layers.Dropout(0.3, seed=1)]
    model = keras.Sequential([keras.Input((6, 6, 2)), *inner, layers.Dropout(0.2), layers.Flatten(), layers.Dense(2)])
    model.compile(keras.optimizers.Adam(1e-3), "mse")
    return model


def trained(engine: str | None, **attach) -> keras.Model:
    model = model_of_images()
    if engine is not None:
        torch_plugin.attach(model, engine, **attach)
    keras.utils.set_random_seed(1)
    for step in range(6):
        model.train_on_batch(draw(8, 6, 6, 2, seed=step), draw(8, 2, seed=30))
    model.predict(draw(8, 6, 6, 2), verbose=0)
    return model


def assert_as_stock(model: keras.Model) -> None:
    for ours, theirs in zip(model.get_weights(), trained(None).get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


@needs_compiler
@pytest.mark.slow
def test_a_compiled_step_trains_as_in_keras():
    model = trained("compiled", strict=True, audit="step")
    for kind in ("train", "predict"):
        assert entries(model, kind)[0].step.rewrites["compiled"] == 1
    assert_as_stock(model)


@needs_compiler
@pytest.mark.slow
def test_memory_that_lies_otherwise_is_compiled_again():
    model = trained("compiled", strict=True)
    kernel = model.trainable_weights[0].value
    kernel.data = kernel.data.clone(memory_format=torch.contiguous_format)
    model.train_on_batch(draw(8, 6, 6, 2), draw(8, 2))
    assert len(entries(model, "train")) == 2


def test_without_a_compiler_it_runs_as_fused_with_a_warning(monkeypatch):
    def fail(*_):
        raise NotTraceableError("PyTorch's compiler cannot compile it (of a test)")

    monkeypatch.setattr(proving, "compile_by_inductor", fail)
    with pytest.warns(TorchPluginWarning, match=r"runs as in the engine `fused`, because PyTorch's compiler cannot"):
        model = trained("compiled")
    assert "compiled" not in entries(model, "train")[0].step.rewrites
    told = torch_plugin.explain(model)
    assert ": fused, " in told
    assert "not compiled, because PyTorch's compiler cannot compile it (of a test)" in told
    assert_as_stock(model)
    with pytest.raises(TorchPluginError, match="of a test"):
        trained("compiled", strict=True)


def wrong_by(factor: float):
    """A compiler whose code is wrong by a factor."""

    def compile_wrongly(graph, constants, inputs, state):
        replay = torch.no_grad()(compile_graph(graph, constants, state))

        def run(*given):
            return tuple(
                each * factor if each is not None and each.is_floating_point() else each for each in replay(*given)
            )

        return run

    return compile_wrongly


@pytest.mark.parametrize(("factor", "taken"), [(1.0, True), (1.01, False), (float("nan"), False)])
def test_compiled_code_is_held_against_the_step(factor, taken, monkeypatch):
    monkeypatch.setattr(proving, "compile_by_inductor", wrong_by(factor))
    model = model_of_images()
    torch_plugin.attach(model, "compiled")
    x, y = draw(8, 6, 6, 2), draw(8, 2)
    if taken:
        model.train_on_batch(x, y)
    else:
        with pytest.warns(TorchPluginWarning, match="more than rounding"):
            model.train_on_batch(x, y)
    assert ("compiled" in entries(model, "train")[0].step.rewrites) == taken


def test_compiled_code_that_writes_something_else_is_refused(monkeypatch):
    def compile_badly(graph, constants, inputs, state):
        replay = torch.no_grad()(compile_graph(graph, constants, state))

        def run(*given):
            with torch.no_grad():
                state[0].add_(1.0)
            return replay(*given)

        return run

    monkeypatch.setattr(proving, "compile_by_inductor", compile_badly)
    model = model_of_images()
    torch_plugin.attach(model, "compiled")
    before = model.get_weights()
    with pytest.warns(TorchPluginWarning, match=r"writes other tensors|more than rounding"):
        model.train_on_batch(draw(8, 6, 6, 2), draw(8, 2))
    assert abs(model.get_weights()[0] - before[0]).max() < 0.1


def test_a_recurrent_layer_is_one_call_already():
    model = keras.Sequential([keras.Input((5, 4)), layers.LSTM(3), layers.Dense(2)])
    model.compile("sgd", "mse")
    torch_plugin.attach(model, "compiled", strict=True)
    model.train_on_batch(draw(8, 5, 4), draw(8, 2))
    assert "not compiled: PyTorch's own recurrent layer is one call" in torch_plugin.explain(model)


def test_what_is_no_number_at_times_only_is_refused(monkeypatch):
    """Agreement from moved weights explains a bend, and not a number that is none."""
    calls = []

    def compile_badly(graph, constants, inputs, state):
        replay = torch.no_grad()(compile_graph(graph, constants, state))

        def run(*given):
            calls.append(1)
            made = replay(*given)
            return tuple(each * float("nan") if len(calls) == 1 and each is not None else each for each in made)

        return run

    monkeypatch.setattr(proving, "compile_by_inductor", compile_badly)
    model = model_of_images()
    torch_plugin.attach(model, "compiled")
    with pytest.warns(TorchPluginWarning, match="inf away from it, more than rounding"):
        model.train_on_batch(draw(8, 6, 6, 2), draw(8, 2))

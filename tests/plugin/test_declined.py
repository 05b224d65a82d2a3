"""What cannot be traced faithfully runs on the stock path: one warning with the reason, and the stock result."""

import random
import re
import warnings
from contextlib import nullcontext

import keras
import numpy as np
import pytest
import torch
from keras import layers, ops

from birdplane_keras import torch_plugin
from birdplane_keras.torch_plugin import TorchPluginError, TorchPluginWarning
from plugin.networks import CLASSES, COLUMNS, Setup, draw, network, with_loss
from plugin.training import assert_same_training, train


class OwnTrainStep(keras.Sequential):
    def train_step(self, data):
        return super().train_step(data)


class OwnTestStep(keras.Sequential):
    def test_step(self, data):
        return super().test_step(data)


class Branch(layers.Layer):
    """Decides by the numbers that it is given."""

    def call(self, inputs):
        return inputs * 2 if ops.mean(inputs) > 0 else inputs


class BranchInNumPy(layers.Layer):
    """Decides by the numbers that it is given, through NumPy."""

    def call(self, inputs):
        return inputs * 2 if inputs.detach().cpu().numpy().mean() > 0 else inputs


class Counting(layers.Layer):
    """Counts its calls in Python, and multiplies by the count."""

    calls = 0

    def __init__(self):
        super().__init__()
        self.calls = 0

    def call(self, inputs):
        self.calls += 1
        return inputs * (1 + 1 / self.calls)


class NumPyNoise(layers.Layer):
    """Draws from NumPy."""

    def call(self, inputs):
        return inputs + np.random.normal(0, 0.1, inputs.shape[-1]).astype("float32")


class PythonNoise(layers.Layer):
    """Draws one Python number a call."""

    def call(self, inputs):
        return inputs * random.uniform(0.9, 1.1)


class Remembers(layers.Layer):
    """Keeps a tensor from one call to the next."""

    def __init__(self):
        super().__init__()
        self.last = {}

    def call(self, inputs):
        if inputs.is_meta:
            return inputs
        mixed = inputs + 0.1 * self.last.get("mean", 0.0)
        self.last["mean"] = inputs.detach().mean()
        return mixed


def loss_over_an_unseen_tensor():
    """A loss whose tensor is inside an object of C, where nobody sees it replaced."""
    weights = iter(torch.arange(1.0, 1e4).unbind())

    def loss(y_true, y_pred):
        return ops.mean(ops.square(y_pred), axis=-1) * next(weights)

    return with_loss(loss, CLASSES, draw(44, CLASSES, seed=1))


def test_a_step_with_python_side_effects_is_declined():
    setup = loss_over_an_unseen_tensor()
    with pytest.raises(TorchPluginError, match="`tuple_iterator`, whose state cannot be watched"):
        train(setup, "exact", strict=True)


def in_sequence(kind: type, *inner: layers.Layer) -> Setup:
    return Setup(model=kind([keras.Input((COLUMNS,)), *inner, layers.Dense(CLASSES)]))


def hooked(register) -> Setup:
    setup = Setup(model=network())
    register(setup.model.layers[0])
    return setup


def gradient_hook(layer: layers.Layer) -> None:
    layer.kernel.value.register_hook(lambda gradient: gradient * 0.5)


def hook_that_remembers(layer: layers.Layer) -> None:
    seen = []
    layer.register_forward_hook(lambda module, given, made: seen.append(made))


def compiled(**arguments) -> Setup:
    return Setup(model=network(), compile=arguments)


DECLINED = {
    "train_step": (lambda: in_sequence(OwnTrainStep), "the train step .* `train_step` of its own"),
    "test_step": (lambda: in_sequence(OwnTestStep), "the test step .* `test_step` of its own"),
    "run_eagerly": (lambda: compiled(run_eagerly=True), "run_eagerly"),
    "branch": (lambda: in_sequence(keras.Sequential, Branch()), "depends on the numbers in a tensor"),
    "branch in NumPy": (lambda: in_sequence(keras.Sequential, BranchInNumPy()), "takes numbers out of a tensor"),
    "counter": (lambda: in_sequence(keras.Sequential, Counting()), "different results|changes Python state"),
    "NumPy noise": (lambda: in_sequence(keras.Sequential, NumPyNoise()), "`numpy.random.mtrand.RandomState`"),
    "Python noise": (lambda: in_sequence(keras.Sequential, PythonNoise()), "it calls `random.Random.uniform`"),
    "remembers": (lambda: in_sequence(keras.Sequential, Remembers()), "its first call makes tensors that it keeps"),
    "a hook that remembers": (lambda: hooked(hook_that_remembers), "changes Python state: the contents of a list"),
    "gradient hook": (lambda: hooked(gradient_hook), "a hook waits for the gradient"),
}


def build(name: str) -> Setup:
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(1)
    return DECLINED[name][0]()


@pytest.mark.parametrize("name", DECLINED)
def test_a_declined_step_gives_the_stock_result_and_one_warning(name):
    stock = train(build(name), None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", TorchPluginWarning)
        declined = train(build(name), "exact")
    said = [str(each.message) for each in caught if issubclass(each.category, TorchPluginWarning)]
    assert len(said) == len(set(said))
    pattern = DECLINED[name][1]
    assert any(re.search(pattern, each) for each in said), said
    assert "stock path, " in torch_plugin.explain(declined.model)
    # What was not declined, predict say, runs from a trace, and may round as `nn.Linear` does.
    assert_same_training(declined, stock, tolerance=1e-5)
    for key in stock.tensors:
        if "kernel" in key or "optimizer" in key:
            assert declined.tensors[key].tobytes() == stock.tensors[key].tobytes() or name == "test_step"


@pytest.mark.slow
@pytest.mark.parametrize("name", DECLINED)
def test_strict_raises_instead(name):
    with pytest.raises(TorchPluginError, match=DECLINED[name][1]):
        train(build(name), "exact", strict=True)


def test_jit_compile_gives_the_stock_result(monkeypatch):
    """Compiling takes 10 to 30 s; that Keras' own way to it is taken is what matters here."""
    compiled_functions = []
    monkeypatch.setattr(torch, "compile", lambda function: compiled_functions.append(function) or function)

    def make():
        keras.utils.clear_session(free_memory=False)
        keras.utils.set_random_seed(1)
        return compiled(jit_compile=True)

    stock = train(make(), None)
    before = len(compiled_functions)
    with pytest.warns(TorchPluginWarning, match="jit_compile=True"):
        declined = train(make(), "exact")
    assert len(compiled_functions) == 2 * before > 0
    assert_same_training(declined, stock, tolerance=0)


@pytest.mark.parametrize(
    ("register", "reason"),
    [
        (gradient_hook, "a hook waits for the gradient"),
        (lambda layer: layer.register_forward_hook(lambda module, given, made: made * 2), None),  # traced, too
    ],
)
def test_a_hook_that_is_added_later_is_called(register, reason):
    models = []
    for engine in (None, "exact"):
        keras.utils.clear_session(free_memory=False)
        keras.utils.set_random_seed(1)
        setup = Setup(model=network())
        setup.model.compile(**setup.compile)
        models.append(setup.model if engine is None else torch_plugin.attach(setup.model, engine))
    x, y = draw(8, COLUMNS), np.arange(8) % CLASSES
    for model in models:
        model.train_on_batch(x, y)
        register(model.layers[0])
    stock, attached = models
    with pytest.warns(TorchPluginWarning, match=reason) if reason else nullcontext():
        attached.train_on_batch(x, y)
    stock.train_on_batch(x, y)
    for ours, theirs in zip(attached.get_weights(), stock.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_a_train_step_that_is_set_later_is_called():
    model = network()
    model.compile(optimizer="sgd", loss="mse")
    torch_plugin.attach(model, audit="never")
    x, y = draw(8, COLUMNS), draw(8, CLASSES, seed=1)
    model.train_on_batch(x, y)
    model.train_step = lambda data: {"loss": torch.tensor(7.0)}
    with pytest.warns(TorchPluginWarning, match="has a `train_step` of its own"):
        assert model.train_on_batch(x, y) == 7.0


def test_jit_compile_runs_on_the_stock_path():
    model = network()
    model.compile(optimizer="sgd", loss="mse", jit_compile=True)
    torch_plugin.attach(model)
    with pytest.warns(TorchPluginWarning, match="jit_compile=True"):
        model.make_train_function()
    assert "jit_compile" in torch_plugin.explain(model)
    with pytest.raises(TorchPluginError, match="jit_compile"):
        torch_plugin.attach(model, strict=True)


@pytest.mark.slow
def test_a_number_that_changes_too_often_is_declined():
    layer = layers.Dropout(0.5, seed=1)
    model = network(layer)
    model.compile(optimizer="sgd", loss="sparse_categorical_crossentropy")
    torch_plugin.attach(model)
    x, y = draw(8, COLUMNS), np.zeros(8, dtype=int)

    def train_at_many_rates():
        for step in range(10):
            layer.rate = 0.05 * (step + 1)
            model.train_on_batch(x, y)

    with pytest.warns(TorchPluginWarning, match=r"`rate` of Dropout dropout.* has changed 8 times"):
        train_at_many_rates()


def test_a_batch_that_is_not_made_of_tensors_is_declined():
    model = network(out=1)
    model.compile(optimizer="sgd", loss="mse")
    torch_plugin.attach(model)
    model.make_train_function()
    with pytest.warns(TorchPluginWarning, match=r"a batch holds a builtins\.float"):
        model.train_function([(torch.ones(2, COLUMNS), torch.ones(2, 1), 0.5)])


def test_an_input_that_requires_a_gradient_is_declined():
    model = network(out=1)
    torch_plugin.attach(model)
    with pytest.warns(TorchPluginWarning, match="requires a gradient"):
        model.predict_on_batch(torch.ones(2, COLUMNS, requires_grad=True))

"""`evaluate` and `predict` hand small batches over several at once, where nobody hears of one."""

import warnings

import keras
import numpy as np
import pytest
import torch
from keras.src.backend.torch import trainer

from birdplane_keras import torch_plugin
from birdplane_keras.torch_plugin import batches, indexed
from birdplane_keras.torch_plugin.attachment import Attachment
from plugin.networks import CLASSES, COLUMNS, draw, network
from plugin.test_listeners import Counting

ROWS = 70
EIGHTHS = [8] * 8 + [6]  # how they are handed over, one by one


class JoiningAtPredict(keras.callbacks.Callback):
    """Lets another callback join when everything is set up."""

    def __init__(self, other):
        super().__init__()
        self.other, self.list = other, None

    def on_predict_begin(self, logs=None):
        self.list.callbacks.append(self.other)


def attached(**settings):
    keras.utils.set_random_seed(0)
    model = network()
    model.compile("sgd", "mse", **settings)
    torch_plugin.attach(model, strict=True)
    return model


def handed_over(model, use):
    """Returns how many batches each call of the model's function was given, and what `use` returns."""
    counts = []

    def counted(function):
        return lambda batches: (counts.append(len(batches)), function(batches))[1]

    for kind in ("test", "predict"):
        setattr(model, f"{kind}_function", counted(getattr(model, f"make_{kind}_function")()))
    return counts, use(model)


@pytest.mark.parametrize(
    ("rows", "size", "counts"),
    [(ROWS, 1, EIGHTHS), (64, 1, [8] * 8), (ROWS, 4, [2] * 9), (600, 1, [64] * 9 + [24]), (3, 1, [1] * 3), (1, 1, [1])],
)
def test_they_predict_what_stock_keras_does(rows, size, counts, monkeypatch):
    """The last ones are fewer, and the last batch is shorter; Keras does not warn of it. One by one, no bit differs."""
    x, model = draw(rows, COLUMNS), attached()
    torch_plugin.detach(model)
    stock = model.predict(x, batch_size=size, verbose=0)
    torch_plugin.attach(model, strict=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        seen, ours = handed_over(model, lambda model: model.predict(x, batch_size=size, verbose=0))
    assert seen == counts
    monkeypatch.setattr(indexed, "MOST_AT_ONCE", 1)
    assert np.array_equal(ours, model.predict(x, batch_size=size, verbose=0))
    assert ours == pytest.approx(stock, rel=1e-4, abs=1e-6)


def test_they_evaluate_as_stock_keras_does():
    x, y = draw(ROWS, COLUMNS), draw(ROWS, CLASSES)
    model = attached(metrics=["mae"])
    torch_plugin.detach(model)
    stock = model.evaluate(x, y, batch_size=1, verbose=0)
    torch_plugin.attach(model, strict=True)
    seen, ours = handed_over(model, lambda model: model.evaluate(x, y, batch_size=1, verbose=0))
    assert seen == EIGHTHS
    assert ours == stock


def test_validation_of_each_epoch_takes_several_and_training_does_not():
    model = attached()
    data = {"validation_data": (draw(ROWS, COLUMNS), draw(ROWS, CLASSES)), "validation_batch_size": 1}
    seen, _ = handed_over(
        model, lambda model: model.fit(draw(8, COLUMNS), draw(8, CLASSES), epochs=2, verbose=0, **data)
    )
    assert seen == EIGHTHS * 2


@pytest.mark.parametrize(
    "settings",
    [
        {"callbacks": [Counting()]},
        {"callbacks": [JoiningAtPredict(Counting())]},
        {"verbose": 1},
        {"steps": 5},
    ],
    ids=["listening", "joining", "progress", "steps"],
)
def test_one_by_one_where_somebody_hears_of_each(settings):
    model = attached()
    callbacks = keras.callbacks.CallbackList(
        settings.pop("callbacks", []), model=model, add_progbar="verbose" in settings
    )
    for each in callbacks.callbacks:
        each.list = callbacks
    arguments = {"verbose": 0, "callbacks": callbacks} | settings
    seen, _ = handed_over(model, lambda model: model.predict(draw(5, COLUMNS), batch_size=1, **arguments))
    assert seen == [1] * 5


def test_large_batches_come_one_by_one(monkeypatch):
    """So that no more memory is taken: two of them are larger than what may wait."""
    monkeypatch.setattr(indexed, "LARGEST_AT_ONCE", 2 * 4 * COLUMNS * 4 - 1)
    model = attached()
    seen, _ = handed_over(model, lambda model: model.predict(draw(64, COLUMNS), batch_size=4, verbose=0))
    assert seen == [1] * 16


def test_several_steps_of_ones_own_stay_so_many():
    model = attached(steps_per_execution=2)
    seen, _ = handed_over(model, lambda model: model.predict(draw(8, COLUMNS), batch_size=1, verbose=0))
    assert seen == [2, 2, 2, 2]


def test_a_step_that_cannot_be_traced_is_made_one_by_one():
    """What such a step returns is the model's own affair: Keras joins it."""

    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(CLASSES)

        def call(self, x):
            return self.dense(x)

        def predict_step(self, data):
            return np.asarray(self(data).detach())

    model = Own()
    model.compile("sgd", "mse")
    x = draw(16, COLUMNS)
    stock = model.predict(x, batch_size=1, verbose=0)
    with pytest.warns(torch_plugin.TorchPluginWarning):
        torch_plugin.attach(model)
    seen, ours = handed_over(model, lambda model: model.predict(x, batch_size=1, verbose=0))
    assert seen == [1] * 16
    assert np.array_equal(ours, stock)


def test_nothing_random_is_drawn_otherwise():
    """The loader draws a number when it is made, as often as in stock Keras."""
    states = []
    for is_attached in (False, True):
        model = attached()
        if not is_attached:
            torch_plugin.detach(model)
        x = draw(ROWS, COLUMNS)
        model.predict(x, batch_size=1, verbose=0)
        torch.manual_seed(3)
        model.predict(x, batch_size=1, verbose=0)
        model.evaluate(x, draw(ROWS, CLASSES), batch_size=1, verbose=0)
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


def test_a_model_that_is_detached_between_two_batches_goes_on():
    """By another thread, say: stock Keras' functions look at the first of several batches alone."""
    model, x = attached(), draw(ROWS, COLUMNS)
    model.predict(x, batch_size=1, verbose=0)
    stock, function = model.predict(x, batch_size=1, verbose=0), model.make_predict_function()

    def and_detach(batches):
        made = function(batches)
        torch_plugin.detach(model)
        return made

    model.predict_function = and_detach
    for _ in range(2):
        assert model.predict(x, batch_size=1, verbose=0) == pytest.approx(stock, rel=1e-4, abs=1e-6)
    assert "Hooks" not in repr(model.predict_function)  # it has its own again


def test_a_validation_that_was_taken_so_is_not_after_the_model_is_detached():
    """`fit` keeps its validation data from epoch to epoch."""

    class Detaching(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                torch_plugin.detach(self.model)

    data = {"validation_data": (draw(ROWS, COLUMNS), draw(ROWS, CLASSES)), "validation_batch_size": 1}
    losses = []
    for callbacks in ([], [Detaching()]):
        model = attached()
        history = model.fit(draw(8, COLUMNS), draw(8, CLASSES), epochs=2, verbose=0, callbacks=callbacks, **data)
        losses.append(history.history["val_loss"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


class Odd(keras.Model):
    """What it returns is a NumPy array, or a dictionary of a tensor and one."""

    def __init__(self, *, nested):
        super().__init__()
        self.dense, self.nested = keras.layers.Dense(CLASSES), nested

    def call(self, x):
        made = self.dense(x)
        return {"both": made, "numbers": made.detach().numpy()} if self.nested else made.detach().numpy()


@pytest.mark.parametrize("nested", [False, True])
def test_what_is_no_tensor_is_joined_as_in_stock_keras(nested):
    model, x = Odd(nested=nested), draw(ROWS, COLUMNS)
    stock = model.predict(x, batch_size=4, verbose=0)
    torch_plugin.attach(model)
    with pytest.warns(torch_plugin.TorchPluginWarning):
        ours = model.predict(x, batch_size=4, verbose=0)
    pairs = [(ours[name], stock[name]) for name in stock] if nested else [(ours, stock)]
    assert all(type(one) is np.ndarray and np.array_equal(one, other) for one, other in pairs)


def test_a_loop_of_ones_own_gets_one_batch_at_a_time():
    """It may look at the first of the list alone, as Keras' own steps do."""

    class Own(keras.Sequential):
        def evaluate(self, x, y, batch_size):
            epoch_iterator = trainer.TorchEpochIterator(x=x, y=y, batch_size=batch_size)
            callbacks = keras.callbacks.CallbackList([], model=self)
            self.make_test_function()
            self.reset_metrics()
            logs = []
            for _, _, data in epoch_iterator:
                callbacks.on_test_batch_begin(0)
                logs.append((len(data), self.test_function(data)))
                callbacks.on_test_batch_end(0)
            return logs

    model = Own([keras.Input((COLUMNS,)), keras.layers.Dense(CLASSES)])
    model.compile("sgd", "mse")
    torch_plugin.attach(model, strict=True)
    logs = model.evaluate(draw(ROWS, COLUMNS), draw(ROWS, CLASSES), batch_size=1)
    assert [count for count, _ in logs] == [1] * ROWS


def test_a_step_that_fails_leaves_nothing_to_the_next_run(monkeypatch):
    model, x = attached(), draw(ROWS, COLUMNS)
    right = model.predict(x, batch_size=1, verbose=0)
    step, made = Attachment._step, []

    def failing(self, kind, data):
        made.append(kind)
        if len(made) == 3:
            raise RuntimeError("no more")
        return step(self, kind, data)

    with monkeypatch.context() as patch:
        patch.setattr(Attachment, "_step", failing)
        with pytest.raises(RuntimeError, match="no more"):
            model.predict(x, batch_size=1, verbose=0)
    assert np.array_equal(model.predict(x, batch_size=1, verbose=0), right)
    assert not batches._made.known


def test_who_stops_a_prediction_stops_it_at_that_batch(monkeypatch):
    model, x = attached(), draw(ROWS, COLUMNS)
    model.predict(x, batch_size=1, verbose=0)
    step, made = Attachment._step, []

    def stopping(self, kind, data):
        made.append(kind)
        self.model.stop_predicting = len(made) == 3
        return step(self, kind, data)

    monkeypatch.setattr(Attachment, "_step", stopping)
    assert len(model.predict(x, batch_size=1, verbose=0)) == 3


def test_a_model_that_is_detached_after_a_run_has_kerass_own_functions():
    model, x = attached(), draw(ROWS, COLUMNS)
    model.predict(x, batch_size=1, verbose=0)
    model.evaluate(x, draw(ROWS, CLASSES), batch_size=1, verbose=0)
    torch_plugin.detach(model)
    for kind in ("test", "predict"):
        assert getattr(model, f"{kind}_function").__module__.startswith("keras")

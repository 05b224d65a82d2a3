"""Batches are not announced where no callback listens."""

from collections import Counter

import keras
import pytest

from birdplane_keras import torch_plugin
from birdplane_keras.torch_plugin.private_keras import CallbackList
from plugin.networks import CLASSES, COLUMNS, draw, network


class Counting(keras.callbacks.Callback):
    """Counts what it is told."""

    def __init__(self):
        super().__init__()
        self.told = []

    def on_train_batch_end(self, batch, logs=None):
        self.told.append(("train", batch, *logs))

    def on_test_batch_begin(self, batch, logs=None):
        self.told.append(("test", batch))

    def on_batch_end(self, batch, logs=None):
        self.told.append(("any", batch))

    def on_predict_batch_end(self, batch, logs=None):
        self.told.append(("predict", batch, *logs))


class Joining(keras.callbacks.Callback):
    """Lets another callback join as the second epoch begins."""

    def __init__(self, other):
        super().__init__()
        self.other, self.list = other, None

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            self.list.callbacks.append(self.other)


def used(callbacks, *, attached, predicts=True):
    keras.utils.set_random_seed(0)
    model = network()
    model.compile("sgd", "mse")
    if attached:
        torch_plugin.attach(model, strict=True)
    x, y = draw(12, COLUMNS), draw(12, CLASSES)
    model.fit(x, y, batch_size=4, epochs=2, validation_data=(x, y), verbose=0, callbacks=callbacks)
    if predicts:
        model.evaluate(x, y, batch_size=4, verbose=0, callbacks=callbacks)
        model.predict(x, batch_size=4, verbose=0, callbacks=callbacks)
    return model


def test_who_listens_is_told_as_by_stock_keras():
    told = []
    for attached in (False, True):
        counting = Counting()
        used([counting], attached=attached)
        told.append(counting.told)
    assert told[0] == told[1]
    assert {each[0] for each in told[0]} == {"train", "test", "predict"}


@pytest.mark.parametrize("attached", [False, True])
def test_where_none_listens_nothing_is_said(attached, monkeypatch):
    """With a control: stock Keras says it to a thread."""
    said = []
    dispatch = CallbackList._async_dispatch
    monkeypatch.setattr(CallbackList, "_async_dispatch", lambda self, *args: (said.append(args), dispatch(self, *args)))
    used([keras.callbacks.EarlyStopping("loss")], attached=attached)
    assert bool(said) == (not attached)


@pytest.mark.parametrize("attached", [False, True])
def test_who_joins_later_is_told(attached):
    counting = Counting()
    joining = Joining(counting)
    joining.list = CallbackList([joining], add_history=True)
    model = network()
    joining.list.set_model(model)
    model.compile("sgd", "mse")
    if attached:
        torch_plugin.attach(model, strict=True)
    model.fit(draw(12, COLUMNS), draw(12, CLASSES), batch_size=4, epochs=2, verbose=0, callbacks=joining.list)
    assert [each[:2] for each in counting.told if each[0] == "train"] == [("train", 0), ("train", 1), ("train", 2)]


class Waking(keras.callbacks.Callback):
    """Begins to listen as the second epoch begins."""

    def __init__(self):
        super().__init__()
        self.told = []

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            self.on_train_batch_end = lambda batch, logs=None: self.told.append(batch)


def test_who_begins_to_listen_later_is_told():
    told = []
    for attached in (False, True):
        waking = Waking()
        used([waking], attached=attached, predicts=False)
        told.append(waking.told)
    stock, ours = told
    assert sorted(ours) == [0, 1, 2]  # Keras' threads tell of batches in any order
    assert not Counter(ours) - Counter(stock)  # and stock Keras' of the first epoch's last ones, late


def test_a_list_of_callbacks_with_a_method_of_its_own_is_told():
    told = []
    model = network()
    model.compile("sgd", "mse")
    torch_plugin.attach(model, strict=True)
    callbacks = CallbackList(add_history=True)
    callbacks.set_model(model)
    callbacks.on_train_batch_end = lambda batch, logs=None: told.append(float(logs["loss"]))
    model.fit(draw(12, COLUMNS), draw(12, CLASSES), batch_size=4, epochs=2, verbose=0, callbacks=callbacks)
    assert len(told) == 6


def test_a_method_that_replaces_keras_own_on_the_class_is_told(monkeypatch):
    told = []
    monkeypatch.setattr(CallbackList, "on_train_batch_end", lambda self, batch, logs=None: told.append(batch))
    used([], attached=True, predicts=False)
    assert told == [0, 1, 2] * 2


@pytest.mark.parametrize("again", [True, False])
def test_a_model_may_be_attached_and_detached_while_it_trains(again):
    class Changing(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                (torch_plugin.attach if again else torch_plugin.detach)(self.model)

    histories = [
        used([Changing()] if attached else [], attached=attached, predicts=False).history for attached in (False, True)
    ]
    stock, ours = (each.history for each in histories)
    assert ours == {name: pytest.approx(values, rel=1e-4) for name, values in stock.items()}

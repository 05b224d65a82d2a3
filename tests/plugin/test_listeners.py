"""Batches are not announced where no callback listens."""

import keras
import pytest
import torch

from birdplane_keras import torch_plugin
from birdplane_keras.torch_plugin.private_keras import CallbackList
from birdplane_keras.torch_plugin.steps import Step
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
    assert ours == [0, 1, 2]
    assert stock[-3:] == ours  # Keras' thread may tell of the first epoch's last batches only now


def compiled(cls=keras.Model, **attach):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((COLUMNS,))
    model = cls(inputs, keras.layers.Dense(CLASSES)(inputs))
    model.compile("sgd", "mse", metrics=["mae"])
    torch_plugin.attach(model, strict=True, **attach)
    return model


@pytest.fixture
def unheard(monkeypatch):
    """How many steps of each kind were made without their logs."""
    counts = dict.fromkeys(("train", "test"), 0)
    run = Step.run_unheard

    def counting(self, data, leaves):
        counts[self._kind] += 1
        return run(self, data, leaves)

    monkeypatch.setattr(Step, "run_unheard", counting)
    return counts


BATCHES = draw(12, COLUMNS), draw(12, CLASSES)  # 3 of 4 rows


def test_logs_that_nobody_reads_are_not_computed(unheard):
    model = compiled()
    history = model.fit(*BATCHES, batch_size=4, epochs=2, validation_data=BATCHES, verbose=0).history
    assert unheard == {"train": 5, "test": 5}  # all but the first of each kind
    assert all(isinstance(value, float) for values in history.values() for value in values)
    heard = compiled().fit(*BATCHES, batch_size=4, epochs=2, validation_data=BATCHES, verbose=0, callbacks=[Counting()])
    assert unheard == {"train": 5, "test": 5}  # control: somebody listens
    assert heard.history == history


class ComputesItsOwn(keras.Model):
    """Returns logs that its metrics do not hold."""

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        return {**super().compute_metrics(x, y, y_pred, sample_weight), "largest": y_pred.max()}


class TakesLogs(keras.Model):
    """Takes an epoch's logs from its last step."""

    def _get_metrics_result_or_logs(self, logs):
        return {f"last {name}": value for name, value in logs.items()}


@pytest.mark.parametrize("cls", [ComputesItsOwn, TakesLogs])
def test_logs_that_the_model_itself_reads_are_computed(cls, unheard):
    found = []
    for attached in (False, True):
        model = compiled(cls)
        if not attached:
            torch_plugin.detach(model)
        history = model.fit(*BATCHES, batch_size=4, epochs=2, verbose=0, shuffle=False).history
        found.append(
            {(name, epoch): float(value) for name, both in history.items() for epoch, value in enumerate(both)}
        )
    assert found[0] == pytest.approx(found[1])
    assert unheard == {"train": 0, "test": 0}


def test_a_loop_of_ones_own_gets_its_logs(unheard):
    model = compiled()
    model.fit(*BATCHES, batch_size=4, verbose=0)
    before = dict(unheard)
    x, y = (torch.as_tensor(each[:4]) for each in BATCHES)
    model.make_train_function()
    assert float(model.train_function([(x, y)])["loss"]) > 0
    assert unheard == before


def test_a_loop_of_ones_own_after_one_that_broke_off_gets_its_logs(monkeypatch):
    """What broke off had announced a step, which it did not make."""
    model = compiled()
    model.fit(*BATCHES, batch_size=4, verbose=0)
    step = model.train_function

    def interrupted(batches):
        raise KeyboardInterrupt

    model.train_function = interrupted
    with pytest.raises(KeyboardInterrupt):
        model.fit(*BATCHES, batch_size=4, verbose=0)
    model.train_function = step
    x, y = (torch.as_tensor(each[:4]) for each in BATCHES)
    assert float(model.train_function([(x, y)])["loss"]) > 0


def test_a_list_of_callbacks_with_a_method_of_its_own_is_told():
    told = []
    model = compiled()
    callbacks = CallbackList(add_history=True)
    callbacks.set_model(model)
    callbacks.on_train_batch_end = lambda batch, logs=None: told.append(float(logs["loss"]))
    model.fit(*BATCHES, batch_size=4, epochs=2, verbose=0, callbacks=callbacks)
    assert len(told) == 6
    assert all(loss > 0 for loss in told)

"""Batches by index are the batches that stock Keras draws."""

import keras
import numpy as np
import pytest
import torch

from birdplane_keras import torch_plugin
from birdplane_keras.torch_plugin import batches, indexed
from birdplane_keras.torch_plugin.attachment import Attachment
from birdplane_keras.torch_plugin.batches import signature
from plugin.networks import CLASSES, COLUMNS, draw, network


class Seen(keras.layers.Layer):
    """Keeps what comes by, in a variable: the sums of the rows of the last batches."""

    def build(self, shape):
        self.sums = self.add_weight(shape=(40,), initializer="zeros", trainable=False)

    def call(self, x):
        kept = keras.ops.concatenate([keras.ops.sum(x, axis=1), self.sums])[:40]
        self.sums.assign(kept)
        return x


def fitted(x, y, *, attached: bool, **fit) -> list:
    keras.utils.set_random_seed(3)
    inputs = keras.Input((5,))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Dropout(0.3)(Seen()(inputs))))
    model.compile("sgd", "mse", weighted_metrics=[])
    if attached:
        torch_plugin.attach(model, strict=True)
    model.fit(x, y, batch_size=8, epochs=3, verbose=0, **fit)
    return [model.layers[1].sums.numpy(), model.get_weights()[1], torch.rand(1).item(), model.predict(x, verbose=0)]


ROWS = 37
X, Y = draw(ROWS, 5), draw(ROWS, 2, seed=1).astype("float64")
DATA = {
    "arrays": (X, Y),
    "tensors": (torch.from_numpy(X), torch.from_numpy(Y)),
    "an array and a tensor": (X, torch.from_numpy(Y)),
    "a view with strides": (np.asfortranarray(X), Y[::1]),
    "read-only": (np.broadcast_to(X[:1], X.shape), Y),
}


FIT = {
    "alone": {},
    "weighted": {"sample_weight": np.linspace(0, 1, ROWS, dtype="float32")},
    "validated": {"validation_data": DATA["arrays"]},
}


@pytest.mark.parametrize("fit", [pytest.param(name, marks=[pytest.mark.slow] * (name != "alone")) for name in FIT])
@pytest.mark.parametrize("data", [pytest.param(name, marks=[pytest.mark.slow] * (" " in name)) for name in DATA])
@pytest.mark.parametrize("shuffle", [True, False, "batch"])
def test_the_same_batches_in_the_same_order(data, shuffle, fit):
    ours, theirs = (fitted(*DATA[data], attached=each, shuffle=shuffle, **FIT[fit]) for each in (True, False))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_they_are_taken_by_index(monkeypatch):
    """Control: the test above compares two ways."""
    taken = []
    batches = indexed.IndexedBatches._batches
    monkeypatch.setattr(indexed.IndexedBatches, "_batches", lambda self: taken.append(1) or batches(self))
    fitted(*DATA["arrays"], attached=True)
    assert len(taken) >= 3
    taken.clear()
    fitted(*DATA["read-only"], attached=True)
    assert not taken


def test_another_order_would_be_seen(monkeypatch):
    """Control: rows in their own order are not those that stock Keras draws."""
    batches = indexed.IndexedBatches._batches

    def in_order(self):
        self._is_shuffled = False
        return batches(self)

    monkeypatch.setattr(indexed.IndexedBatches, "_batches", in_order)
    ours, theirs = (fitted(*DATA["arrays"], attached=each) for each in (True, False))
    assert not np.allclose(ours[0], theirs[0])


def test_batches_bring_the_look_that_a_step_would_find():
    """The same batch, given by itself, has the same signature; so has the last, shorter one."""
    model = network()
    model.compile("sgd", "mse")
    torch_plugin.attach(model, strict=True)
    seen = []
    step = Attachment._step

    def watched(self, kind, data):
        leaves, others = [], []
        known = id(data) in batches._made.known
        again = (*data,) if isinstance(data, tuple) else data[:]
        same = signature(data, leaves) == signature(again, others)
        tensors = zip(leaves, others, strict=True)
        seen.append((known, same, all(one.data_ptr() == other.data_ptr() for one, other in tensors)))
        return step(self, kind, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Attachment, "_step", watched)
        model.fit(draw(10, COLUMNS), draw(10, CLASSES), batch_size=4, epochs=2, verbose=0)
        model.predict(draw(10, COLUMNS), batch_size=4, verbose=0)
    assert seen == [(True, True, True)] * 9
    assert not batches._made.known  # nothing is kept


def test_batches_of_nested_inputs_are_looked_at_one_by_one():
    left, right = keras.Input((3,)), keras.Input((3,))
    model = keras.Model([left, right], keras.layers.Dense(2)(keras.layers.Add()([left, right])))
    model.compile("sgd", "mse")
    torch_plugin.attach(model, strict=True)
    losses = [
        model.fit([draw(10, 3), draw(10, 3, seed=1)], draw(10, 2), batch_size=4, shuffle=False, verbose=0).history
        for _ in range(2)
    ]
    assert losses[1]["loss"] < losses[0]["loss"]

"""Batches by index are the batches that stock Keras draws."""

import keras
import numpy as np
import pytest
import torch

from birdplane_keras import torch_plugin
from birdplane_keras.torch_plugin import indexed
from plugin.networks import draw


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

"""Ordinary situations in which an attached model was once silently wrong: it now agrees, or says that it declines."""

import dataclasses
import warnings

import keras
import numpy as np
import pytest
import torch
from keras import layers, ops

from birdplane_keras import torch_plugin
from birdplane_keras.torch_plugin import TorchPluginWarning
from plugin.networks import COLUMNS, draw

ROWS, OUT = 40, 2
FACTOR = 1.0


class Weights:
    """Settings of a loss."""

    RATIO = 1.0


@dataclasses.dataclass(slots=True)
class Gain:
    """A setting in a slot."""

    value: float = 1.0


class Amplified(layers.Layer):
    """Multiplies by a setting in a slot."""

    def __init__(self, gain):
        super().__init__()
        self.gain = gain

    def call(self, inputs):
        return inputs * self.gain.value


class Helped(layers.Layer):
    """Reads a global, two calls down."""

    def call(self, inputs):
        return self._amplified(inputs)

    def _amplified(self, inputs):
        return inputs * FACTOR


class Jitter(layers.Layer):
    """Draws from Keras' global seed, whatever the mode."""

    def call(self, inputs):
        return inputs + keras.random.normal(ops.shape(inputs))


class Batches(keras.metrics.Metric):
    """Keeps the sizes of the batches in a list of Python's."""

    def __init__(self):
        super().__init__(name="batches")
        self.sizes = []

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.sizes.append(int(y_pred.shape[0]))

    def result(self):
        return torch.tensor(float(sum(self.sizes)))

    def reset_state(self):
        self.sizes = []


def small(*inner, **dense):
    return keras.Sequential(
        [keras.Input((COLUMNS,)), layers.Dense(5, activation="tanh", **dense), *inner, layers.Dense(OUT)]
    )


def squares(y_true, y_pred):
    return ops.mean(ops.square(y_true - y_pred), axis=-1)


def twice(model, attach, change, loss="mse", metrics=("mae",)):
    """Trains, lets something change, trains on; returns all numbers that are left."""
    model.compile(optimizer=keras.optimizers.SGD(0.05), loss=loss, metrics=list(metrics))
    attach(model)
    x, y = draw(ROWS, COLUMNS), draw(ROWS, OUT, seed=1)
    fit = {"batch_size": 8, "epochs": 2, "verbose": 0, "shuffle": False}
    before = model.fit(x, y, **fit).history
    change(model)
    after = model.fit(x, y, **fit).history
    return [*model.get_weights(), *before.values(), *after.values(), model.predict(x, verbose=0)]


def a_metric_that_leaves_for_numpy(attach):
    def spread(y_true, y_pred):
        return float(np.std(ops.convert_to_numpy(y_pred)))

    return twice(small(), attach, lambda model: None, metrics=[spread])


def a_loss_that_leaves_for_numpy(attach):
    def loss(y_true, y_pred):
        return squares(y_true, y_pred) * float(1 + np.asarray(y_pred.detach()).std())

    return twice(small(), attach, lambda model: None, loss=loss)


def a_class_attribute(attach):
    Weights.RATIO = 1.0

    def loss(y_true, y_pred):
        return squares(y_true, y_pred) * Weights.RATIO

    return twice(small(), attach, lambda model: setattr(Weights, "RATIO", 0.3), loss=loss)


def a_global_in_a_helper(attach):
    globals()["FACTOR"] = 1.0
    return twice(small(Helped()), attach, lambda model: globals().update(FACTOR=2.5))


def a_slot(attach):
    gain = Gain()
    return twice(small(Amplified(gain)), attach, lambda model: setattr(gain, "value", 2.5))


def a_loss_of_the_model_that_is_replaced(attach):
    def change(model):
        model.compute_loss = lambda x=None, y=None, y_pred=None, sample_weight=None, training=True: ops.mean(
            ops.abs(y - y_pred)
        )

    return twice(small(), attach, change)


def a_weight_frozen_the_torch_way(attach):
    return twice(small(), attach, lambda model: model.layers[0].kernel.value.requires_grad_(False))


def one_tensor_for_two_inputs(attach):
    first, second = keras.Input((COLUMNS,)), keras.Input((COLUMNS,))
    hidden = layers.Dense(5, activation="tanh")(first) - layers.Dense(5, activation="relu")(second)
    model = keras.Model([first, second], layers.Dense(OUT)(hidden))
    model.compile(optimizer=keras.optimizers.SGD(0.05), loss="mse")
    attach(model)
    x, y = torch.from_numpy(draw(ROWS, COLUMNS)), draw(ROWS, OUT, seed=1)
    other = x.flip(0)
    losses = [model.train_on_batch([x, x], y), *[model.train_on_batch([x, other], y) for _ in range(3)]]
    return [*model.get_weights(), losses]


def the_global_seed_that_is_set_again(attach):
    model = small(Jitter())
    attach(model)
    x = draw(ROWS, COLUMNS)
    predictions = []
    for _ in range(2):
        keras.utils.set_random_seed(7)
        predictions.append(model.predict(x, verbose=0))
    assert (predictions[0] == predictions[1]).all()
    return predictions


def a_metric_with_a_list(attach):
    return twice(small(), attach, lambda model: None, metrics=[Batches()])


def the_losses_of_the_layers(attach):
    model = small(activity_regularizer=keras.regularizers.L2(0.1))
    model.compile(optimizer=keras.optimizers.SGD(0.05), loss="mse")
    attach(model)
    x, y, seen = draw(ROWS, COLUMNS), draw(ROWS, OUT, seed=1), []
    for start in range(0, ROWS, 8):
        model.train_on_batch(x[start : start + 8], y[start : start + 8])
        seen.append(float(sum(model.losses)))
    return [*model.get_weights(), seen]


CASES = (
    a_metric_that_leaves_for_numpy, a_loss_that_leaves_for_numpy, a_class_attribute, a_global_in_a_helper, a_slot,
    a_loss_of_the_model_that_is_replaced, a_weight_frozen_the_torch_way, one_tensor_for_two_inputs,
    the_global_seed_that_is_set_again, a_metric_with_a_list, the_losses_of_the_layers,
)  # fmt: skip
# What the test of each guard covers, too, waits for the slow run.
LATER = {a_class_attribute, a_global_in_a_helper, a_slot, a_loss_that_leaves_for_numpy}
ALOUD = {a_metric_that_leaves_for_numpy, a_loss_that_leaves_for_numpy, a_metric_with_a_list}


def left_by(case, attach):
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(1)
    return case(attach)


@pytest.mark.parametrize("audit", ["never", pytest.param("epoch", marks=pytest.mark.slow)])
@pytest.mark.parametrize("engine", ["exact", pytest.param("fused", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "case", [pytest.param(each, marks=[pytest.mark.slow] if each in LATER else []) for each in CASES]
)
def test_it_agrees_with_stock_keras(case, engine, audit):
    stock = left_by(case, lambda model: None)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", TorchPluginWarning)
        ours = left_by(case, lambda model: torch_plugin.attach(model, engine, audit=audit))
    assert any(issubclass(each.category, TorchPluginWarning) for each in told) == (case in ALOUD)
    for one, other in zip(ours, stock, strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), atol=1e-5)

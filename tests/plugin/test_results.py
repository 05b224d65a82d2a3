"""What a user reads of a training: results, logs and errors, where the metrics or the layers do something unusual."""

import keras
import pytest
import torch

from birdplane_keras import torch_plugin
from plugin.networks import CLASSES, COLUMNS, draw

BATCHES = draw(24, COLUMNS), draw(24, CLASSES, seed=1)  # 6 of 4 rows


def outcome(build, fit, attached):
    """Returns what a training leaves: its history, or its error and the updates that were made before it."""
    keras.utils.set_random_seed(0)
    model = build()
    if attached:
        torch_plugin.attach(model)
    try:
        return {name: [float(value) for value in values] for name, values in fit(model).items()}
    except Exception as error:
        return type(error).__name__, int(model.optimizer.iterations.numpy())


def plain_fit(model):
    return model.fit(*BATCHES, batch_size=4, epochs=2, shuffle=False, verbose=0).history


def compiled(layers=(), metrics=("mae",), cls=keras.Model):
    inputs = keras.Input((COLUMNS,))
    outputs = inputs
    for layer in layers:
        outputs = layer(outputs)
    model = cls(inputs, keras.layers.Dense(CLASSES)(outputs))
    model.compile("sgd", "mse", metrics=list(metrics))
    return model


def fit_with_a_metric_that_comes_last(model):
    def batches():
        for start in range(0, 24, 4):
            yield tuple(part[start : start + 4] for part in BATCHES)
        model.extra = keras.metrics.Mean(name="extra")

    return model.fit(batches(), verbose=0).history


class Lookup(keras.metrics.Metric):
    """Looks up how often it was updated, in a table of four numbers."""

    def __init__(self):
        super().__init__(name="lookup")
        self.table = self.add_variable((4,), "ones", name="table")
        self.count = self.add_variable((), "zeros", dtype="int32", name="count")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.count.assign(self.count + 1)

    def result(self):
        return torch.index_select(self.table.value, 0, self.count.value.reshape(1))[0]


class Unused(keras.layers.Layer):
    """Looks something up, and does not use it."""

    def __init__(self):
        super().__init__()
        self.embedding = keras.layers.Embedding(4, 3)

    def call(self, x):
        self.embedding(keras.ops.cast(keras.ops.where(x > 2.0, 9, 0), "int32"))
        return x


class ComputesItsOwn(keras.Model):
    """Returns logs that its metrics do not hold."""

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        return {**super().compute_metrics(x, y, y_pred, sample_weight), "largest": y_pred.max()}


class TakesLogs(keras.Model):
    """Takes an epoch's logs from its last step."""

    def _get_metrics_result_or_logs(self, logs):
        return {f"last {name}": value for name, value in logs.items()}


CASES = {
    "a metric that comes last": (compiled, fit_with_a_metric_that_comes_last),
    "a metric that looks up too far": (lambda: compiled(metrics=[Lookup()]), plain_fit),
    "a lookup of no use that goes too far": (lambda: compiled([Unused()]), plain_fit),
    "logs beside the metrics": (lambda: compiled(cls=ComputesItsOwn), plain_fit),
    "logs of the last step": (lambda: compiled(cls=TakesLogs), plain_fit),
}


RAISE = ("a metric that looks up too far", "a lookup of no use that goes too far")


@pytest.mark.parametrize("case", CASES)
def test_a_training_leaves_what_stock_keras_leaves(case):
    stock, ours = (outcome(*CASES[case], attached) for attached in (False, True))
    assert type(ours) is type(stock)
    assert isinstance(stock, tuple) == (case in RAISE)
    if isinstance(stock, tuple):
        assert ours == stock
    else:
        assert ours.keys() == stock.keys()
        assert [*ours.values()] == [pytest.approx(values, rel=1e-4) for values in stock.values()]


class Root(keras.layers.Layer):
    """Adds nothing, and takes a root of a matrix of the batch on the way, which must be positive definite."""

    def call(self, x):
        return x + 0.0 * keras.ops.sum(keras.ops.cholesky(keras.ops.matmul(keras.ops.transpose(x), x)))


def test_a_matrix_that_is_not_positive_definite_is_an_error_when_stock_keras_says_so():
    def fit(model):
        x = draw(24, 3)
        x[12:16] = 0
        return model.fit(x, draw(24, CLASSES), batch_size=4, shuffle=False, verbose=0).history

    def build():
        inputs = keras.Input((3,))
        model = keras.Model(inputs, keras.layers.Dense(CLASSES)(Root()(inputs)))
        model.compile("sgd", "mse")
        return model

    stock, ours = (outcome(build, fit, attached) for attached in (False, True))
    assert (stock[1], ours[1]) == (3, 3)
    assert "Error" in ours[0]  # Keras' own Python says it in words of its own, which a trace does not run


class ReadsMemory(keras.layers.Layer):
    """Reads a kernel as it lies in memory, in evaluation only."""

    def __init__(self, dense):
        super().__init__()
        self.dense = [dense]

    def call(self, x, training=False):
        return x if training else x + self.dense[0].kernel.value.view(-1)[1]


def test_a_layer_that_needs_a_kernel_as_keras_lays_it_runs():
    """Where the engine lays it out otherwise, the step is stock Keras' own, on the kernel as it was."""
    histories = []
    for attached in (False, True):
        keras.utils.set_random_seed(0)
        dense = keras.layers.Dense(CLASSES)
        inputs = keras.Input((COLUMNS,))
        model = keras.Model(inputs, ReadsMemory(dense)(dense(inputs)))
        model.compile("sgd", "mse")
        if attached:
            torch_plugin.attach(model, "fused")
        histories.append(model.fit(*BATCHES, batch_size=4, validation_data=BATCHES, shuffle=False, verbose=0).history)
    assert histories[1] == {name: pytest.approx(values, rel=1e-4) for name, values in histories[0].items()}

"""A drawn training: what is drawn, and how it is built."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import torch

from birdplane_keras.hunt.all_places import PLACES

COLUMNS, OUTPUTS = 6, 3
ARCHITECTURES = (
    "dense", "deep", "batch norm", "dropout", "noise", "convolution", "attention", "recurrent", "two inputs",
    "regularized", "torch module", "layer norm",
)  # fmt: skip
LOSSES = ("mse", "mae", "huber", "crossentropy", "by a function", "by an object", "through NumPy")
METRICS = ("none", "mae", "mae and mse", "by a function", "through NumPy", "with a list", "auc")
OPTIMIZERS = ("sgd", "momentum", "adam", "rmsprop", "schedule", "clipped", "decayed", "of one's own")
SOURCES = ("arrays", "tensors", "dataset", "uneven", "generator", "loader", "batches")
POLICIES = ("float32", "float32", "float32", "mixed_bfloat16", "float64")
READERS = ("layer", "loss", "metric")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """What is drawn.

    Args:
        architecture: Of the network.
        loss: Its loss.
        metrics: Its metrics.
        optimizer: Its optimizer.
        source: Where the batches come from.
        policy: Keras' dtype policy.
        place: From where a number is read while a step runs.
        reader: What reads it: a layer, the loss or a metric.
        change: What changes between two steps.
        step: After which of the steps.
        engine: Of the plugin.
        audit: Of the plugin.
        seed: Of weights and data.
    """

    architecture: str = "dense"
    loss: str = "mse"
    metrics: str = "none"
    optimizer: str = "sgd"
    source: str = "arrays"
    policy: str = "float32"
    place: str = "an attribute"
    reader: str = "layer"
    change: str = "nothing"
    step: int = 3
    engine: str = "exact"
    audit: str = "never"
    seed: int = 0


@dataclasses.dataclass(kw_only=True)
class Built:
    """A training, ready to run.

    Args:
        model: Compiled.
        x: Inputs.
        y: Targets.
        change_place: Changes what the drawn place returns.
    """

    model: keras.Model
    x: Any
    y: np.ndarray
    change_place: Callable[[], None]


class Scaled(keras.layers.Layer):
    """Multiplies by a number that it reads from somewhere."""

    def __init__(self, read: Callable[[], float]) -> None:
        super().__init__()
        self.read = read

    def call(self, inputs):
        return inputs * self.read()


class Jitter(keras.layers.Layer):
    """Adds noise from Keras' global seed."""

    def call(self, inputs, training=False):
        return inputs + 0.1 * keras.random.normal(keras.ops.shape(inputs)) if training else inputs


class Rows(keras.metrics.Metric):
    """Counts rows in a list of Python's."""

    def __init__(self) -> None:
        super().__init__(name="rows")
        self.rows: list[int] = []

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.rows.append(int(y_pred.shape[0]))

    def result(self):
        return torch.tensor(float(sum(self.rows)))

    def reset_state(self):
        self.rows = []


class OwnSGD(keras.optimizers.SGD):
    """Counts its steps in Python, and slows down."""

    steps = 0

    def update_step(self, gradient, variable, learning_rate):
        self.assign_sub(variable, gradient * learning_rate)

    def apply(self, grads, trainable_variables=None):
        self.steps += 1
        return super().apply([None if each is None else each / self.steps for each in grads], trainable_variables)


def build(training: Training) -> Built:
    """Builds a training again; twice the same from one description."""
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(training.seed)
    read, change_place = PLACES[training.place]()
    x, y = data_of(training)
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(training.policy)
    try:
        inner = [Scaled(read)] if training.reader == "layer" else []
        model = network(training.architecture, inner)
    finally:
        keras.config.set_dtype_policy(policy)
    model.compile(
        optimizer=optimizer_of(training.optimizer),
        loss=loss_of(training, read),
        metrics=metrics_of(training, read),
    )
    return Built(model=model, x=x, y=y, change_place=change_place)


def data_of(training: Training) -> tuple[Any, np.ndarray]:
    """Returns inputs and targets."""
    rng = np.random.default_rng(training.seed)
    shape = {"convolution": (8, 8, 2), "attention": (5, COLUMNS), "recurrent": (5, COLUMNS)}.get(
        training.architecture, (COLUMNS,)
    )
    x = rng.standard_normal((44, *shape)).astype("float32")
    if training.loss == "crossentropy":
        y = rng.integers(0, OUTPUTS, 44)
    else:
        y = rng.standard_normal((44, OUTPUTS)).astype("float32")
    return ((x, x[::-1].copy()) if training.architecture == "two inputs" else x), y


def network(architecture: str, inner: list[keras.layers.Layer]) -> keras.Model:
    """Builds a network with some layers in the midst of it."""
    layers = keras.layers
    if architecture == "two inputs":
        first, second = keras.Input((COLUMNS,)), keras.Input((COLUMNS,))
        hidden = layers.Dense(5, activation="tanh")(first) + layers.Dense(5, activation="relu")(second)
        for layer in inner:
            hidden = layer(hidden)
        return keras.Model([first, second], layers.Dense(OUTPUTS)(hidden))
    stacks: dict[str, Callable[[], tuple[tuple, list]]] = {
        "dense": lambda: ((COLUMNS,), [layers.Dense(5, activation="tanh")]),
        "deep": lambda: ((COLUMNS,), [layers.Dense(5, activation="gelu"), layers.Dense(4, activation="softplus")]),
        "batch norm": lambda: ((COLUMNS,), [layers.Dense(5), layers.BatchNormalization(epsilon=0.1), layers.ReLU()]),
        "layer norm": lambda: ((COLUMNS,), [layers.Dense(5), layers.LayerNormalization(epsilon=0.1)]),
        "dropout": lambda: ((COLUMNS,), [layers.Dense(8, activation="tanh"), layers.Dropout(0.3, name="drop")]),
        "noise": lambda: ((COLUMNS,), [layers.Dense(5, activation="tanh"), Jitter()]),
        "convolution": lambda: (
            (8, 8, 2),
            [
                layers.ZeroPadding2D(((0, 1), (1, 0))),
                layers.Conv2D(3, 3, activation="tanh", bias_regularizer=keras.regularizers.L1L2(0.1, 0.1)),
                layers.AveragePooling2D(2),
                layers.Flatten(),
            ],
        ),
        "attention": lambda: (
            (5, COLUMNS),
            [SelfAttention(), layers.GlobalAveragePooling1D()],
        ),
        "recurrent": lambda: ((5, COLUMNS), [layers.SimpleRNN(4)]),
        "regularized": lambda: (
            (COLUMNS,),
            [layers.Dense(5, kernel_regularizer="l2", activity_regularizer=keras.regularizers.L2(0.05))],
        ),
        "torch module": lambda: (
            (COLUMNS,),
            [layers.TorchModuleWrapper(torch.nn.Sequential(torch.nn.Linear(COLUMNS, 5), torch.nn.Tanh()))],
        ),
    }
    shape, stack = stacks[architecture]()
    return keras.Sequential([keras.Input(shape), *stack, *inner, layers.Dense(OUTPUTS)])


class SelfAttention(keras.layers.Layer):
    """Attends to itself."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = keras.layers.MultiHeadAttention(2, 3)

    def call(self, inputs):
        return inputs + self.inner(inputs, inputs)


def optimizer_of(name: str) -> keras.optimizers.Optimizer:
    """Returns an optimizer."""
    optimizers = keras.optimizers
    made: dict[str, Callable[[], keras.optimizers.Optimizer]] = {
        "sgd": lambda: optimizers.SGD(0.02),
        "momentum": lambda: optimizers.SGD(0.02, momentum=0.9, nesterov=True),
        "adam": lambda: optimizers.Adam(1e-3, epsilon=1e-3),
        "rmsprop": lambda: optimizers.RMSprop(1e-3, epsilon=1e-3),
        "schedule": lambda: optimizers.SGD(optimizers.schedules.ExponentialDecay(0.02, 3, 0.5)),
        "clipped": lambda: optimizers.SGD(0.02, clipnorm=0.3),
        "decayed": lambda: optimizers.AdamW(1e-3, epsilon=1e-3),
        "of one's own": lambda: OwnSGD(0.02),
    }
    return made[name]()


def loss_of(training: Training, read: Callable[[], float]) -> Any:
    """Returns a loss, which multiplies by the number where it is the reader."""
    ops = keras.ops
    if training.loss == "crossentropy":
        inner: Any = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    elif training.loss == "by an object":
        inner = keras.losses.Huber(delta=0.7)
    elif training.loss == "through NumPy":

        def inner(y_true, y_pred):
            return ops.mean(ops.square(y_true - y_pred), -1) * float(1 + np.asarray(y_pred.detach().float()).std())

    elif training.loss == "by a function":

        def inner(y_true, y_pred):
            return ops.mean(ops.log(1 + ops.square(y_true - y_pred)), -1)

    else:
        inner = keras.losses.get(training.loss)
    if training.reader != "loss":
        return inner

    def scaled(y_true, y_pred):
        return inner(y_true, y_pred) * read()

    return scaled


def metrics_of(training: Training, read: Callable[[], float]) -> list[Any]:
    """Returns metrics; one more multiplies by the number where it is the reader."""
    ops = keras.ops

    def error(y_true, y_pred):
        return ops.mean(ops.abs(y_pred), -1)

    def spread(y_true, y_pred):
        return float(np.std(ops.convert_to_numpy(ops.cast(y_pred, "float32"))))

    def scaled(y_true, y_pred):
        return ops.mean(ops.abs(y_pred), -1) * read()

    chosen: dict[str, list[Any]] = {
        "none": [],
        "mae": ["mae"] if training.loss != "crossentropy" else ["accuracy"],
        "mae and mse": ["mae", "mse"] if training.loss != "crossentropy" else ["accuracy"],
        "by a function": [error],
        "through NumPy": [spread],
        "with a list": [Rows()],
        "auc": [keras.metrics.RootMeanSquaredError()] if training.loss != "crossentropy" else ["accuracy"],
    }
    return chosen[training.metrics] + ([scaled] if training.reader == "metric" else [])

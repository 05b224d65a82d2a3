"""Builds the small models, data and layers of the set-ups."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import layers

from birdplane_keras.data.batches import EpochBatches

ROWS, COLUMNS, CLASSES = 44, 6, 3  # batches of 8: five whole ones and one of 4; 24 steps in 4 epochs


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    """Returns normal numbers, float32."""
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def labels(high: int = CLASSES, rows: int = ROWS, seed: int = 1) -> np.ndarray:
    """Returns class numbers, int64."""
    return np.random.default_rng(seed).integers(0, high, rows)


@dataclass(kw_only=True)
class Setup:
    """A model to be compiled, and how it is trained.

    Args:
        model: Not compiled.
        compile: Arguments of `compile`; a new optimizer, loss and metrics each time.
        x: Inputs.
        y: Targets.
        fit: Further arguments of `fit`.
        between: Called with the model after the first fit; then it is fitted again, with what this returns.
        metrics_in_python: The metrics cannot be traced.
    """

    model: keras.Model
    compile: dict[str, Any] = field(default_factory=dict)
    x: Any = field(default_factory=lambda: draw(ROWS, COLUMNS))
    y: Any = field(default_factory=labels)
    fit: dict[str, Any] = field(default_factory=dict)
    between: Callable[[keras.Model], dict[str, Any] | None] | None = None
    metrics_in_python: bool = False

    def __post_init__(self) -> None:
        sparse = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        given = {"optimizer": keras.optimizers.SGD(0.05), "loss": sparse, "metrics": ["accuracy"]}
        self.compile = given | self.compile


def network(*inner: keras.layers.Layer, shape: tuple = (COLUMNS,), out: int = CLASSES) -> keras.Model:
    """Returns a network with the given layers between a `Dense` of 8 tanh units and one of logits."""
    return keras.Sequential([keras.Input(shape), layers.Dense(8, activation="tanh"), *inner, layers.Dense(out)])


def regression(**compile_arguments: Any) -> Setup:
    return Setup(
        model=network(out=2), y=draw(ROWS, 2, seed=1), compile={"loss": "mse", "metrics": ["mae"], **compile_arguments}
    )


class SetRate(keras.callbacks.Callback):
    """Sets the rate by hand before each epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        self.model.optimizer.learning_rate = 0.1 / (epoch + 1)


class SetDropout(keras.callbacks.Callback):
    """Changes a layer's Python number before each epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        self.model.layers[1].rate = 0.1 * (epoch + 1)


class Noise(layers.Layer):
    """Adds noise in training: from its own seed, or Keras' global one."""

    def __init__(self, seed: int | None) -> None:
        super().__init__()
        self.seed_generator = None if seed is None else keras.random.SeedGenerator(seed)

    def call(self, inputs, training=False):
        if not training:
            return inputs
        drawn = keras.random.normal(keras.ops.shape(inputs), stddev=0.1, seed=self.seed_generator)
        return inputs + drawn * keras.random.uniform((1,), seed=self.seed_generator)


class Data(layers.Layer):
    """Reads a tensor past autograd, as `.data` does."""

    def call(self, inputs):
        return inputs * (1 + 0.1 * inputs.data)


class Penalty(layers.Layer):
    """Adds a loss of its own."""

    def call(self, inputs):
        self.add_loss(0.01 * keras.ops.mean(keras.ops.square(inputs)))
        return inputs


class Counter(layers.Layer):
    """Counts its calls in a variable, and divides by the count."""

    def build(self, input_shape):
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, inputs):
        self.count.assign_add(1.0)
        return inputs / self.count


def two_inputs() -> Setup:
    a, b = keras.Input((COLUMNS,), name="a"), keras.Input((4,), name="b")
    joined = layers.Concatenate()([layers.Dense(5, activation="relu")(a), layers.Dense(3)(b)])
    model = keras.Model({"a": a, "b": b}, layers.Dense(CLASSES)(joined))
    return Setup(model=model, x={"a": draw(ROWS, COLUMNS), "b": draw(ROWS, 4, seed=2)})


def two_outputs() -> Setup:
    inputs = keras.Input((COLUMNS,))
    hidden = layers.Dense(8, activation="tanh")(inputs)
    model = keras.Model(inputs, [layers.Dense(CLASSES, name="kind")(hidden), layers.Dense(1, name="size")(hidden)])
    losses = [keras.losses.SparseCategoricalCrossentropy(from_logits=True), "mae"]
    return Setup(
        model=model,
        y=[labels(), draw(ROWS, 1, seed=3)],
        compile={"loss": losses, "loss_weights": [1.0, 0.3], "metrics": [["accuracy"], ["mse"]]},
    )


def masked_sequence(recurrent: keras.layers.Layer) -> Setup:
    model = keras.Sequential(
        [keras.Input((5,), dtype="int32"), layers.Embedding(7, 4, mask_zero=True), recurrent, layers.Dense(CLASSES)]
    )
    return Setup(model=model, x=np.random.default_rng(0).integers(0, 7, (ROWS, 5)).astype("int32"))


def masked_output() -> Setup:
    model = keras.Sequential(
        [keras.Input((5, 2)), layers.Masking(), layers.Dense(4, activation="tanh"), layers.Dense(1)]
    )
    x = draw(ROWS, 5, 2)
    x[:, 3:] = 0
    return Setup(model=model, x=x, y=draw(ROWS, 5, 1, seed=2), compile={"loss": "mse", "metrics": ["mae"]})


def images(*inner: keras.layers.Layer) -> Setup:
    model = keras.Sequential([keras.Input((6, 6, 2)), *inner, layers.Flatten(), layers.Dense(CLASSES)])
    return Setup(model=model, x=draw(ROWS, 6, 6, 2))


def attention() -> Setup:
    inputs = keras.Input((4, 6))
    attended = layers.MultiHeadAttention(2, 3, dropout=0.1, seed=3)(inputs, inputs)
    pooled = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(attended))
    return Setup(model=keras.Model(inputs, layers.Dense(CLASSES)(pooled)), x=draw(ROWS, 4, 6))


def torch_module() -> Setup:
    import torch

    wrapped = keras.layers.TorchModuleWrapper(torch.nn.Sequential(torch.nn.Linear(COLUMNS, 5), torch.nn.BatchNorm1d(5)))
    return Setup(model=keras.Sequential([keras.Input((COLUMNS,)), wrapped, layers.Dense(CLASSES)]))


def frozen_between() -> Setup:
    def freeze(model: keras.Model) -> None:
        model.layers[0].trainable = False
        model.compile(**Setup(model=model).compile)

    return Setup(model=network(layers.Dense(4)), between=freeze)


def frozen_without_compile() -> Setup:
    def freeze(model: keras.Model) -> None:
        model.layers[0].trainable = False

    return Setup(model=network(), between=freeze)


def data_loader() -> Setup:
    import torch

    rows = torch.utils.data.TensorDataset(torch.from_numpy(draw(ROWS, COLUMNS)), torch.from_numpy(labels()))
    return Setup(model=network(), x=torch.utils.data.DataLoader(rows, batch_size=8), y=None, fit={"batch_size": None})


def py_dataset() -> Setup:
    return Setup(
        model=network(),
        x=EpochBatches(draw(ROWS, COLUMNS), labels(), batch_size=8, seed=0),
        y=None,
        fit={"batch_size": None, "shuffle": False},
    )


def tensors() -> Setup:
    import torch

    return Setup(model=network(), x=torch.from_numpy(draw(ROWS, COLUMNS)), y=torch.from_numpy(labels()))


def with_optimizer(optimizer: keras.optimizers.Optimizer, *inner: keras.layers.Layer) -> Setup:
    return Setup(model=network(*inner), compile={"optimizer": optimizer})


def with_loss(loss: Any, out: int, y: np.ndarray, activation: str | None = None) -> Setup:
    model = keras.Sequential([keras.Input((COLUMNS,)), layers.Dense(out, activation=activation)])
    return Setup(model=model, y=y, compile={"loss": loss, "metrics": []})


def one_hot(classes: int = CLASSES) -> np.ndarray:
    return np.eye(classes, dtype="float32")[labels(classes)]


def binary_metrics() -> Setup:
    m = keras.metrics
    metrics = [
        "accuracy",
        m.AUC(),
        m.Precision(),
        m.Recall(),
        m.TruePositives(),
        m.FalseNegatives(),
        m.BinaryCrossentropy(),
        m.PrecisionAtRecall(0.5),
        m.SensitivityAtSpecificity(0.5),
        m.Poisson(),
        m.F1Score(),
    ]
    model = keras.Sequential([keras.Input((COLUMNS,)), layers.Dense(1, activation="sigmoid")])
    y = labels(2).astype("float32")[:, None]
    return Setup(
        model=model, y=y, compile={"loss": "binary_crossentropy", "metrics": metrics, "weighted_metrics": ["mae"]}
    )


def categorical_metrics() -> Setup:
    m = keras.metrics
    metrics = [
        "accuracy",
        m.CategoricalCrossentropy(),
        m.TopKCategoricalAccuracy(2),
        m.F1Score(),
        m.FBetaScore(),
        m.KLDivergence(),
        m.CategoricalHinge(),
        m.AUC(multi_label=True, num_labels=CLASSES),
        m.Precision(class_id=1),
    ]
    model = keras.Sequential([keras.Input((COLUMNS,)), layers.Dense(CLASSES, activation="softmax")])
    return Setup(model=model, y=one_hot(), compile={"loss": "categorical_crossentropy", "metrics": metrics})


def metrics_left_to_python() -> Setup:
    setup = categorical_metrics()
    setup.compile["metrics"] = ["accuracy", keras.metrics.OneHotMeanIoU(CLASSES), keras.metrics.Hinge()]
    setup.metrics_in_python = True
    return setup


def sparse_metrics() -> Setup:
    metrics = ["accuracy", keras.metrics.SparseCategoricalCrossentropy(from_logits=True)]
    return Setup(model=network(), compile={"metrics": [*metrics, keras.metrics.SparseTopKCategoricalAccuracy(2)]})


def regression_metrics() -> Setup:
    m = keras.metrics
    metrics = [
        "mae",
        m.RootMeanSquaredError(),
        m.MeanAbsolutePercentageError(),
        m.MeanSquaredLogarithmicError(),
        m.LogCoshError(),
        m.CosineSimilarity(),
        m.R2Score(),
        m.PearsonCorrelation(),
        m.ConcordanceCorrelation(),
        m.MeanMetricWrapper(distance),
    ]
    return regression(metrics=metrics)


def distance(y_true, y_pred):
    return keras.ops.max(keras.ops.abs(y_true - y_pred), axis=-1)

"""Small networks, the same on both sides, and data from which something can be learned.

Every `*_pair` is right as it comes; a caller replaces what it wants to be otherwise. The port's layers draw their
weights from PyTorch's default distributions, so that the two models as built cannot be told apart either.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import numpy as np
import torch
from torch import nn

from birdplane_keras.parity import Pair, channels_last

CLASSES = 4
FEATURES = 8  # of a vector, and of each step of a sequence
STEPS = 6  # of a sequence
WORDS = 20

Optimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


class Recurrent(nn.Module):
    """The last step of an LSTM or GRU, or the mean over all steps, and a linear layer."""

    def __init__(self, recurrent: nn.RNNBase, *, mean: bool = False) -> None:
        super().__init__()
        self.recurrent, self.mean = recurrent, mean
        width = recurrent.hidden_size * (2 if recurrent.bidirectional else 1)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x):
        steps, _ = self.recurrent(x)
        return self.head(steps.mean(1) if self.mean else steps[:, -1])


class Attention(nn.Module):
    """Self-attention of two heads, the mean over all steps, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(FEATURES, 2, batch_first=True)
        self.head = nn.Linear(FEATURES, CLASSES)

    def forward(self, x):
        return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))


class Words(nn.Module):
    """The mean of some words' embeddings, and a linear layer.

    Args:
        padding_index: A word whose embedding is not trained.
        masked: Whether the mean leaves the word 0 out.
    """

    def __init__(self, padding_index: int | None = None, *, masked: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, FEATURES, padding_idx=padding_index)
        self.head = nn.Linear(FEATURES, CLASSES)
        self.masked = masked

    def forward(self, x):
        embedded = self.embedding(x)
        if not self.masked:
            return self.head(embedded.mean(1))
        counts = (x != 0).to(embedded.dtype).unsqueeze(-1)
        return self.head((embedded * counts).sum(1) / counts.sum(1))


def like_torch(fan_in: int) -> dict[str, keras.initializers.Initializer]:
    """PyTorch's default for linear layers and convolutions: uniform within 1/sqrt(fan_in), the bias too."""
    return {"kernel_initializer": uniform(fan_in), "bias_initializer": uniform(fan_in)}


def uniform(fan_in: int) -> keras.initializers.Initializer:
    bound = fan_in**-0.5
    return keras.initializers.RandomUniform(-bound, bound)


def dense(inputs: int, units: int, activation: Any = None, **settings: Any) -> keras.layers.Dense:
    return keras.layers.Dense(units, activation=activation, **(like_torch(inputs) | settings))


def conv(inputs: int, filters: int, size: int = 3, **settings: Any) -> keras.layers.Conv2D:
    return keras.layers.Conv2D(filters, size, **(like_torch(inputs * size**2) | settings))


def lstm(inputs: int, units: int, **settings: Any) -> keras.layers.LSTM:
    """PyTorch's default but for the bias, which `with_zero_biases` sets to zero there."""
    own = {"kernel_initializer": uniform(units), "recurrent_initializer": uniform(units), "unit_forget_bias": False}
    return keras.layers.LSTM(units, **(own | settings))


def gru(units: int, **settings: Any) -> keras.layers.GRU:
    own = {f"{part}_initializer": uniform(units) for part in ("kernel", "recurrent", "bias")}
    return keras.layers.GRU(units, **(own | settings))


def with_zero_biases(module: nn.LSTM) -> nn.LSTM:
    """An LSTM with one bias to train, as Keras has it: the other would double the speed of their sum."""
    for name, parameter in module.named_parameters():
        if "bias" in name:
            nn.init.zeros_(parameter)
            parameter.requires_grad_("bias_hh" not in name)
    return module


def stack(shape: Sequence[int], layers: Sequence[Any], dtype: str = "float32") -> keras.Sequential:
    return keras.Sequential([keras.Input(tuple(shape), dtype=dtype), *layers])


def mlp(activation: Callable[[], nn.Module] = nn.ReLU, width: int = 16) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(FEATURES, width), activation(), nn.Linear(width, width), activation(), nn.Linear(width, CLASSES)
    )


def mlp_port(activation: Any = "relu", width: int = 16) -> keras.Sequential:
    layers = [dense(FEATURES, width, activation), dense(width, width, activation), dense(width, CLASSES)]
    return stack((FEATURES,), layers)


def convnet(*middle: nn.Module, features: int = 8 * 3 * 3, first: nn.Module | None = None) -> nn.Sequential:
    middle = middle or (nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    return nn.Sequential(first or nn.Conv2d(3, 8, 3), *middle, nn.Linear(features, CLASSES))


def convnet_port(*middle: Any, features: int = 8 * 3 * 3, first: Any = None) -> keras.Sequential:
    layers = keras.layers
    middle = middle or (layers.ReLU(), layers.MaxPooling2D(2), layers.Flatten())
    return stack((8, 8, 3), [first or conv(3, 8), *middle, dense(features, CLASSES)])


def attention_port() -> keras.Model:
    inputs = keras.Input((STEPS, FEATURES))
    hidden = keras.layers.MultiHeadAttention(num_heads=2, key_dim=FEATURES // 2)(inputs, inputs)
    return keras.Model(inputs, dense(FEATURES, CLASSES)(keras.layers.GlobalAveragePooling1D()(hidden)))


def words_port(**settings: Any) -> keras.Sequential:
    """What `Words` is in Keras; the settings are of its embedding."""
    drawn = keras.initializers.RandomNormal(stddev=1)
    embedding = keras.layers.Embedding(WORDS, FEATURES, embeddings_initializer=drawn, **settings)
    return stack((STEPS,), [embedding, keras.layers.GlobalAveragePooling1D(), dense(FEATURES, CLASSES)], dtype="int32")


def classes_of(rng: np.random.Generator, features: np.ndarray) -> np.ndarray:
    """The class (N,) that some linear scores, with noise, are highest for."""
    flat = features.reshape(len(features), -1)
    scores = flat @ rng.normal(size=(flat.shape[1], CLASSES))
    return (scores + 0.3 * rng.normal(size=scores.shape)).argmax(1).astype(np.int64)


def labelled(seed: int, *shape: int, examples: int = 150) -> tuple[np.ndarray, np.ndarray]:
    """Standard normal inputs (N, *shape) float32 and their classes (N,) int64."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(examples, *shape)).astype(np.float32)
    return inputs, classes_of(rng, inputs)


def labelled_words(seed: int, examples: int = 150) -> tuple[np.ndarray, np.ndarray]:
    """Words (N, STEPS) int64 and the classes (N,) of the sentences."""
    rng = np.random.default_rng(seed)
    words = rng.integers(0, WORDS, size=(examples, STEPS))
    return words, classes_of(rng, np.eye(WORDS)[words].sum(1))


def measured(seed: int, examples: int = 150) -> tuple[np.ndarray, np.ndarray]:
    """Standard normal vectors (N, FEATURES) and a real target (N, 1), float32."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(examples, FEATURES))
    targets = np.tanh(inputs @ rng.normal(size=(FEATURES, 1))) + 0.1 * rng.normal(size=(examples, 1))
    return inputs.astype(np.float32), targets.astype(np.float32)


def one_hot(targets: np.ndarray) -> np.ndarray:
    return np.eye(CLASSES, dtype=np.float32)[targets]


def shuffled(seed: int, examples: int, *, drop_last: bool = False, batch_size: int = 32) -> Callable[[int], list[Any]]:
    """The row numbers of every batch of an epoch, in an order of its own."""

    def batches(epoch: int) -> list[np.ndarray]:
        rows = np.random.default_rng((seed, epoch)).permutation(examples)
        cut = [rows[start : start + batch_size] for start in range(0, examples, batch_size)]
        return [rows for rows in cut if len(rows) == batch_size or not drop_last]

    return batches


def sgd(rate: float = 0.05, **settings: Any) -> Optimizer:
    return lambda parameters: torch.optim.SGD(parameters, lr=rate, **settings)


def join(
    module: nn.Module,
    model: keras.Model,
    data: tuple[Any, Any],
    *,
    torch_loss: Any = None,
    keras_loss: Any = None,
    torch_optimizer: Optimizer | None = None,
    keras_optimizer: keras.optimizers.Optimizer | None = None,
    loss_weights: Any = None,
    **settings: Any,
) -> Pair:
    """Compiles the port and makes the pair: cross-entropy of logits and plain SGD where nothing else is said."""
    model.compile(
        loss=keras_loss or keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=keras_optimizer or keras.optimizers.SGD(0.05),
        loss_weights=loss_weights,
    )
    return Pair(
        keras_model=model,
        torch_module=module,
        torch_loss=torch_loss or nn.CrossEntropyLoss(),
        torch_optimizer=(torch_optimizer or sgd())(module.parameters()),
        data=data,
        **settings,
    )


def vector_pair(seed: int, *, module: nn.Module | None = None, model: Any = None, **changes: Any) -> Pair:
    """Three dense layers with ReLU on vectors."""
    data = changes.pop("data", None) or labelled(seed, FEATURES)
    return join(module or mlp(), model or mlp_port(), data, **changes)


def image_pair(seed: int, *, module: nn.Module | None = None, model: Any = None, **changes: Any) -> Pair:
    """A convolution, ReLU, max pooling and a dense layer on images of 8x8 with three channels."""
    data = changes.pop("data", None) or labelled(seed, 3, 8, 8, examples=100)
    return join(module or convnet(), model or convnet_port(), data, **({"to_keras": channels_last} | changes))


def flipped_pair(seed: int, port: Callable[[Callable[[int, int], np.ndarray], int], np.ndarray]) -> Pair:
    """Images that each epoch flips or not, by draws from (seed, epoch); `port` makes the port's of an epoch."""
    images, classes = labelled(seed, 3, 8, 8, examples=100)

    def flip(epoch: int, draws: int) -> np.ndarray:
        flipped = np.random.default_rng([draws, epoch, 1]).random(len(images)) < 0.5
        return np.where(flipped[:, None, None, None], images[..., ::-1], images)

    return image_pair(
        seed,
        data=(images, classes),
        inputs_by_epoch=lambda epoch: flip(epoch, seed),
        keras_inputs_by_epoch=lambda epoch: channels_last(port(flip, epoch)),
    )


def sequence_pair(seed: int, *, module: nn.Module | None = None, model: Any = None, **changes: Any) -> Pair:
    """An LSTM of 12 units on sequences."""
    module = module or Recurrent(with_zero_biases(nn.LSTM(FEATURES, 12, batch_first=True)))
    model = model or stack((STEPS, FEATURES), [lstm(FEATURES, 12), dense(12, CLASSES)])
    return join(module, model, labelled(seed, STEPS, FEATURES, examples=100), **changes)


def attention_pair(seed: int, *, model: Any = None, **changes: Any) -> Pair:
    """Self-attention; the two frameworks' initial weights are not compared."""
    data = labelled(seed, STEPS, FEATURES, examples=100)
    return join(Attention(), model or attention_port(), data, initialisation=False, **changes)


def words_pair(seed: int, *, module: nn.Module | None = None, model: Any = None, **changes: Any) -> Pair:
    """The mean of embeddings."""
    return join(module or Words(), model or words_port(), labelled_words(seed), **changes)


def regression_pair(seed: int, *, module: nn.Module | None = None, model: Any = None, **changes: Any) -> Pair:
    """Two dense layers with tanh to one output, and the mean squared error."""
    module = module or nn.Sequential(nn.Linear(FEATURES, 16), nn.Tanh(), nn.Linear(16, 1))
    model = model or stack((FEATURES,), [dense(FEATURES, 16, "tanh"), dense(16, 1)])
    losses = {"torch_loss": nn.MSELoss(), "keras_loss": keras.losses.MeanSquaredError()}
    data = changes.pop("data", None) or measured(seed)
    return join(module, model, data, **(losses | changes))

"""Networks of public tutorials, written on both sides from their descriptions, and trained for ten steps."""

import keras
import numpy as np
import torch
from keras import layers
from torch import nn

from birdplane_keras.parity import channels_last
from birdplane_keras.zoo.inputs import pictures
from birdplane_keras.zoo.registry import pair

EXAMPLES, WORDS, STEPS = 32, 50, 9


def trained(module, model, data, **more):
    """Returns a pair that is trained on classes by SGD."""
    model.compile(keras.optimizers.SGD(0.05), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return {
        "torch_module": module,
        "keras_model": model,
        "torch_loss": more.pop("loss", nn.CrossEntropyLoss()),
        "torch_optimizer": torch.optim.SGD(module.parameters(), lr=0.05),
        "data": data,
        "batch_size": 8,
        "initialisation": False,
        **more,
    }


@pair("PyTorch", "Keras")
def mnist_network(advised):
    """Two convolutions, pooling, two dense layers, on pictures of 28 x 28."""
    module = nn.Sequential(
        nn.Conv2d(1, 8, 3),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.25),
        nn.Flatten(),
        nn.Linear(16 * 12 * 12, 32),
        nn.ReLU(),
        nn.Linear(32, 10),
    )
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(8, 3, activation="relu"),
            layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Dropout(0.25),
            layers.Flatten(),
            layers.Dense(32, activation="relu"),
            layers.Dense(10),
        ]
    )
    images = np.concatenate([pictures(28, 1)] * (EXAMPLES // 4)) + np.linspace(
        0, 1, EXAMPLES, dtype=np.float32
    ).reshape(-1, 1, 1, 1)
    return trained(module, model, (images, classes(10)), to_keras=channels_last)


class Text(nn.Module):
    """The mean of embedded words, classified."""

    def __init__(self):
        super().__init__()
        self.words, self.hidden, self.out = nn.Embedding(WORDS, 16), nn.Linear(16, 16), nn.Linear(16, 4)

    def forward(self, words):
        return self.out(torch.relu(self.hidden(self.words(words).mean(1))))


@pair("PyTorch", "Keras")
def text_classifier(advised):
    """An embedding, an average over the words, two dense layers."""
    model = keras.Sequential(
        [
            keras.Input((STEPS,), dtype="int32"),
            layers.Embedding(WORDS, 16),
            layers.GlobalAveragePooling1D(),
            layers.Dense(16, activation="relu"),
            layers.Dense(4),
        ]
    )
    return trained(Text(), model, (words(), classes(4)))


class LanguageModel(nn.Module):
    """The next word from an LSTM over those before."""

    def __init__(self):
        super().__init__()
        self.words, self.lstm = nn.Embedding(WORDS, 16), nn.LSTM(16, 24, num_layers=2, batch_first=True)
        self.out = nn.Linear(24, WORDS)

    def forward(self, words):
        return self.out(self.lstm(self.words(words))[0])


@pair("PyTorch", "Keras", "the second biases of nn.LSTM frozen")
def lstm_language_model(advised):
    """An embedding, two LSTMs, a dense layer for each word. The reference's LSTM has two biases in place of one."""
    module = LanguageModel()
    for name, weight in module.named_parameters() if advised else ():
        weight.requires_grad = "bias_hh" not in name
    model = keras.Sequential(
        [
            keras.Input((STEPS,), dtype="int32"),
            layers.Embedding(WORDS, 16),
            layers.LSTM(24, return_sequences=True),
            layers.LSTM(24, return_sequences=True),
            layers.Dense(WORDS),
        ]
    )
    given = words()
    cross_entropy = nn.CrossEntropyLoss()

    def loss(scores, targets):
        return cross_entropy(scores.reshape(-1, WORDS), targets.reshape(-1))

    return trained(module, model, (given, np.roll(given, -1, axis=1)), loss=loss)


def words():
    """Returns (EXAMPLES, STEPS) numbers of words."""
    return np.random.default_rng(0).integers(0, WORDS, (EXAMPLES, STEPS))


def classes(count):
    """Returns (EXAMPLES,) numbers of classes."""
    return np.random.default_rng(1).integers(0, count, EXAMPLES)


class Autoencoder(nn.Module):
    """A variational autoencoder of 28 x 28 pictures, its noise given with them, as `train_step` of the port has it."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(784, 32), nn.ReLU())
        self.mean, self.spread = nn.Linear(32, 4), nn.Linear(32, 4)
        self.outer = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 784))

    def forward(self, picture, noise):
        hidden = self.inner(picture)
        mean, spread = self.mean(hidden), self.spread(hidden)
        return self.outer(mean + torch.exp(spread / 2) * noise), mean, spread


class AutoencoderPort(keras.Model):
    """The same in Keras, with a loss and a `train_step` of its own."""

    def __init__(self):
        super().__init__()
        self.inner, self.mean, self.spread = layers.Dense(32, "relu"), layers.Dense(4), layers.Dense(4)
        self.outer = keras.Sequential([layers.Dense(32, "relu"), layers.Dense(784)])
        self.total = keras.metrics.Mean(name="loss")

    def call(self, inputs):
        picture, noise = inputs
        hidden = self.inner(picture)
        mean, spread = self.mean(hidden), self.spread(hidden)
        return self.outer(mean + keras.ops.exp(spread / 2) * noise), mean, spread

    def train_step(self, data):
        inputs, picture = data
        self.zero_grad()
        made, mean, spread = self(inputs, training=True)
        squares = keras.ops.mean(keras.ops.sum(keras.ops.square(made - picture), axis=-1))
        apart = -0.5 * keras.ops.mean(
            keras.ops.sum(1 + spread - keras.ops.square(mean) - keras.ops.exp(spread), axis=-1)
        )
        loss = squares + apart
        loss.backward()
        with torch.no_grad():
            self.optimizer.apply([weight.value.grad for weight in self.trainable_weights], self.trainable_weights)
        self.total.update_state(loss)
        return {"loss": self.total.result()}


def evidence(outputs, picture):
    """The loss of the autoencoder."""
    made, mean, spread = outputs
    squares = ((made - picture) ** 2).sum(-1).mean()
    return squares - 0.5 * (1 + spread - mean**2 - spread.exp()).sum(-1).mean()


@pair("PyTorch", "Keras")
def variational_autoencoder(advised):
    """Two dense layers each way, a Gaussian between them, trained by a `train_step`."""
    random = np.random.default_rng(0)
    picture = random.uniform(size=(EXAMPLES, 784)).astype("float32")
    noise = random.normal(size=(EXAMPLES, 4)).astype("float32")
    module, model = Autoencoder(), AutoencoderPort()
    model((picture[:2], noise[:2]))
    model.compile(keras.optimizers.SGD(0.001))
    return {
        "torch_module": module,
        "keras_model": model,
        "torch_loss": evidence,
        "torch_optimizer": torch.optim.SGD(module.parameters(), lr=0.001),
        "data": ((picture, noise), picture),
        "batch_size": 8,
        "initialisation": False,
    }

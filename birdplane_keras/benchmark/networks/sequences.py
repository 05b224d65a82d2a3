"""Networks of sequences: recurrent ones and transformers."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import torch
from keras import layers
from torch import nn
from torch.nn import functional

from birdplane_keras.benchmark.networks.network import Network, draw_normal, sparse_categorical

STEPS, FEATURES, UNITS, CLASSES = 64, 32, 64, 10
WORDS, LENGTH, WIDTH, HEADS, BLOCKS = 256, 32, 64, 4, 2


class Recurrent(nn.Module):
    """The last step of a recurrent layer, and a linear one."""

    def __init__(self, kind: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.recurrent, self.head = kind(FEATURES, UNITS, batch_first=True), nn.Linear(UNITS, CLASSES)

    def forward(self, x):
        return self.head(self.recurrent(x)[0][:, -1])


def recurrent_in_keras(kind: type[keras.layers.Layer]) -> keras.Model:
    """The same with Keras' layers."""
    return keras.Sequential([keras.Input((STEPS, FEATURES)), kind(UNITS), layers.Dense(CLASSES)])


class Encoder(nn.Module):
    """Words and places, two blocks of PyTorch's own, the mean over the steps, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, WIDTH), nn.Embedding(LENGTH, WIDTH)
        given: dict[str, Any] = {
            "dim_feedforward": 4 * WIDTH,
            "dropout": 0.1,
            "activation": "gelu",
            "batch_first": True,
        }
        blocks = [nn.TransformerEncoderLayer(WIDTH, HEADS, **given) for _ in range(BLOCKS)]
        self.blocks, self.head = nn.Sequential(*blocks), nn.Linear(WIDTH, CLASSES)

    def forward(self, x):
        places = torch.arange(x.shape[1], device=x.device)
        return self.head(self.blocks(self.words(x) + self.places(places)).mean(1))


class Places(layers.Layer):
    """Adds an embedding of each place."""

    def build(self, input_shape):
        self.table = self.add_weight(shape=input_shape[1:], initializer="normal", name="table")

    def call(self, inputs):
        return inputs + self.table


def feed_forward(x, dropout: float = 0.0):
    """Widens, bends and narrows."""
    x = layers.Dense(4 * WIDTH, activation="gelu")(x)
    return layers.Dense(WIDTH)(layers.Dropout(dropout)(x) if dropout else x)


def encoder_in_keras(layout: str) -> keras.Model:
    """The same with Keras' layers."""
    del layout
    inputs = keras.Input((LENGTH,), dtype="int32")
    x = Places()(layers.Embedding(WORDS, WIDTH)(inputs))
    for _ in range(BLOCKS):
        attended = layers.MultiHeadAttention(HEADS, WIDTH // HEADS, dropout=0.1)(x, x)
        x = layers.LayerNormalization(epsilon=1e-5)(x + layers.Dropout(0.1)(attended))
        x = layers.LayerNormalization(epsilon=1e-5)(x + layers.Dropout(0.1)(feed_forward(x, 0.1)))
    return keras.Model(inputs, layers.Dense(CLASSES)(layers.GlobalAveragePooling1D()(x)))


class Block(nn.Module):
    """A block of GPT-2: normalise, attend to what came before; normalise, feed forward."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention, self.projection = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.inner = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x):
        rows, steps, _ = x.shape
        parts = self.attention(self.first(x)).split(WIDTH, 2)
        query, key, value = (part.view(rows, steps, HEADS, -1).transpose(1, 2) for part in parts)
        attended = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.projection(attended.transpose(1, 2).reshape(rows, steps, WIDTH))
        return x + self.inner(self.second(x))


class CausalLanguageModel(nn.Module):
    """Words and places, two blocks, and the logits of each next word."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, WIDTH), nn.Parameter(torch.randn(LENGTH, WIDTH) * 0.02)
        self.blocks = nn.Sequential(*[Block() for _ in range(BLOCKS)])
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WORDS)

    def forward(self, x):
        return self.head(self.norm(self.blocks(self.words(x) + self.places)))


def language_model_in_keras(layout: str) -> keras.Model:
    """The same with Keras' layers."""
    del layout
    inputs = keras.Input((LENGTH,), dtype="int32")
    x = Places()(layers.Embedding(WORDS, WIDTH)(inputs))
    for _ in range(BLOCKS):
        normal = layers.LayerNormalization(epsilon=1e-5)(x)
        x = x + layers.MultiHeadAttention(HEADS, WIDTH // HEADS)(normal, normal, use_causal_mask=True)
        x = x + feed_forward(layers.LayerNormalization(epsilon=1e-5)(x))
    return keras.Model(inputs, layers.Dense(WORDS)(layers.LayerNormalization(epsilon=1e-5)(x)))


def draw_vectors(generator: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns sequences of vectors, and class numbers."""
    return draw_normal(generator, rows, STEPS, FEATURES), generator.integers(0, CLASSES, rows)


def draw_words(generator: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns sequences of words, and class numbers."""
    return generator.integers(0, WORDS, (rows, LENGTH)), generator.integers(0, CLASSES, rows)


def draw_next_words(generator: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns sequences of words, and those that follow."""
    words = generator.integers(0, WORDS, (rows, LENGTH + 1))
    return np.ascontiguousarray(words[:, :-1]), np.ascontiguousarray(words[:, 1:])


def recurrent(kind: str) -> Network:
    """A recurrent classifier."""
    return Network(
        name=kind.lower(),
        words=f"{kind} of {UNITS} units over {STEPS} steps, Adam",
        batch_size=32,
        module=lambda: Recurrent(getattr(nn, kind)),
        model=lambda layout: recurrent_in_keras(getattr(layers, kind)),
        data=draw_vectors,
        torch_loss=functional.cross_entropy,
        keras_loss=sparse_categorical,
        torch_optimizer=lambda parameters: torch.optim.Adam(parameters, lr=1e-3),
        keras_optimizer=lambda: keras.optimizers.Adam(1e-3),
    )


GRU, LSTM = recurrent("GRU"), recurrent("LSTM")
TRANSFORMER = Network(
    name="transformer",
    words="encoder of two blocks, dropout, AdamW",
    batch_size=32,
    module=Encoder,
    model=encoder_in_keras,
    data=draw_words,
    torch_loss=functional.cross_entropy,
    keras_loss=sparse_categorical,
    torch_optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.01),
    keras_optimizer=lambda: keras.optimizers.AdamW(1e-3, weight_decay=0.01),
)
GPT = Network(
    name="gpt",
    words="causal language model of two blocks, AdamW",
    batch_size=32,
    module=CausalLanguageModel,
    model=language_model_in_keras,
    data=draw_next_words,
    torch_loss=lambda logits, words: functional.cross_entropy(logits.flatten(0, 1), words.flatten()),
    keras_loss=sparse_categorical,
    torch_optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.01),
    keras_optimizer=lambda: keras.optimizers.AdamW(1e-3, weight_decay=0.01),
)

"""Networks with several inputs, several outputs, or weights in two places."""

import keras
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from birdplane_keras.catalogue.networks import CLASSES, FEATURES, WORDS, dense, labelled, measured


class TwoBranches(nn.Module):
    """Two inputs, each with a layer of its own, joined."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.head = nn.Linear(FEATURES, 10), nn.Linear(5, 6), nn.Linear(16, CLASSES)

    def forward(self, left, right):
        return self.head(torch.cat([torch.tanh(self.left(left)), torch.tanh(self.right(right))], dim=1))


class TwoHeads(nn.Module):
    """Class scores and one real number."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.scores, self.value = nn.Linear(FEATURES, 16), nn.Linear(16, CLASSES), nn.Linear(16, 1)

    def forward(self, x):
        hidden = torch.tanh(self.body(x))
        return self.scores(hidden), self.value(hidden)


class TiedWords(nn.Module):
    """Scores of words by the embedding itself."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(WORDS, FEATURES), nn.Linear(FEATURES, WORDS, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, x):
        return self.head(self.embedding(x).mean(1))


class ByEmbedding(keras.layers.Layer):
    """Scores of words by another layer's embeddings."""

    def __init__(self, embedding: keras.layers.Embedding) -> None:
        super().__init__()
        self.embedding = embedding

    def call(self, inputs):
        return keras.ops.matmul(inputs, keras.ops.transpose(self.embedding.embeddings))


def two_heads_data(seed: int) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Vectors, and a class and a real number for each."""
    (inputs, targets), (_, classes) = measured(seed), labelled(seed, FEATURES)
    return inputs, (classes, targets)


def two_heads_port() -> keras.Model:
    inputs = keras.Input((FEATURES,))
    hidden = dense(FEATURES, 16, "tanh")(inputs)
    return keras.Model(inputs, (dense(16, CLASSES)(hidden), dense(16, 1)(hidden)))


def two_heads_loss(outputs, targets):
    """Cross-entropy, and 0.3 of the squared error."""
    return functional.cross_entropy(outputs[0], targets[0]) + 0.3 * functional.mse_loss(outputs[1], targets[1])

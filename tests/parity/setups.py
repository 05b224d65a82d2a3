"""Ordinary ways to build and to train a network, on both sides: each right, and with one mistake.

`SETUPS` has them by name. A maker takes `wrong`: whether the port is to make the mistake; `TOLD` says what must then be
named, and `None` that something is.
"""

from collections.abc import Callable
from types import SimpleNamespace

import keras
import numpy as np
import torch
from keras import layers, ops
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence

from birdplane_keras.catalogue.networks import (
    CLASSES,
    FEATURES,
    STEPS,
    WORDS,
    dense,
    image_pair,
    join,
    labelled,
    labelled_words,
    mlp,
    stack,
    vector_pair,
    with_zero_biases,
)
from birdplane_keras.parity import Pair, channels_last

SETUPS: dict[str, Callable[[bool], Pair]] = {}
TOLD: dict[str, str | None] = {}


def setup(told: str | None):
    """Notes a set-up, and the cause that its mistake is to be called."""

    def note(make: Callable[[bool], Pair]) -> Callable[[bool], Pair]:
        SETUPS[make.__name__], TOLD[make.__name__] = make, told
        return make

    return note


# --- losses ----------------------------------------------------------------------------------------------------------


@setup("weight_decay")
def elastic_net_in_the_loss(*, wrong: bool) -> Pair:
    """The loss adds up the module's own weights, whichever copy of the module is trained."""
    module = mlp(nn.Tanh)

    def loss(outputs, targets):
        sizes = sum(0.002 * weight.abs().sum() + 0.003 * weight.square().sum() for weight in module.parameters())
        return functional.cross_entropy(outputs, targets) + sizes

    penalty = keras.regularizers.L1L2(l1=0.002, l2=0.005 if wrong else 0.003)
    both = {"kernel_regularizer": penalty, "bias_regularizer": penalty}
    sizes = ((FEATURES, 16, "tanh"), (16, 16, "tanh"), (16, CLASSES, None))
    model = stack((FEATURES,), [dense(i, o, a, **both) for i, o, a in sizes])
    return vector_pair(0, module=module, model=model, torch_loss=loss)


class Distilled(keras.losses.Loss):
    """Cross-entropy, and the squared distance to a teacher's scores, which the targets carry."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def call(self, y_true, y_pred):
        labels, scores = y_true[:, 0], y_true[:, 1:]
        own = keras.losses.sparse_categorical_crossentropy(labels, y_pred, from_logits=True)
        return own + self.share * ops.mean(ops.square(y_pred - scores), axis=-1)


@setup(None)
def distillation(*, wrong: bool) -> Pair:
    inputs, labels = labelled(0, FEATURES)
    scores = np.random.default_rng(1).normal(size=(len(inputs), CLASSES))
    targets = np.concatenate([labels[:, None], scores], axis=1).astype(np.float32)

    def loss(outputs, both):
        own = functional.cross_entropy(outputs, both[:, 0].long())
        return own + 0.5 * functional.mse_loss(outputs, both[:, 1:])

    return vector_pair(0, data=(inputs, targets), torch_loss=loss, keras_loss=Distilled(0.7 if wrong else 0.5))


@setup("class_weights")
def maps_of_classes(*, wrong: bool) -> Pair:
    """A class for each pixel."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(24, 3, 8, 8)).astype(np.float32)
    labels = rng.integers(0, CLASSES, size=(24, 8, 8))
    weights = torch.tensor([1.0, 2.0, 1.0, 1.0])

    def loss(outputs, targets):
        losses = functional.cross_entropy(outputs, targets, reduction="none")
        return (losses * (weights[targets] if wrong else 1)).mean()

    module = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, CLASSES, 1))
    model = stack((8, 8, 3), [layers.Conv2D(8, 3, padding="same", activation="relu"), layers.Conv2D(CLASSES, 1)])
    return image_pair(
        0,
        module=module,
        model=model,
        data=(images, labels),
        torch_loss=loss,
        outputs_to_keras=channels_last,
        initialisation=False,
        batch_size=8,
    )


# --- modules ---------------------------------------------------------------------------------------------------------


class PackedWords(nn.Module):
    """The last state of an LSTM over sentences of several lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, FEATURES)
        self.recurrent = with_zero_biases(nn.LSTM(FEATURES, 12, batch_first=True))
        self.head = nn.Linear(12, CLASSES)

    def forward(self, words):
        packed = pack_padded_sequence(
            self.embedding(words), (words != 0).sum(1), batch_first=True, enforce_sorted=False
        )
        return self.head(self.recurrent(packed)[1][0][-1])


@setup(None)
def packed_sequences(*, wrong: bool) -> Pair:
    words, labels = labelled_words(0, examples=96)
    lengths = np.random.default_rng(0).integers(2, STEPS + 1, size=len(words))
    words = np.where(np.arange(STEPS) < lengths[:, None], np.maximum(words, 1), 0)
    embedding = layers.Embedding(WORDS, FEATURES, mask_zero=not wrong)
    model = stack((STEPS,), [embedding, layers.LSTM(12), layers.Dense(CLASSES)], dtype="int64")
    return join(PackedWords(), model, (words, labels), initialisation=False)


class Body(nn.Module):
    """Hands on an object of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(FEATURES, 16)

    def forward(self, x):
        return SimpleNamespace(hidden=torch.tanh(self.linear(x)), width=16)


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, CLASSES)

    def forward(self, found):
        return self.linear(found.hidden)


@setup("activation")
def objects_between_layers(*, wrong: bool) -> Pair:
    activation = "relu" if wrong else "tanh"
    model = stack((FEATURES,), [dense(FEATURES, 16, activation), dense(16, CLASSES)])
    return vector_pair(0, module=nn.Sequential(Body(), Head()), model=model)


class AttentionWithDropout(nn.Module):
    """`nn.MultiheadAttention` drops attention weights inside its one functional call."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(FEATURES, 2, dropout=0.1, batch_first=True)
        self.head = nn.Linear(FEATURES, CLASSES)

    def forward(self, x):
        return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))


@setup("dropout_rate")
def dropout_inside_attention(*, wrong: bool) -> Pair:
    inputs = keras.Input((STEPS, FEATURES))
    attention = layers.MultiHeadAttention(2, FEATURES // 2, dropout=0.2 if wrong else 0.1)
    pooled = layers.GlobalAveragePooling1D()(attention(inputs, inputs))
    model = keras.Model(inputs, layers.Dense(CLASSES)(pooled))
    data = labelled(0, STEPS, FEATURES, examples=96)
    return join(AttentionWithDropout(), model, data, initialisation=False)


class Encoded(nn.Module):
    """A whole encoder layer, whose four Dropouts have 0.1 unless they are told otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(FEATURES, 2, dim_feedforward=12, batch_first=True)
        self.head = nn.Linear(FEATURES, CLASSES)

    def forward(self, x):
        return self.head(self.encoder(x).mean(1))


@setup("dropout_rate")
def encoder_layer_with_its_default_dropout(*, wrong: bool) -> Pair:
    rate = 0.0 if wrong else 0.1
    inputs = keras.Input((STEPS, FEATURES))
    attended = layers.MultiHeadAttention(2, FEATURES // 2, dropout=0.1)(inputs, inputs)
    first = layers.LayerNormalization(epsilon=1e-5)(inputs + layers.Dropout(0.1)(attended))
    hidden = layers.Dropout(0.1)(layers.Dense(12, "relu")(first))
    second = layers.LayerNormalization(epsilon=1e-5)(first + layers.Dropout(rate)(layers.Dense(FEATURES)(hidden)))
    model = keras.Model(inputs, layers.Dense(CLASSES)(layers.GlobalAveragePooling1D()(second)))
    data = labelled(0, STEPS, FEATURES, examples=96)
    return join(Encoded(), model, data, initialisation=False)


@setup("dropout_mask")
def whole_channels_dropped(*, wrong: bool) -> Pair:
    """`nn.Dropout2d` draws once for a channel; Keras calls that spatial."""
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Dropout2d(0.4), nn.Flatten(), nn.Linear(288, CLASSES))
    dropped = layers.Dropout(0.4) if wrong else layers.SpatialDropout2D(0.4)
    made = [layers.Conv2D(8, 3, activation="relu"), dropped, layers.Flatten(), layers.Dense(CLASSES)]
    return image_pair(0, module=module, model=stack((8, 8, 3), made), initialisation=False)


@setup(None)
def normalisation_left_in_evaluation_mode(*, wrong: bool) -> Pair:
    """Fine-tuning: the statistics of a trained body stay as they are, and so do its scale and offset."""
    norm = nn.BatchNorm1d(16)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    norm.eval().requires_grad_(False)
    module = nn.Sequential(nn.Linear(FEATURES, 16), norm, nn.ReLU(), nn.Linear(16, CLASSES))
    frozen = layers.BatchNormalization(epsilon=1e-5, momentum=0.9)
    model = stack((FEATURES,), [dense(FEATURES, 16), frozen, layers.ReLU(), dense(16, CLASSES)])
    frozen.trainable = wrong
    return vector_pair(0, module=module, model=model, initialisation=False)


@setup("activation")
def model_over_the_input_of_another(*, wrong: bool) -> Pair:
    inputs = keras.Input((FEATURES,))
    body = keras.Model(inputs, dense(FEATURES, 16, "relu" if wrong else "tanh")(inputs))
    model = keras.Model(body.input, dense(16, CLASSES)(body(body.input)))
    module = nn.Sequential(nn.Linear(FEATURES, 16), nn.Tanh(), nn.Linear(16, CLASSES))
    return vector_pair(0, module=module, model=model)

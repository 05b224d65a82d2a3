"""A mask that reaches layers on one side only is named, with what repairs it, and what is behind it is told, too."""

import keras
import numpy as np
import pytest
import torch
from keras import layers
from torch import nn

from birdplane_keras.catalogue.networks import CLASSES, FEATURES, STEPS, WORDS, Words, join, lstm, words_pair
from birdplane_keras.parity import check_parity
from parity.judging import judged

PADDED = 3  # of the last steps, at most


def sentences(seed=0):
    """Words (N, STEPS), ended by zeros, and classes."""
    random = np.random.default_rng(seed)
    words = random.integers(1, WORDS, (64, STEPS))
    words[np.arange(STEPS) >= random.integers(STEPS - PADDED, STEPS + 1, 64)[:, None]] = 0
    return words, random.integers(0, CLASSES, 64)


class Read(nn.Module):
    """An LSTM over embeddings, that ends with the sentence or with the padding."""

    def __init__(self, *, packed: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, FEATURES)
        self.lstm = nn.LSTM(FEATURES, 12, batch_first=True)
        self.head = nn.Linear(12, CLASSES)
        self.packed = packed

    def forward(self, x):
        embedded = self.embedding(x)
        if self.packed:
            lengths = (x != 0).sum(1)
            embedded = nn.utils.rnn.pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False)
        return self.head(self.lstm(embedded)[1][0][-1])


class ByCall(keras.Model):
    """A subclass, whose masks go from call to call and are recorded nowhere."""

    def __init__(self, *, mask_zero: bool) -> None:
        super().__init__()
        self.embedding = layers.Embedding(WORDS, FEATURES, mask_zero=mask_zero)
        self.lstm = lstm(FEATURES, 12)
        self.head = layers.Dense(CLASSES)

    def call(self, x):
        return self.head(self.lstm(self.embedding(x)))


def functional(*, mask_zero):
    tokens = keras.Input((STEPS,), dtype="int32")
    embedded = layers.Embedding(WORDS, FEATURES, mask_zero=mask_zero)(tokens)
    return keras.Model(tokens, layers.Dense(CLASSES)(lstm(FEATURES, 12)(embedded)))


def built(*, mask_zero):
    model = ByCall(mask_zero=mask_zero)
    model(np.zeros((1, STEPS), np.int32))
    return model


@pytest.mark.parametrize("make", [functional, built])
@pytest.mark.parametrize("packed", [True, False])
def test_a_mask_on_one_side_is_named_and_repaired_and_the_rest_is_told(make, packed):
    """The LSTM's second bias is a mistake of its own, which the mask hid."""
    model = make(mask_zero=not packed)
    result = judged(join(Read(packed=packed), model, sentences(), initialisation=False))
    mask, biases = result.diagnosis
    assert (mask.cause, biases.cause) == ("mask", "two_biases")
    assert mask.proved
    assert str(mask.fix).endswith(f"mask_zero={packed}")
    assert mask.fixes[0].tried
    assert mask.parting["port"]
    assert mask.parting["reference"]


@pytest.mark.parametrize("make", [functional, built])
@pytest.mark.parametrize("packed", [True, False])
def test_a_mask_on_both_sides_or_on_none_is_none(make, packed):
    """Control."""
    module = Read(packed=packed)
    module.lstm.bias_hh_l0.requires_grad_(False)
    nn.init.zeros_(module.lstm.bias_hh_l0)
    result = check_parity(join(module, make(mask_zero=packed), sentences(), initialisation=False), steps=10)
    assert result.verdict == "rounding-only", str(result)


def test_the_port_is_left_with_its_masks():
    model = words_pair(0, module=Words(masked=False)).keras_model
    embedding = model.layers[0]
    judged(words_pair(0, module=Words(masked=True), model=model))
    assert not embedding.mask_zero
    assert not embedding.supports_masking


def test_a_masking_layer_is_left_out():
    """Steps of zeros, which `Masking` hides from the mean."""
    inputs = np.random.default_rng(0).normal(size=(64, STEPS, FEATURES)).astype(np.float32)
    inputs[:, -2:] = 0
    targets = np.random.default_rng(1).integers(0, CLASSES, 64)

    class Mean(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(FEATURES, CLASSES)

        def forward(self, x):
            return self.head(x.mean(1))

    hidden = [layers.Masking(name="masking"), layers.GlobalAveragePooling1D(), layers.Dense(CLASSES)]
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), *hidden])
    (finding,) = judged(join(Mean(), model, (inputs, targets), initialisation=False)).diagnosis
    assert (finding.cause, finding.fix) == ("mask", "leave out masking")


def test_a_mask_that_only_the_loss_sees_is_named():
    words, _ = sentences()
    head = [layers.Embedding(WORDS, FEATURES, mask_zero=True), layers.Dense(CLASSES)]
    model = keras.Sequential([keras.Input((STEPS,), dtype="int32"), *head])
    module = nn.Sequential(nn.Embedding(WORDS, FEATURES), nn.Linear(FEATURES, CLASSES))

    def loss(outputs, targets):
        return nn.functional.cross_entropy(outputs.flatten(0, 1), targets.flatten())

    (finding,) = judged(join(module, model, (words, words % CLASSES), torch_loss=loss, initialisation=False)).diagnosis
    assert (finding.cause, finding.rung, finding.proved) == ("mask", "loss", True)


def test_another_mistake_is_not_called_a_mask():
    """Control: the activation differs, and the embedding could make a mask."""
    module = nn.Sequential(nn.Embedding(WORDS, FEATURES), nn.Tanh(), nn.Flatten(), nn.Linear(STEPS * FEATURES, CLASSES))
    first = [layers.Embedding(WORDS, FEATURES), layers.Activation("sigmoid")]
    model = keras.Sequential([keras.Input((STEPS,), dtype="int32"), *first, layers.Flatten(), layers.Dense(CLASSES)])
    torch.manual_seed(0)
    (finding,) = judged(join(module, model, sentences(), initialisation=False)).diagnosis
    assert finding.cause == "activation"

"""A mask that reaches layers on one side only is named, with what repairs it, and what is behind it is told, too."""

import pickle
import warnings

import keras
import numpy as np
import pytest
import torch
from keras import layers, ops
from torch import nn

from birdplane_keras.catalogue.networks import (
    CLASSES,
    FEATURES,
    STEPS,
    WORDS,
    Words,
    join,
    lstm,
    words_pair,
    words_port,
)
from birdplane_keras.parity import check_parity
from parity.judging import judged

PADDED = 3  # of the last steps, at most


def sentences(seed=0):
    """Words (N, STEPS), ended by zeros, and classes."""
    random = np.random.default_rng(seed)
    words = random.integers(1, WORDS, (64, STEPS))
    words[np.arange(STEPS) >= random.integers(STEPS - PADDED, STEPS + 1, 64)[:, None]] = 0
    return words, random.integers(0, CLASSES, 64)


def loss_of_tokens(outputs, targets):
    return nn.functional.cross_entropy(outputs.flatten(0, 1), targets.flatten())


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


@pytest.mark.parametrize("make", [functional, pytest.param(built, marks=pytest.mark.slow)])
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


class Both(nn.Module):
    """The means of two sentences."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Embedding(WORDS, FEATURES), nn.Embedding(WORDS, FEATURES)
        self.head = nn.Linear(2 * FEATURES, CLASSES)

    def forward(self, left, right):
        return self.head(torch.cat([self.left(left).mean(1), self.right(right).mean(1)], 1))


@pytest.mark.parametrize("masked", [(True, True), (False, True)])
def test_each_layer_that_masks_is_named_and_all_are_repaired(masked):
    """One alone explains nothing. What is behind them is a rate."""
    inputs = [keras.Input((STEPS,), dtype="int32") for _ in range(2)]
    embeddings = [layers.Embedding(WORDS, FEATURES, mask_zero=each, name=f"e{n}") for n, each in enumerate(masked)]
    means = [layers.GlobalAveragePooling1D()(e(x)) for e, x in zip(embeddings, inputs, strict=True)]
    model = keras.Model(inputs, layers.Dense(CLASSES)(layers.Concatenate()(means)))
    (left, targets), (right, _) = sentences(), sentences(1)
    pair = join(
        Both(), model, ((left, right), targets), initialisation=False, keras_optimizer=keras.optimizers.SGD(0.5)
    )
    mask, rate = judged(pair).diagnosis
    assert (mask.cause, rate.cause) == ("mask", "learning_rate")
    assert [fix.text for fix in mask.fixes] == [f"e{n}: mask_zero=False" for n, each in enumerate(masked) if each]
    assert all(fix.tried for fix in mask.fixes)


class Reader(nn.Module):
    """Two means: one of padded sentences, the other of whole ones."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.users = nn.Embedding(WORDS, FEATURES), nn.Embedding(WORDS, FEATURES)
        self.head = nn.Linear(2 * FEATURES, CLASSES)

    def forward(self, words, users):
        counts = (words != 0).float()[..., None]
        mean = (self.words(words) * counts).sum(1) / counts.sum(1)
        return self.head(torch.cat([mean, self.users(users)[:, 0]], 1))


def test_an_embedding_that_has_nothing_to_do_with_it_is_not_named():
    """Though another mistake lies behind."""
    inputs = [keras.Input((STEPS,), dtype="int32"), keras.Input((1,), dtype="int32")]
    words, users = (layers.Embedding(WORDS, FEATURES, name=name)(x) for name, x in zip("wu", inputs, strict=True))
    joined = layers.Concatenate()([layers.GlobalAveragePooling1D()(words), layers.Flatten()(users)])
    model = keras.Model(inputs, layers.Dense(CLASSES)(joined))
    left, targets = sentences()
    data = ((left, np.random.default_rng(0).integers(1, WORDS, (64, 1))), targets)
    pair = join(Reader(), model, data, initialisation=False, keras_optimizer=keras.optimizers.SGD(0.5))
    mask, rate = judged(pair).diagnosis
    assert (mask.fix, rate.cause) == ("w: mask_zero=True", "learning_rate")


def test_a_mask_that_was_written_by_hand_is_not_the_embeddings():
    """The port's own mean leaves out the padding, and so does the reference's; only the LSTM is given a mask."""

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.lstm = nn.Embedding(WORDS, FEATURES), nn.LSTM(FEATURES, 12, batch_first=True)
            self.head = nn.Linear(FEATURES + 12, CLASSES)

        def forward(self, x):
            words, counts = self.words(x), (x != 0).float()[..., None]
            mean = (words * counts).sum(1) / counts.sum(1)
            return self.head(torch.cat([mean, self.lstm(words)[1][0][-1]], 1))

    tokens = keras.Input((STEPS,), dtype="int32")
    words = layers.Embedding(WORDS, FEATURES, mask_zero=True, name="words")(tokens)
    counts = ops.expand_dims(ops.cast(ops.not_equal(tokens, 0), "float32"), -1)
    mean = ops.sum(words * counts, 1) / ops.sum(counts, 1)
    model = keras.Model(tokens, layers.Dense(CLASSES)(ops.concatenate([mean, lstm(FEATURES, 12)(words)], -1)))
    mask, _ = judged(join(Both(), model, sentences(), initialisation=False)).diagnosis
    assert (mask.fix, mask.proved) == ("words: mask_zero=False", True)


def test_a_mask_behind_another_mistake_is_named_in_the_same_run():
    """The forward pass has an activation of its own, and the loss leaves out the padding."""
    words, _ = sentences()
    embedding = layers.Embedding(WORDS, FEATURES, mask_zero=True, name="words")
    model = keras.Sequential(
        [keras.Input((STEPS,), dtype="int32"), embedding, layers.Activation("sigmoid"), layers.Dense(CLASSES)]
    )
    module = nn.Sequential(nn.Embedding(WORDS, FEATURES), nn.Tanh(), nn.Linear(FEATURES, CLASSES))
    data = (words, words % CLASSES)
    found = judged(join(module, model, data, torch_loss=loss_of_tokens, initialisation=False)).diagnosis
    assert [(each.cause, each.rung) for each in found] == [("activation", "forward"), ("mask", "loss")], found
    assert found[1].fixes[0].tried


@pytest.mark.parametrize("masked", [True, False])
def test_the_port_is_left_with_its_masks_and_the_result_can_be_pickled(masked):
    port = words_pair(0, module=Words(masked=masked)).keras_model if masked else words_port(mask_zero=True)
    embedding, before = port.layers[0], [vars(each).copy() for each in port.layers]
    result = judged(words_pair(0, module=Words(masked=masked), model=port))
    assert result.diagnosis[0].cause == "mask"
    assert (embedding.mask_zero, embedding.supports_masking) == (not masked, not masked)
    assert all(vars(each).keys() == had.keys() for each, had in zip(port.layers, before, strict=True))
    assert not any("call" in vars(each) for each in port._functional.operations)
    assert pickle.loads(pickle.dumps(result.diagnosis)) == result.diagnosis


def test_no_warning_of_keras_about_a_mask_on_trial_reaches_the_person():
    """The embedding is given a mask, which does not get past `Flatten`."""
    tokens = keras.Input((STEPS,), dtype="int32")
    words = layers.Embedding(WORDS, FEATURES)(tokens)
    both = layers.Concatenate()([layers.GlobalAveragePooling1D()(words), layers.Flatten()(words)])

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.head = nn.Embedding(WORDS, FEATURES), nn.Linear(FEATURES * (1 + STEPS), CLASSES)

        def forward(self, x):
            words, counts = self.words(x), (x != 0).float()[..., None]
            return self.head(torch.cat([(words * counts).sum(1) / counts.sum(1), words.flatten(1)], 1))

    pair = join(Twice(), keras.Model(tokens, layers.Dense(CLASSES)(both)), sentences(), initialisation=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        (mask,) = judged(pair).diagnosis
    assert (mask.cause, mask.proved) == ("mask", True)


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

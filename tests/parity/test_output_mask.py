"""Outputs at padding, which no loss counts: two libraries may compute what they like there."""

import keras
import numpy as np
import pytest
import torch
from keras import layers, ops
from torch import nn
from torch.nn import functional

from birdplane_keras.errors import PairError
from birdplane_keras.parity import Pair, check_forward, check_parity
from birdplane_keras.parity.core.judge import MATCHES

PAD, CLASSES = 0, 4
WORDS = np.random.default_rng(0).integers(1, 9, (16, 6))
WORDS[::2, 4:] = PAD


def counts(words):
    return words != PAD


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)
    torch.manual_seed(0)


class Tagger(nn.Module):
    """Says nothing at padding."""

    def __init__(self):
        super().__init__()
        self.words, self.hidden, self.head = nn.Embedding(9, 8), nn.Linear(8, 8), nn.Linear(8, CLASSES)

    def forward(self, words):
        tags = self.head(torch.tanh(self.hidden(self.words(words))))
        return tags * (words != PAD).unsqueeze(-1)


def tagger(activation="tanh"):
    """The same, which says something at padding, too."""
    return keras.Sequential(
        [keras.Input((6,), dtype="int32"), layers.Embedding(9, 8), layers.Dense(8, activation), layers.Dense(CLASSES)]
    )


def judged(port, **more):
    return check_forward(torch_module=Tagger(), keras_model=port, inputs=WORDS, **more)


def test_what_is_predicted_at_padding_differs_and_is_not_compared():
    assert judged(tagger()).verdict == "diverged"
    result = judged(tagger(), output_mask=counts)
    assert result.verdict in MATCHES
    assert "outputs are compared where the pair's output_mask says: at 83% of their places" in result.notes


def test_what_differs_where_it_counts_is_told():
    result = judged(tagger("relu"), output_mask=counts)
    assert result.verdict == "diverged"
    assert [finding.cause for finding in result.diagnosis] == ["activation"]


def test_one_place_that_counts_is_enough():
    def one_place(words):
        return np.arange(words.size).reshape(words.shape) == 1

    assert judged(tagger("relu"), output_mask=one_place).verdict == "diverged"


def torch_loss(tags, targets):
    return functional.cross_entropy(tags.flatten(0, 1), targets.flatten(), ignore_index=-1)


def keras_loss(targets, tags):
    counted = ops.cast(targets >= 0, "float32")
    each = ops.sparse_categorical_crossentropy(ops.maximum(targets, 0), tags, from_logits=True)
    return ops.sum(each * counted) / ops.sum(counted)


@pytest.mark.parametrize(("mask", "same"), [(counts, True), (None, False)])
def test_a_pair_is_trained_with_its_own_loss(mask, same):
    module, port = Tagger(), tagger()
    port.compile(keras.optimizers.SGD(0.1), keras_loss)
    targets = np.where(counts(WORDS), WORDS % CLASSES, -1)
    pair = Pair(
        keras_model=port,
        torch_module=module,
        torch_loss=torch_loss,
        torch_optimizer=torch.optim.SGD(module.parameters(), 0.1),
        data=(WORDS, targets),
        batch_size=8,
        initialisation=False,
        output_mask=mask,
    )
    assert (check_parity(pair, steps=6).verdict in MATCHES) is same


@pytest.mark.parametrize(
    ("mask", "told"),
    [
        (lambda words: words[:, :3] != PAD, r"with whose axes an output begins, received \(8, 3\) beside \(8, 6, 4\)"),
        (lambda words: words["ids"], "output_mask"),
    ],
)
def test_a_mask_that_fits_no_output_is_one_line(mask, told):
    with pytest.raises(PairError, match=told):
        judged(tagger(), output_mask=mask, batch_size=8)

"""The port's callbacks: they are told of batches and epochs as `fit` tells them, and what they raise is told."""

import re
import threading
from typing import ClassVar

import keras
import numpy as np
import pytest

from birdplane_keras import torch_equivalents
from birdplane_keras.catalogue.networks import sgd, vector_pair
from birdplane_keras.catalogue.recipes import scheduled
from birdplane_keras.errors import PairError
from birdplane_keras.parity import check_parity
from birdplane_keras.parity.core.judge import MATCHES


class Steps(keras.callbacks.Callback):
    """Notes what it is told."""

    told: ClassVar[list] = []  # shared by all copies

    def on_epoch_begin(self, epoch, logs=None):
        self.told.append((epoch, self.params["steps"]))


def test_a_callback_knows_how_many_steps_an_epoch_has():
    Steps.told.clear()
    check_parity(vector_pair(0, keras_callbacks=[Steps()], batch_size=32), steps=20)
    assert {epoch for epoch, _ in Steps.told} >= {0, 1}
    assert {steps for _, steps in Steps.told} == {5}


class Locked(keras.callbacks.Callback):
    """A callback that cannot be copied."""

    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()


class Impatient(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        raise RuntimeError("no more")


@pytest.mark.parametrize(
    ("callback", "told"),
    [
        (Locked(), "keras_callbacks of the pair cannot be copied"),
        (Impatient(), "keras_callbacks of the pair failed: RuntimeError: no more"),
        (keras.callbacks.ReduceLROnPlateau(), "callbacks that watch the loss"),
    ],
)
def test_a_callback_that_cannot_work_is_told_in_one_line(callback, told):
    with pytest.raises(PairError, match=re.escape(told)) as raised:
        check_parity(vector_pair(0, keras_callbacks=[callback]), steps=5)
    assert "\n" not in str(raised.value)


def unequal_epochs(epoch):
    """Three batches in the first epoch, five in those after it."""
    rows = np.random.default_rng((0, epoch)).permutation(150)
    return np.array_split(rows, 3 if epoch == 0 else 5)


@pytest.mark.parametrize("wrong", [False, True])
def test_epochs_of_unequal_length_are_counted_alike_on_both_sides(wrong):
    def rate(epoch, current):
        return 0.05 * (0.4 if wrong and epoch > 1 else 0.5) ** epoch

    pair = vector_pair(0, batches=unequal_epochs, keras_callbacks=[keras.callbacks.LearningRateScheduler(rate)])
    pair = scheduled(pair, lambda epoch: 0.5**epoch, by="epoch")
    result = check_parity(pair, steps=14)
    assert (result.verdict == "diverged") == wrong, str(result)
    if wrong:  # the ninth step is the first of the third epoch
        place = next(check.place for check in result.checks if not check.passed)
        assert (place.step, place.epoch, place.batch) == (8, 2, 0)


def test_a_warm_up_from_a_rate_of_zero_is_judged():
    def rate(epoch, current):
        return 0.05 * epoch

    pair = vector_pair(
        0,
        torch_optimizer=sgd(0.05, momentum=0.9),
        keras_optimizer=torch_equivalents.SGD(0.05, momentum=0.9),
        keras_callbacks=[keras.callbacks.LearningRateScheduler(rate)],
    )
    assert check_parity(scheduled(pair, float, by="epoch"), steps=15).verdict in MATCHES


def test_stock_momentum_at_a_rate_of_zero_crashes_nothing():
    pair = vector_pair(
        0,
        torch_optimizer=sgd(0.0, momentum=0.9),
        keras_optimizer=keras.optimizers.SGD(0.0, momentum=0.9),
    )
    assert check_parity(pair, steps=6).verdict in MATCHES

"""The port's callbacks: they are told of batches and epochs as `fit` tells them, and what they raise is told."""

import re
import threading

import keras
import pytest

from birdplane_keras.catalogue.networks import vector_pair
from birdplane_keras.errors import PairError
from birdplane_keras.parity import check_parity


class Steps(keras.callbacks.Callback):
    """Notes what it is told."""

    told: list = []  # noqa: RUF012 - shared by all copies

    def on_epoch_begin(self, epoch, logs=None):
        self.told.append((epoch, self.params["steps"]))


def test_a_callback_knows_how_many_steps_an_epoch_has():
    Steps.told.clear()
    check_parity(vector_pair(0, keras_callbacks=[Steps()], batch_size=32), steps=20)
    assert {epoch for epoch, _ in Steps.told} >= {0, 1}
    assert len({steps for _, steps in Steps.told}) == 1


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

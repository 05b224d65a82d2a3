"""Gradients that are zero but for rounding: an optimizer may then move a weight either way, and both are right."""

import keras
import numpy as np
import pytest
from torch import nn, optim

from birdplane_keras import torch_equivalents
from birdplane_keras.parity import Pair, check_parity
from birdplane_keras.parity.core import first_steps
from birdplane_keras.parity.sides.views import TorchView

RATE = 0.01


def pair_of(optimizer: keras.optimizers.Optimizer) -> Pair:
    """A bias in front of a normalisation, which takes it away again: its gradient is rounding alone."""
    keras.utils.set_random_seed(0)
    module = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, 3))
    model = keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(16),
            torch_equivalents.BatchNormalization(epsilon=1e-5, momentum=0.9),
            keras.layers.Activation("tanh"),
            keras.layers.Dense(3),
        ]
    )
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    random = np.random.default_rng(0)
    return Pair(
        keras_model=model,
        torch_module=module,
        torch_loss=nn.CrossEntropyLoss(),
        torch_optimizer=optim.Adam(module.parameters(), lr=RATE),
        data=(random.normal(size=(24, 8)).astype(np.float32), np.arange(24) % 3),
        batch_size=8,
        initialisation=False,
    )


@pytest.fixture
def unseen(monkeypatch):
    """No copy of the reference shows that its update turns over, as where few gradients are so small."""
    usual = first_steps.draws_of_noise
    monkeypatch.setattr(
        first_steps, "draws_of_noise", lambda *args: (each for each in usual(*args) if each.rung != "first_update")
    )
    monkeypatch.setattr(first_steps, "MOST_DRAWS", first_steps.DRAWS)


def first_failed(pair: Pair) -> str | None:
    result = check_parity(pair, steps=3)
    return next((check.name for check in result.checks if check.state == "failed"), None)


def test_an_update_is_held_against_one_that_is_made_with_the_ports_gradients(unseen, monkeypatch):
    pair = pair_of(torch_equivalents.Adam(RATE))
    result = check_parity(pair, steps=3)
    update = next(check for check in result.checks if check.name == "first_update")
    assert update.passed
    assert update.max_abs_difference > 0.1 * RATE  # of 16 entries some went the other way
    assert any("made with the port's gradients" in note for note in result.notes)
    monkeypatch.setattr(TorchView, "set_gradients", lambda *args, **kwargs: None)
    assert first_failed(pair_of(torch_equivalents.Adam(RATE))) == "first_update"


def test_another_update_is_still_seen():
    result = check_parity(pair_of(keras.optimizers.Adam(RATE, epsilon=1e-8)), steps=3)
    assert [finding.cause for finding in result.diagnosis] == ["adam_epsilon"]
    assert result.diagnosis[0].proved

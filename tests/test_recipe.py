"""The recipes of the two programs are written twice and must agree; bad numbers are refused."""

import dataclasses

import pytest

from birdplane_keras.errors import RequestError
from birdplane_keras.recipe import PRESETS, build_recipe
from torch_reference.recipe import PRESETS as REFERENCE_PRESETS


def test_both_programs_state_the_same_presets():
    ours, theirs = (
        {name: dataclasses.asdict(recipe) for name, recipe in presets.items()}
        for presets in (PRESETS, REFERENCE_PRESETS)
    )
    assert ours == theirs


@pytest.mark.parametrize("name", ["Narrow", "NARROW", "narrow ", "huge", ""])
def test_an_unknown_preset_is_refused_with_the_choices(name):
    with pytest.raises(RequestError, match=r"expected a preset among narrow, wide, wide-nll, per-sample, .*, received"):
        build_recipe(name)


@pytest.mark.parametrize("epochs", [0, -1])
def test_epochs_below_one_are_refused(epochs):
    with pytest.raises(RequestError, match=f"expected epochs of at least 1, received {epochs}"):
        build_recipe("narrow", epochs=epochs)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_one_framework_refuses_is_refused(seed):
    with pytest.raises(RequestError, match="expected a seed from 0 to 4294967295"):
        build_recipe("narrow", seed=seed)


def test_the_largest_seed_is_one_that_both_frameworks_take():
    import keras
    import torch

    torch.manual_seed(2**32 - 1)
    keras.utils.set_random_seed(2**32 - 1)
    with pytest.raises(ValueError, match="Seed must be between"):
        keras.utils.set_random_seed(2**32)
    assert build_recipe("wide", seed=2**32 - 1, epochs=3).epochs == 3


@pytest.mark.parametrize(
    "change",
    [
        {"loss": "nll", "head": "logits"},
        {"loss": "mse", "head": "logits"},
        {"hidden_layers": ()},
        {"convolutions": (16, 0)},
        {"convolutions": (8,) * 6},
        {"learning_rate": 0.0},
        {"batch_size": 0},
        {"largest_shift": 32},
        {"largest_shift": -1},
    ],
)
def test_other_unusable_numbers_are_refused(change):
    with pytest.raises(RequestError):
        dataclasses.replace(PRESETS["narrow"], **change)

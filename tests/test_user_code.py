"""Warnings point at the user's line, and errors in the code of a pair name it."""

import sys
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest

import birdplane_keras
from birdplane_keras import KerasDenseClassifier
from birdplane_keras.errors import PairError, errors_of_pair
from birdplane_keras.user_code import is_users

PACKAGE = Path(birdplane_keras.__file__).parent


@pytest.mark.parametrize(
    ("file", "own"),
    [
        (__file__, True),
        (f"{PACKAGE}_ports/pairs.py", True),  # a name that begins as the package's does
        (str(PACKAGE / "errors.py"), False),
        (keras.__file__, False),
        (warnings.__file__, False),
        ("<stdin>", True),
        ("train.py", True),
        ("<frozen importlib._bootstrap>", False),
        ("<eval_with_key>.3", False),
    ],
)
def test_whose_a_file_is(file, own):
    assert is_users(file) == own


@pytest.mark.parametrize("rows", ["short training", "pixels"])
def test_a_warning_of_an_estimator_points_at_the_users_line(rows):
    x = (
        np.random.default_rng(0).integers(0, 256, (20, 64))
        if rows == "pixels"
        else np.random.default_rng(0).random((20, 3))
    )
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        KerasDenseClassifier(epochs=2, hidden_layers=4).fit(x, np.arange(20) % 2)
    ours = [each for each in said if "expected" in str(each.message)]
    assert ours
    assert {each.filename for each in ours} == {__file__}


def test_an_error_in_the_code_of_a_pair_names_the_users_line():
    with (
        pytest.raises(PairError, match=rf"ValueError: .*\(at .*test_user_code\.py:{sys._getframe().f_lineno + 3}\)$"),
        errors_of_pair("it fails"),
    ):
        keras.layers.Dense(3, epsilom=1)


def test_keras_own_words_around_an_error_are_left_out():
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3)])
    with pytest.raises(PairError) as said, errors_of_pair("it fails"):
        model(np.zeros((1, 3, 8, 8), np.float32))
    assert "Exception encountered when calling" not in str(said.value)

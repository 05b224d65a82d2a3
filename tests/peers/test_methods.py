"""Each method catches a mistake that it must catch, misses one that it must miss, and accuses no right port."""

from functools import cache

import numpy as np
import pytest

from birdplane_keras.catalogue.registry import CLEAN, FAULTS
from birdplane_keras.peers import polygraphy, reprod_log
from birdplane_keras.peers.comparing import allclose, asserts, close_as_tensors, first_apart
from birdplane_keras.peers.hooks import first_layer_apart
from birdplane_keras.peers.judging import ask, ask_pair
from birdplane_keras.peers.method import Method
from birdplane_keras.peers.registry import METHODS

NAMES = [method.name for method in METHODS]
ENTRIES = {entry.name: entry for entry in [*FAULTS, *CLEAN]}
FORWARD = {"forward_1e-3", "forward_1e-5", "assert_close", "forward_and_loss", "hooks", "polygraphy"}


@cache
def caught_by(name):
    """Returns which methods catch an entry of the catalogue."""
    found = ask_pair(ENTRIES[name].make(0))
    assert found["error"] == ""
    assert {each["state"] for each in found["methods"].values()} <= {"caught", "passed"}
    return {method for method, each in found["methods"].items() if each["state"] == "caught"}


def test_every_method_catches_another_activation():
    assert caught_by("tanh_for_relu") == set(NAMES)


def test_no_method_accuses_a_right_port():
    assert caught_by("dense_relu") <= {"lightning_in_bits"}


def test_a_forward_pass_misses_momentum_that_is_left_out():
    assert caught_by("momentum_missing") == set(NAMES) - FORWARD


def test_the_loss_shows_what_a_forward_pass_does_not():
    assert caught_by("summed_loss") & FORWARD == {"forward_and_loss"}


def test_not_a_number_passes_the_check_of_reprod_log_and_no_other():
    assert set(NAMES) - caught_by("division_by_a_zero_norm") == {"reprod_log"}


def test_an_output_that_is_missing_is_skipped_by_polygraphy_alone():
    assert set(NAMES) - caught_by("second_output_missing") == {"polygraphy"}


def test_ten_steps_miss_what_begins_with_the_eleventh():
    missed = set(NAMES) - caught_by("schedule_late")
    assert missed == FORWARD | {"keras_numerical", "algoperf"}


@pytest.mark.slow
def test_a_thousandth_is_more_than_some_mistakes_move_the_scores():
    assert "forward_1e-5" in caught_by("exact_gelu")
    assert caught_by("layer_norm_epsilon") >= {"forward_1e-5", "assert_close"}
    assert any("forward_1e-3" not in caught_by(name) for name in ("exact_gelu", "layer_norm_epsilon"))


@pytest.mark.slow
@pytest.mark.parametrize("clean", CLEAN[::5], ids=lambda clean: clean.name)
def test_right_ports_are_accused_by_bits_only_or_by_the_tightest_checks(clean):
    assert caught_by(clean.name) <= {"lightning_in_bits", "lightning", "reprod_log"}


def test_the_mean_of_reprod_log_is_transposed_where_that_helps_and_passes_without_a_number():
    one, other = np.ones((2, 3), np.float32), np.ones((3, 2), np.float32)
    assert reprod_log.mean_difference(one, other) == 0
    assert reprod_log.compare("loss", {"loss": one}, {"loss": one * np.nan}) is None
    assert reprod_log.compare("loss", {"loss": one}, {"loss": one + 1e-5}).place == "loss: loss"
    assert "lacks" not in reprod_log.compare("loss", {"loss": one}, {}).text
    assert reprod_log.compare("loss", {"loss": one}, {"loss": np.ones((4, 5))}).text


def test_polygraphy_takes_either_tolerance_and_no_missing_number():
    one = np.array([1.0, 1000.0], np.float32)
    assert polygraphy.matches(one, one + np.array([5e-6, 5e-3], np.float32))
    assert not polygraphy.matches(one, one + np.array([5e-5, 0], np.float32))
    assert not polygraphy.matches(one * np.nan, one * np.nan)
    assert polygraphy.matches(np.zeros(2), np.zeros(2))
    assert polygraphy.counterpart("a", 0, {"a": one}, {"b": one}) == "b"
    assert polygraphy.counterpart("c", 1, {"a": one, "c": one}, {"a": one}) is None


def test_assert_close_holds_what_its_defaults_allow():
    one = np.array([10.0], np.float32)
    assert close_as_tensors(one, np.array([10.00001], np.float32))
    assert not close_as_tensors(one, np.array([10.0001], np.float32))
    assert not close_as_tensors(one, np.array([np.nan], np.float32))


def test_shapes_and_missing_tensors_are_differences():
    one = {"a": np.zeros((2, 1)), "b": np.zeros(2)}
    assert first_apart(one, one, allclose(1e-5)) is None
    assert first_apart(one, one | {"a": np.zeros((1, 2))}, allclose(1e-5)).text == "shape (1, 2) for (2, 1)"
    assert first_apart(one, {"a": one["a"]}, allclose(1e-5)).text == "the port lacks it"
    assert first_apart(one, one | {"b": np.ones(2)}, asserts(np.testing.assert_allclose)).place == "b"


def test_hooks_name_the_first_layer_that_no_other_agrees_with():
    image = np.random.default_rng(0).normal(size=(2, 3, 4, 4)).astype(np.float32)
    theirs = [("conv", image), ("relu", image.clip(0))]
    ours = [("conv_1", np.moveaxis(image, 1, -1)), ("relu_1", np.moveaxis(image.clip(0), 1, -1))]
    assert first_layer_apart(theirs, ours) is None
    wrong = [ours[0], ("relu_1", np.moveaxis(np.tanh(image), 1, -1))]
    assert first_layer_apart(theirs, wrong).place == "relu_1"
    assert first_layer_apart(theirs, [("dense_1", np.zeros((2, 7)))]) is None  # no partner of its shape


def test_a_method_that_fails_was_not_run_and_caught_nothing():
    def fail(pair):
        raise RuntimeError("no such layer")

    told = ask(Method(name="x", title="", compares="", tells="", limits="", run=fail), None)
    assert (told["state"], told["text"]) == ("not run", "RuntimeError: no such layer")


def test_every_method_says_what_it_compares_tells_and_misses():
    assert len(set(NAMES)) == len(NAMES) >= 10
    for method in METHODS:
        assert all([method.title, method.compares, method.tells, method.limits])

"""The comparison of tensors. Most tests here are negative controls: a way in which such a tool can pass in silence."""

import numpy as np
import pytest

from birdplane_keras.parity.core.check import Check, Place, State, failed, first_failure, left_out, not_reached, passed
from birdplane_keras.parity.core.compare import check_from_differences, compare_tensor, compare_tensors


def check(keras, torch, tolerance=1.0):
    return compare_tensors("rung", keras, torch, tolerances=dict.fromkeys(torch, tolerance), reason="test")


def test_equal_tensors_pass_with_zero_bits(rng):
    tensor = rng.normal(size=(3, 4)).astype(np.float32)
    difference = compare_tensor("x", tensor, tensor.copy())
    assert difference.passed
    assert (difference.max_abs_difference, difference.bits_differing) == (0.0, 0)


def test_one_ulp_is_seen_and_located(rng):
    tensor = rng.normal(size=(3, 4)).astype(np.float32)
    nudged = tensor.copy()
    nudged[2, 1] = np.nextafter(nudged[2, 1], np.float32(np.inf))
    difference = compare_tensor("x", nudged, tensor)
    assert not difference.passed
    assert difference.index == (2, 1)
    assert difference.bits_differing >= 1
    assert difference.max_abs_difference == pytest.approx(abs(float(nudged[2, 1]) - float(tensor[2, 1])))


def test_negative_zero_counts_as_a_differing_bit():
    difference = compare_tensor("x", np.array([-0.0], np.float32), np.array([0.0], np.float32))
    assert (difference.max_abs_difference, difference.bits_differing, difference.passed) == (0.0, 1, False)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", ["keras", "torch", "both"])
def test_a_number_that_is_not_finite_fails_on_either_side(bad, side):
    clean, dirty = np.zeros(3, np.float32), np.array([0, bad, 0], np.float32)
    ours, theirs = {"keras": (dirty, clean), "torch": (clean, dirty), "both": (dirty, dirty)}[side]
    difference = compare_tensor("x", ours, theirs, tolerance=np.inf)
    assert not difference.passed
    assert difference.index == (1,)


def test_differences_of_opposite_sign_do_not_cancel():
    result = check({"x": np.array([5.0, -5.0])}, {"x": np.array([0.0, 0.0])}, tolerance=1.0)
    assert not result.passed
    assert result.max_abs_difference == 5.0


def test_a_negative_difference_is_as_large_as_a_positive_one():
    assert not check({"x": np.array([-9.0])}, {"x": np.array([0.0])}, tolerance=1.0).passed


def test_equal_means_do_not_hide_unequal_tensors():
    assert not check({"x": np.array([0.0, 2.0])}, {"x": np.array([1.0, 1.0])}, tolerance=0.5).passed


def test_the_tolerance_is_absolute_not_a_share_of_the_values():
    assert not check({"x": np.array([2e6])}, {"x": np.array([1e6])}, tolerance=1.0).passed


def test_values_that_print_alike_are_told_apart():
    ours, theirs = np.float32(0.1), np.nextafter(np.float32(0.1), np.float32(1))
    assert f"{ours:.6f}" == f"{theirs:.6f}"
    assert not compare_tensor("x", ours, theirs).passed


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"a": np.zeros(2)}, {"a": np.zeros(2), "b": np.zeros(2)}),
        ({"a": np.zeros(2), "b": np.zeros(2)}, {"a": np.zeros(2)}),
    ],
)
def test_a_tensor_missing_on_one_side_fails(ours, theirs):
    result = compare_tensors("rung", ours, theirs, reason="test")
    assert not result.passed
    assert (result.code, result.place) == ("missing", Place(tensor="b"))
    assert "missing in" in result.reason


def test_nothing_compared_has_failed():
    assert not compare_tensors("rung", {}, {}, reason="test").passed
    assert not check_from_differences("rung", [], "test").passed
    assert not compare_tensor("x", np.zeros((0, 3)), np.zeros((0, 3))).passed


def test_unequal_shapes_fail_even_where_they_would_broadcast():
    assert not compare_tensor("x", np.zeros((3, 1)), np.zeros(3), tolerance=1.0).passed


def test_unequal_dtypes_fail():
    assert not compare_tensor("x", np.zeros(3, np.float32), np.zeros(3, np.float64), tolerance=1.0).passed


def test_the_first_tensor_beyond_its_tolerance_is_named():
    ours = {"a": np.array([0.5]), "b": np.array([3.0]), "c": np.array([9.0])}
    theirs = {name: np.zeros(1) for name in ours}
    result = check(ours, theirs, tolerance=1.0)
    assert (result.code, result.place) == ("beyond", Place(tensor="b", index=(0,)))
    assert result.max_abs_difference == 3.0


def test_a_passed_check_shows_the_tensor_nearest_to_its_tolerance():
    ours = {"small": np.array([0.9]), "large": np.array([5.0])}
    theirs = {"small": np.array([0.0]), "large": np.array([0.0])}
    result = compare_tensors("rung", ours, theirs, tolerances={"small": 1.0, "large": 100.0}, reason="test")
    assert result.passed
    assert (result.max_abs_difference, result.tolerance) == (0.9, 1.0)
    assert [row["name"] for row in result.tensors] == ["small", "large"]


STATES = {
    "passed": passed("a", "3 fields agree"),
    "failed": failed("b", "field", "rate differs", Place(field="rate")),
    "not reached": not_reached("c", "b"),
    "left out": left_out("d", "not_stated", "nothing states it"),
}


@pytest.mark.parametrize("state", STATES)
def test_a_check_says_its_state_and_nothing_need_be_read_out_of_its_words(state):
    made = STATES[state]
    assert (made.state, made.content()["state"]) == (State(state), state)
    assert made.passed is made.content()["passed"] is (state in ("passed", "left out"))


def test_the_content_of_a_check_has_the_keys_of_the_contract():
    wanted = {"name", "passed", "max_abs_difference", "bits_differing", "tolerance", "reason", "where", "state", "code"}
    for made in STATES.values():
        assert set(made.content()) >= wanted
    assert STATES["failed"].content()["where"] == {"field": "rate"}
    assert STATES["passed"].content()["where"] is None


def test_the_first_failure_is_no_rung_that_was_left_out_or_not_reached():
    assert first_failure([STATES["left out"], STATES["passed"], STATES["failed"], STATES["not reached"]]).name == "b"
    assert first_failure([STATES["left out"], STATES["passed"]]) is None


def test_a_place_tells_what_is_known_of_it():
    place = Place(tensor="w", index=(0, 3), step=4)
    assert place.content() == {"tensor": "w", "index": [0, 3], "step": 4}
    assert str(place) == "tensor w, index [0, 3], step 4"
    assert str(Place()) == ""


@pytest.mark.parametrize(
    ("ours", "theirs", "code"),
    [
        (np.zeros(3), np.zeros(2), "shape"),
        (np.zeros(3), np.zeros(3, np.float32), "type"),
        (np.zeros(0), np.zeros(0), "nothing"),
        (np.array([np.nan]), np.zeros(1), "not_finite"),
        (np.ones(1), np.zeros(1), "beyond"),
    ],
)
def test_the_code_says_why_a_tensor_fails(ours, theirs, code):
    assert compare_tensors("rung", {"x": ours}, {"x": theirs}, reason="").code == code


def test_a_check_that_passed_has_no_code():
    made: Check = compare_tensors("rung", {"x": np.ones(1)}, {"x": np.ones(1)}, reason="")
    assert (made.code, made.place) == ("", None)

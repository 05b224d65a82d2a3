"""The comparison of tensors. Most tests here are negative controls: a way in which such a tool can pass in silence."""

import numpy as np
import pytest

from birdplane_keras.parity.core.compare import (
    check_from_differences,
    climb,
    compare_tensor,
    compare_tensors,
    not_reached,
)


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
    assert result.where == {"tensor": "b", "index": None}
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
    assert result.where == {"tensor": "b", "index": [0]}
    assert result.max_abs_difference == 3.0


def test_a_passed_check_shows_the_tensor_nearest_to_its_tolerance():
    ours = {"small": np.array([0.9]), "large": np.array([5.0])}
    theirs = {"small": np.array([0.0]), "large": np.array([0.0])}
    result = compare_tensors("rung", ours, theirs, tolerances={"small": 1.0, "large": 100.0}, reason="test")
    assert result.passed
    assert (result.max_abs_difference, result.tolerance) == (0.9, 1.0)
    assert [row["name"] for row in result.tensors] == ["small", "large"]


def test_climbing_stops_at_the_first_broken_rung_and_takes_none_after_it():
    taken = []

    def rungs():
        for name, equal in (("a", True), ("b", False), ("c", True)):
            taken.append(name)
            yield compare_tensors(name, {"x": np.ones(1)}, {"x": np.ones(1) if equal else np.zeros(1)}, reason="test")

    assert [check.passed for check in climb(rungs())] == [True, False]
    assert taken == ["a", "b"]
    assert not not_reached("c", "b").passed

"""Initial weights as samples: equal distributions pass, other scales, shapes and constants do not."""

import numpy as np
import pytest

from birdplane_keras.parity.core.distributions import compare_distributions


def uniform(rng, shape, bound=0.1):
    return rng.uniform(-bound, bound, size=shape).astype(np.float32)


def normal(rng, shape, scale=0.1):
    return (scale * rng.normal(size=shape)).astype(np.float32)


@pytest.mark.parametrize("draw", [uniform, normal])
@pytest.mark.parametrize("shape", [(64, 64), (5,), (300, 300)])
def test_equal_draws_pass_over_many_seeds(draw, shape):
    seeds = 50 if np.prod(shape) < 10_000 else 10
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        check = compare_distributions({"w": draw(rng, shape)}, {"w": draw(rng, shape)})
        assert check.passed, (seed, check.reason)
        assert check.max_abs_difference <= check.tolerance


@pytest.mark.parametrize("factor", [0.9, 1.1])
@pytest.mark.parametrize(("draw", "entries"), [(uniform, 4096), (normal, 16384)])
def test_a_scale_off_by_a_tenth_fails(draw, entries, factor):
    """Entries of a normal distribution scatter more, so it takes four times as many to tell."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        check = compare_distributions({"w": draw(rng, entries, 0.1 * factor)}, {"w": draw(rng, entries)})
        assert not check.passed, seed


@pytest.mark.parametrize("factor", [0.5, 0.7, 1.5, 2.0])
@pytest.mark.parametrize("draw", [uniform, normal])
def test_a_scale_off_by_a_half_fails_and_its_ratio_is_told(draw, factor, rng):
    check = compare_distributions({"w": draw(rng, (64, 64), 0.1 * factor)}, {"w": draw(rng, (64, 64))})
    assert not check.passed
    assert check.place.tensor == "w"
    assert check.tensors[0]["scale_ratio"] == pytest.approx(factor, rel=0.05)


def test_another_shape_of_one_scale_fails(rng):
    """Uniform and normal entries of one standard deviation: Glorot's two initialisers."""
    check = compare_distributions({"w": normal(rng, (128, 128), 0.1 / 3**0.5)}, {"w": uniform(rng, (128, 128))})
    assert not check.passed


def test_a_shifted_tensor_fails(rng):
    assert not compare_distributions({"w": uniform(rng, (64, 64)) + 0.05}, {"w": uniform(rng, (64, 64))}).passed


def test_equal_constants_pass_and_others_fail():
    zeros, ones = np.zeros(16, np.float32), np.ones(16, np.float32)
    assert compare_distributions({"b": zeros}, {"b": zeros.copy()}).passed
    assert compare_distributions({"b": ones}, {"b": ones.copy()}).passed
    assert not compare_distributions({"b": zeros}, {"b": ones}).passed


def test_a_constant_is_no_sample_of_a_distribution(rng):
    zeros, drawn = np.zeros(16, np.float32), uniform(rng, 16)
    for ours, theirs in ((zeros, drawn), (drawn, zeros)):
        check = compare_distributions({"b": ours}, {"b": theirs})
        assert not check.passed
        assert "all 0" in check.reason


def test_every_tensor_that_fails_is_a_row_of_the_check(rng):
    ours = {"a": uniform(rng, 4096), "b": np.ones(4, np.float32), "c": uniform(rng, 4096, 0.3)}
    theirs = {"a": uniform(rng, 4096), "b": np.zeros(4, np.float32), "c": uniform(rng, 4096)}
    check = compare_distributions(ours, theirs)
    assert {row["name"]: row["passed"] for row in check.tensors} == {"a": True, "b": False, "c": False}


def test_one_wrong_tensor_among_many_right_ones_fails(rng):
    names = [f"{index}.weight" for index in range(30)]
    theirs = {name: uniform(rng, (32, 32)) for name in names}
    ours = {name: uniform(rng, (32, 32), 0.2 if name == "17.weight" else 0.1) for name in names}
    check = compare_distributions(ours, theirs)
    assert not check.passed
    assert check.place.tensor == "17.weight"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_number_that_is_not_finite_fails(value, rng):
    broken = uniform(rng, 4096)
    broken[7] = value
    assert not compare_distributions({"w": broken}, {"w": uniform(rng, 4096)}).passed
    assert not compare_distributions({"w": uniform(rng, 4096)}, {"w": broken}).passed


def test_nothing_compared_fails(rng):
    assert not compare_distributions({}, {}).passed
    assert not compare_distributions({"v": uniform(rng, 9)}, {"w": uniform(rng, 9)}).passed


def test_a_tensor_missing_on_one_side_fails(rng):
    both = uniform(rng, 64)
    assert not compare_distributions({"w": both}, {"w": both, "b": both}).passed
    assert not compare_distributions({"w": both, "b": both}, {"w": both}).passed

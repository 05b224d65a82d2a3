"""Causes read off synthetic arrays, and hypotheses tried on made-up first steps."""

import numpy as np
import pytest

from birdplane_keras.parity.causes.budget import Budget
from birdplane_keras.parity.causes.feeding import in_batches, in_data
from birdplane_keras.parity.causes.hypothesis import Hypothesis, advise, together
from birdplane_keras.parity.causes.outlines import in_shapes
from birdplane_keras.parity.causes.search import search
from birdplane_keras.parity.causes.weights import find_blocks, in_weights
from birdplane_keras.parity.core.records import STEP_RUNGS, Fed, Probe, Reading, Role
from birdplane_keras.parity.core.tolerances import ROUNDING

NOISE = {rung: {"x": 1e-7} for rung in STEP_RUNGS}


def images(rng):
    return rng.uniform(-1, 1, size=(40, 6, 5, 3)).astype(np.float32)


def found_in(ours, theirs, name="inputs"):
    def fed(values):
        tensors = {name: values}
        return Fed(inputs=tensors, targets={}) if name == "inputs" else Fed(inputs={}, targets=tensors)

    return list(in_data(fed(ours), fed(theirs)))


def causes(ours, theirs, name="inputs"):
    return [finding.cause for finding in found_in(ours, theirs, name)]


def probe(**values):
    return Probe.of(Reading(r, "x", np.array(values.get(r, 1.0), np.float32), Role.WEIGHT) for r in STEP_RUNGS)


def guess(cause="guess", **settings):
    return Hypothesis(
        cause=cause, text=f"a {cause}", advice=advise("do otherwise"), change=lambda run: None, **settings
    )


def searched(hypotheses, try_it, port, rung="loss", reference=None, seconds=60.0):
    return search(rung, hypotheses, port, reference or probe(), NOISE, try_it, Budget(seconds))


def found_by(hypotheses, made, port, rung="loss", reference=None):
    """Searches, where `made` says what the reference computes with each hypothesis, by its cause; returns its parts."""
    best = searched(hypotheses, lambda h, **_: made[h.cause], port, rung, reference).best
    return [] if best is None else [member.cause for member in best.hypothesis.members]


def test_equal_data_have_no_cause(rng):
    x = images(rng)
    assert causes(x, x.copy()) == []


def test_channels_in_reverse_order_are_told(rng):
    x = images(rng)
    assert causes(x[..., ::-1].copy(), x) == ["channel_order"]


@pytest.mark.parametrize("hot", [False, True], ids=["numbers", "one-hot"])
def test_permuted_labels_are_told_with_their_table(hot, rng):
    y = rng.integers(0, 4, size=100)
    table = np.array([2, 0, 1, 3])
    ours, theirs = (np.eye(4, dtype=np.float32)[t] if hot else t for t in (table[y], y))
    found = found_in(ours, theirs, "targets")
    assert [finding.cause for finding in found] == ["labels_permuted"]
    assert "{0: 2, 1: 0, 2: 1, 3: 3}" in found[0].evidence


def test_labels_that_are_wrong_at_random_are_not_called_permuted(rng):
    y = rng.integers(0, 4, size=100)
    wrong = y.copy()
    wrong[:10] = (wrong[:10] + rng.integers(1, 4, size=10)) % 4
    assert causes(wrong, y, "targets") == ["wrong_labels"]


def test_labels_of_two_classes_in_one_are_not_called_permuted(rng):
    y = rng.integers(0, 4, size=100)
    assert causes(np.where(y == 3, 0, y), y, "targets") == ["wrong_labels"]


def test_labels_that_the_reference_does_not_have_are_not_called_permuted(rng):
    """Counting from one is another mistake than another order of the classes."""
    y = rng.integers(0, 4, size=100)
    assert causes(y + 1, y, "targets") == ["index_offset"]


def test_raw_images_are_told_not_normalised(rng):
    raw = rng.uniform(0, 1, size=(40, 6, 5, 3)).astype(np.float32)
    mean, deviation = np.array([0.4, 0.5, 0.6], np.float32), np.array([0.2, 0.25, 0.3], np.float32)
    assert causes(raw, (raw - mean) / deviation) == ["not_normalised"]


def test_images_normalised_twice_are_told(rng):
    raw = rng.integers(0, 256, size=(60, 8, 8, 3)).astype(np.float32) / 255
    once = (raw - np.float32(0.5)) / np.float32(0.25)
    assert causes((once - np.float32(0.5)) / np.float32(0.25), once) == ["normalised_twice"]


def test_other_constants_are_told_for_each_channel(rng):
    raw = rng.uniform(0, 1, size=(40, 6, 5, 3)).astype(np.float32)
    theirs = (raw - np.float32([0.4, 0.5, 0.6])) / np.float32([0.2, 0.25, 0.3])
    ours = (raw - np.float32([0.45, 0.5, 0.6])) / np.float32([0.2, 0.25, 0.35])
    assert causes(ours, theirs) == ["normalisation_constants"]


def test_what_is_no_straight_line_is_no_normalisation(rng):
    x = images(rng)
    assert causes(x**2, x) == []
    spoilt = x * np.float32(2)
    spoilt[3, 2, 1, 0] += 0.01
    assert causes(spoilt, x) == []


def test_nan_in_the_data_is_told_before_all_else(rng):
    x = images(rng)
    broken = x[..., ::-1].copy()
    broken[0, 0, 0, 0] = np.nan
    assert causes(broken, x) == ["not_a_number"]


def test_a_dropped_last_batch_and_another_order_are_told_apart():
    theirs = [np.arange(4), np.arange(4, 8), np.arange(8, 10)]
    assert [f.cause for f in in_batches("told", theirs[:2], theirs)] == ["last_batch"]
    assert [f.cause for f in in_batches("told", theirs[::-1], theirs)] == ["batch_order"]


@pytest.mark.parametrize(("count", "axis"), [(4, 0), (3, 0), (4, 1), (3, 1)])
def test_blocks_in_another_order_are_found(count, axis, rng):
    theirs = rng.normal(size=(count * 5, count * 5)).astype(np.float32)
    order = [1, 0, *range(2, count)]
    ours = np.concatenate([np.split(theirs, count, axis)[i] for i in order], axis)
    assert find_blocks(ours, theirs) == order


def test_equal_or_unrelated_tensors_have_no_blocks(rng):
    theirs = rng.normal(size=(12, 5)).astype(np.float32)
    assert find_blocks(theirs.copy(), theirs) is None
    assert find_blocks(rng.normal(size=(12, 5)).astype(np.float32), theirs) is None
    assert find_blocks(np.roll(theirs, 1, axis=0), theirs) is None


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda w: w.T.copy(), "kernel_transposed"),
        (lambda w: w.astype(np.float16).astype(np.float32), "precision"),
        (lambda w: w[:, [3, 1, 2, 0, 4, 5, 6]].copy(), "flatten_order"),
    ],
)
def test_what_was_done_to_a_weight_is_told(change, cause, rng):
    weight = rng.normal(size=(7, 7)).astype(np.float32)
    found = list(in_weights({"w": change(weight)}, {"w": weight}, set()))
    assert [finding.cause for finding in found] == [cause]


def test_a_hypothesis_that_computes_what_the_port_does_is_found():
    port = probe(loss=2.0, gradients=3.0)
    assert found_by([guess()], {"guess": port}, port) == ["guess"]


def test_a_hypothesis_that_computes_something_else_is_not():
    assert found_by([guess()], {"guess": probe(loss=1.9)}, probe(loss=2.0)) == []


@pytest.mark.parametrize("fitted", [False, True])
def test_a_fitted_hypothesis_must_explain_more_than_the_loss(fitted):
    port, made = probe(loss=2.0, gradients=3.0), probe(loss=2.0, gradients=5.0)
    assert found_by([guess(fitted=fitted)], {"guess": made}, port) == ([] if fitted else ["guess"])


def test_a_fitted_hypothesis_that_explains_the_gradients_too_is_found():
    port = probe(loss=2.0, gradients=3.0, first_update=7.0)
    made = probe(loss=2.0, gradients=3.0, first_update=1.0)
    assert found_by([guess(fitted=True)], {"guess": made}, port) == ["guess"]


def test_of_two_hypotheses_the_one_that_explains_more_is_kept():
    port = probe(loss=2.0, gradients=3.0)
    made = {"less": probe(loss=2.0), "more": port}
    assert found_by([guess("less"), guess("more")], made, port) == ["more"]


def test_the_search_ends_with_the_first_hypothesis_that_explains_all():
    """The likeliest come first; another that explains as much is not even tried."""
    port = probe(loss=2.0, gradients=3.0)
    tried = []

    def try_it(hypothesis, **_):
        tried.append(hypothesis.cause)
        return {"one": port, "none": None}.get(hypothesis.cause)

    found = searched([guess("none"), guess("one"), guess("two")], try_it, port)
    assert found.best.hypothesis.cause == "one"
    assert set(tried) == {"none", "one"}
    assert found.untried == []


def test_a_search_whose_time_is_over_says_what_it_did_not_try():
    port = probe(loss=2.0)
    hypotheses = [guess(name) for name in ("one", "two", "three", "four", "four")]
    found = searched(hypotheses, lambda h, **_: port, port, seconds=0)
    assert found.best is None
    told = found.describe_untried(60)
    assert told == "5 hypotheses were not tried within 60 s: one, two, three and 1 more kinds"
    assert searched(hypotheses, lambda h, **_: port, port).describe_untried(60) == ""


def test_a_hypothesis_that_cannot_be_tried_or_is_not_finite_is_not_found():
    port = probe(loss=2.0)
    assert found_by([guess("none"), guess("nan")], {"none": None, "nan": probe(loss=np.nan)}, port) == []


def test_no_hypothesis_explains_a_port_that_is_not_finite():
    port = probe(loss=np.nan)
    assert found_by([guess()], {"guess": port}, port) == []


def test_how_many_rungs_are_explained_is_told():
    port, made = probe(loss=2.0, gradients=3.0), probe(loss=2.0)
    assert searched([guess()], lambda *_, **__: made, port).best.explained == 1
    assert searched([guess()], lambda *_, **__: port, port).best.explained == len(STEP_RUNGS) - 1


def test_a_hypothesis_that_changes_nothing_explains_nothing():
    """The port is just beyond what is allowed, and the reference with the hypothesis is no nearer."""
    factor = ROUNDING.factor
    port = probe(gradients=1.0 + 1.1 * factor * 1e-7)
    made = {"nothing": probe(), "right": port}
    assert found_by([guess("nothing")], made, port, "gradients") == []
    assert found_by([guess("nothing"), guess("right")], made, port, "gradients") == ["right"]


def test_several_mistakes_at_once_are_a_finding_each_and_no_more_than_it_takes():
    port = probe(forward=2.0)
    one, two, three = guess("one"), guess("two"), guess("three")
    needed = {"one", "two"}

    def try_it(hypothesis, **_):
        return port if needed <= {member.cause for member in hypothesis.members} else probe(forward=1.5)

    best = searched([one, two, together([one, two, three])], try_it, port, "forward").best
    assert [member.cause for member in best.hypothesis.members] == ["one", "two"]


@pytest.mark.parametrize(
    ("ours", "theirs", "fix"),
    [
        ((4, 8, 8, 3), (4, 3, 8, 8), "outputs_to_keras=channels_last"),
        ((4, 1), (4,), "outputs.reshape((-1, 1))"),
        ((4, 3), (4, 5), "as many units"),
    ],
)
def test_outputs_of_another_shape_come_with_what_fixes_them(ours, theirs, fix):
    found = in_shapes("outputs differ in shape", ours, theirs)
    assert found.cause == "output_shape"
    assert fix in found.fix

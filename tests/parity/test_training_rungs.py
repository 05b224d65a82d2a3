"""The rungs of a whole training run, on small arrays: each allows what nudged copies of the reference did."""

from types import SimpleNamespace

import numpy as np
import pytest

from birdplane_keras.parity.core.check import Place
from birdplane_keras.parity.core.envelope import Envelope, churn, measure_outputs
from birdplane_keras.parity.core.records import Scores
from birdplane_keras.parity.core.training import (
    compare_accuracies,
    compare_final_weights,
    compare_losses,
    compare_predictions,
)

LOSSES = np.array([0.9, 0.7, 0.5, 0.3], np.float32)
LOGITS = np.array([[2, 1], [0, 1], [1, 0], [1, 0]], np.float32)
WEIGHTS = {"w": np.ones((2, 2), np.float32)}


def envelope(**changes):
    usual = {
        "weights": {"w": 2e-7},
        "outputs": {"outputs": np.full(4, 1e-6)},
        "largest": {"outputs": 1e-6},
        "churn": {"outputs": 0},
    }
    return Envelope(**(usual | changes))


def losses(keras, torch, drift=(0, 1e-7, 1e-6, 0), noise=1e-8):
    """Compares losses, with the drift of copies, or `None` where there were none."""
    together = SimpleNamespace(
        copies=[] if drift is None else [1, 2], loss_drift=lambda: np.array(drift), loss_noise=noise
    )
    return compare_losses(keras, torch, SimpleNamespace(together=together))


def test_losses_within_what_the_copies_did_pass():
    check = losses(LOSSES + np.array([0, 5e-7, 9e-6, 9e-6], np.float32), LOSSES)
    assert check.passed
    assert check.tolerance > 0


def test_the_first_loss_beyond_what_the_copies_did_is_named():
    check = losses(LOSSES + np.array([0, 0, 2e-5, 1], np.float32), LOSSES)
    assert (check.code, check.place) == ("beyond", Place(tensor="loss", step=2))


def test_early_steps_are_not_allowed_the_noise_of_late_ones():
    assert not losses(LOSSES + np.array([0, 5e-6, 0, 0], np.float32), LOSSES).passed


def test_losses_with_a_nan_or_of_another_length_fail():
    broken = LOSSES.copy()
    broken[3] = np.nan
    assert losses(broken, LOSSES).place.step == 3
    assert losses(broken, broken).place.step == 3
    assert not losses(LOSSES[:3], LOSSES).passed


def test_without_copies_every_bit_counts():
    assert losses(LOSSES, LOSSES, drift=None).passed
    assert not losses(np.nextafter(LOSSES, np.float32(1)), LOSSES, drift=None).passed
    assert compare_final_weights(WEIGHTS, WEIGHTS, None).passed
    assert not compare_final_weights({"w": WEIGHTS["w"] + np.float32(1e-6)}, WEIGHTS, None).passed
    assert not compare_predictions({"outputs": LOGITS + np.float32(1e-6)}, {"outputs": LOGITS}, None).passed


def test_final_weights_are_allowed_ten_times_what_the_copies_drifted():
    moved = WEIGHTS["w"].copy()
    moved[0, 0] += np.float32(1.8e-6)
    assert compare_final_weights({"w": moved}, WEIGHTS, envelope()).passed
    moved[0, 0] += np.float32(1e-6)
    assert not compare_final_weights({"w": moved}, WEIGHTS, envelope()).passed


def predicted(logits, measured, theirs=LOGITS):
    return compare_predictions({"outputs": logits}, {"outputs": theirs}, measured)


def test_scores_beyond_the_copies_fail_even_without_churn():
    shifted = LOGITS + np.float32(1e-3)
    assert churn(shifted, LOGITS) == 0
    assert not predicted(shifted, envelope()).passed
    assert predicted(LOGITS, envelope()).passed


def test_scores_that_are_as_far_as_the_worst_example_but_all_of_them_fail():
    """In a chaotic run the worst example alone would excuse nearly anything."""
    far = envelope(outputs={"outputs": np.array([1e-6, 1e-6, 1e-6, 1.0])}, largest={"outputs": 1.0})
    one, all_of_them = np.zeros((4, 2), np.float32), np.full((4, 2), 0.5, np.float32)
    one[0, 0] = 0.5
    assert predicted(LOGITS + one, far).passed
    assert predicted(LOGITS + all_of_them, far).place.tensor == "outputs, the middle example"


def test_more_churn_than_the_copies_had_fails():
    logits = np.tile(np.float32([[1, 0]]), (40, 1))
    loose = envelope(outputs={"outputs": np.full(40, 1.0)}, largest={"outputs": 1.0}, churn={"outputs": 2})
    for flipped, passes in ((20, True), (21, False)):
        swapped = logits.copy()
        swapped[:flipped] = swapped[:flipped, ::-1]
        check = predicted(swapped, loose, logits)
        assert check.passed is passes
    assert check.place.tensor == "outputs, the churn"


@pytest.mark.parametrize(("together", "passes"), [(True, True), (False, False)])
def test_examples_that_move_as_one_in_the_copies_may_all_be_named_otherwise(together, passes):
    rng = np.random.default_rng(0)
    theirs = (np.float32([1, 0]) + rng.normal(0, 0.01, size=(40, 2))).astype(np.float32)
    moved = np.tile(np.float32([3, 0]), (40, 1))
    if not together:
        moved[::2] = moved[::2, ::-1] / 10  # each by itself: no copy names one otherwise
    outputs, largest, flipped = measure_outputs([{"outputs": theirs + moved}], {"outputs": theirs})
    measured = envelope(outputs=outputs, largest=largest, churn=flipped)
    port = theirs - np.float32([3, 0]) if together else theirs[:, ::-1]
    assert predicted(port, measured, theirs).passed is passes


def test_an_output_that_the_port_lacks_fails():
    assert compare_predictions({}, {"outputs": LOGITS}, envelope()).code == "missing"


@pytest.mark.parametrize("what", ["losses", "outputs", "weights"])
def test_copies_that_met_a_nan_allow_nothing(what):
    nan = {"outputs": {"outputs": np.full(4, np.nan)}, "largest": {"outputs": np.nan}}
    checks = {
        "losses": losses(LOSSES + np.float32(1e-6), LOSSES, drift=(np.nan, 1, 1, 1)),
        "outputs": predicted(LOGITS + 1, envelope(**nan)),
        "weights": compare_final_weights({"w": WEIGHTS["w"] + 1}, WEIGHTS, envelope(weights={"w": np.nan})),
    }
    assert not checks[what].passed


def test_where_the_copies_met_nothing_one_ulp_counts():
    still = envelope(weights={"w": 0.0}, outputs={"outputs": np.zeros(4)}, largest={"outputs": 0.0})
    nearby = {"w": np.nextafter(WEIGHTS["w"], np.float32(2))}
    assert compare_final_weights(nearby, WEIGHTS, still).passed
    assert not compare_final_weights({"w": WEIGHTS["w"] + np.float32(1e-5)}, WEIGHTS, still).passed
    assert predicted(np.nextafter(LOGITS, np.float32(9)), still).passed


def test_the_copies_outputs_are_measured_example_by_example():
    copies = [{"outputs": LOGITS + d} for d in (np.float32(0.25), np.float32([[0.5, 0], [0, 0], [0, 2], [0, 0]]))]
    outputs, largest, flipped = measure_outputs(copies, {"outputs": LOGITS})
    assert outputs["outputs"].tolist() == [0.5, 0.25, 2.0, 0.25]
    assert (largest, flipped) == ({"outputs": 2.0}, {"outputs": 1})


def test_churn_counts_examples_even_where_the_accuracies_agree():
    flipped = LOGITS[:, ::-1].copy()
    flipped[1:3] = LOGITS[1:3]
    assert churn(flipped, LOGITS) == 2


def test_accuracies_that_agree_with_their_recount_pass():
    right = Scores(reported=3.0, recounted=3.0)
    assert compare_accuracies(right, right, 0).passed


@pytest.mark.parametrize("reported", [2.0, np.nan, 4.0])
def test_a_metric_that_is_not_the_recount_fails(reported):
    """For example a metric that never scored the last partial batch."""
    right = Scores(reported=3.0, recounted=3.0)
    check = compare_accuracies(Scores(reported=reported, recounted=3.0), right, 0)
    assert check.place.tensor == "Keras's metric against the recount"


def test_examples_that_all_flip_the_same_way_are_not_rounding():
    """Twenty-five flips: five of either sign would be expected, 4 x 5 are allowed, 25 are not."""
    wrong, right = Scores(reported=75.0, recounted=75.0), Scores(reported=100.0, recounted=100.0)
    check = compare_accuracies(wrong, right, 25)
    assert (check.passed, check.place.tensor) == (False, "Keras against PyTorch")
    mixed = Scores(reported=87.0, recounted=87.0), Scores(reported=88.0, recounted=88.0)
    assert compare_accuracies(*mixed, 25).passed

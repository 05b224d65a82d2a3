"""What pipelines do to arrays is named, where one thing makes one side's of the other's."""

import numpy as np
import pytest

from birdplane_keras.parity.causes.feeding import in_data
from birdplane_keras.parity.causes.weights import in_weights
from birdplane_keras.parity.core.records import Fed

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.normal(size=(12, 6, 6, 3)).astype(np.float32)
WORDS = np.array([[0, 0, 3, 5], [0, 2, 1, 7], [4, 4, 1, 2], [0, 0, 0, 9]])
LABELS = RANDOM.integers(0, 4, 40)
DONE = {
    "flipped": lambda x: x[:, :, ::-1],
    "axes_exchanged": lambda x: x.transpose(0, 2, 1, 3),
    "shifted": lambda x: np.roll(x, 2, 1),
    "truncated": lambda x: np.trunc(x),
    "standardised": lambda x: (x - x.mean((1, 2, 3), keepdims=True)) / x.std((1, 2, 3), keepdims=True),
    "normalisation_constants": lambda x: x * (255 / 256),
    "channel_order": lambda x: x[..., ::-1],
    "example_order": lambda x: x[RANDOM.permutation(len(x))],
}


def causes(ours, theirs, what="inputs"):
    fed = [{"inputs": {}, "targets": {}, what: {what: value}} for value in (ours, theirs)]
    return [finding.cause for finding in in_data(*(Fed(**each) for each in fed))]


@pytest.mark.parametrize("cause", DONE)
def test_what_was_done_to_inputs_is_named(cause):
    done = np.ascontiguousarray(DONE[cause](IMAGES), dtype=np.float32)
    assert causes(done, IMAGES) == [cause]


def test_what_is_moved_and_filled_from_outside_is_named():
    moved = np.zeros_like(IMAGES)
    moved[:, 1:] = IMAGES[:, :-1]
    assert causes(moved, IMAGES) == ["shifted"]


def test_two_things_that_were_done_are_both_named():
    assert causes(np.flip(IMAGES, 1) * np.float32(0.5), IMAGES) == ["flipped", "normalisation_constants"]


def test_rows_that_are_padded_on_the_other_side_are_named():
    right = np.array([[3, 5, 0, 0], [2, 1, 7, 0], [4, 4, 1, 2], [9, 0, 0, 0]])
    assert causes(right, WORDS) == ["padding_side"]


def test_indices_that_are_all_one_too_large_are_named():
    assert causes(WORDS + 1, WORDS) == ["index_offset"]
    assert causes(LABELS + 1, LABELS, "targets") == ["index_offset"]


def test_a_few_wrong_examples_and_labels_are_counted():
    wrong = np.tile(IMAGES, (4, 1, 1, 1))
    right = wrong.copy()
    wrong[7] += 1
    assert causes(wrong, right) == ["few_examples"]
    labels = LABELS.copy()
    labels[[3, 5]] = (labels[[3, 5]] + 1) % 4
    assert causes(labels, LABELS, "targets") == ["wrong_labels"]


def test_nothing_is_named_where_nothing_fits():
    """Control: other numbers altogether."""
    assert causes(RANDOM.normal(size=IMAGES.shape).astype(np.float32), IMAGES) == []
    assert causes(IMAGES**2, IMAGES) == []


WEIGHT = RANDOM.normal(size=(5, 7)).astype(np.float32)


def causes_of_weights(ours, theirs=WEIGHT):
    return [found.cause for found in in_weights({"w": ours, "b": WEIGHT}, {"w": theirs, "b": WEIGHT}, set())]


def test_weights_of_which_one_value_differs_are_counted_before_a_word_of_initialisers():
    one = WEIGHT.copy()
    one[2, 3] = 9
    (finding,) = in_weights({"w": one, "b": WEIGHT}, {"w": WEIGHT, "b": WEIGHT}, set())
    assert finding.cause == "some_weights"
    assert "1 values in 1 of 2 tensors differ" in finding.text
    assert "at [2, 3]: 9 in Keras" in finding.evidence


def test_a_flipped_kernel_and_a_deviation_for_a_variance_are_named():
    assert causes_of_weights(WEIGHT[:, ::-1].copy()) == ["kernel_flipped"]
    variance = np.abs(WEIGHT)
    assert causes_of_weights(np.sqrt(variance), variance) == ["variance_for_deviation"]


def test_fresh_weights_still_are_fresh_weights():
    other = RANDOM.normal(size=(5, 7)).astype(np.float32)
    assert causes_of_weights(other) == ["default_initialisation"]

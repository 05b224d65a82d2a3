"""The rungs one by one, on small arrays: each passes what is equal, and fails what is not."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from birdplane_keras.parity.core import rungs as ladder
from birdplane_keras.parity.core.noise import NoiseEnvelope
from birdplane_keras.parity.core.tolerances import RUNGS


@dataclass(frozen=True)
class Run:
    """A training run of 2 epochs of 2 steps over 4 validation images."""

    weights: dict
    step_losses: np.ndarray
    validation_logits: np.ndarray
    history: dict
    train_logits: np.ndarray = None
    seconds_per_epoch: tuple = (1.0, 1.0)


LABELS = np.array([0, 1, 1, 0])


@pytest.fixture
def run():
    logits = np.array([[2, 1], [0, 1], [1, 0], [1, 0]], np.float32)  # the third is wrong
    return Run(
        weights={"w": np.ones((2, 2), np.float32)},
        step_losses=np.array([0.9, 0.7, 0.5, 0.3], np.float32),
        validation_logits=logits,
        history={"validation_accuracy": [0.5, 0.75]},
    )


@pytest.fixture
def envelope():
    return NoiseEnvelope(
        nudge="w[0, 0]",
        step_losses=np.array([0, 1e-7, 1e-6, 0]),
        epochs=[0, 1],
        weights=[{"w": 2e-7}, {"w": 1e-7}],
        image_differences=np.full(4, 1e-6),
        churn=0,
    )


def trajectory(keras, torch, envelope):
    drift = None if envelope is None else envelope.step_losses
    return ladder.compare_trajectories(keras, torch, steps_per_epoch=2, drift=drift, first_loss_noise=1e-8)


def test_recipes_that_differ_in_one_field_name_it():
    recipe = {"learning_rate": 0.01, "seed": 0}
    assert ladder.compare_recipes(recipe, dict(recipe)).passed
    check = ladder.compare_recipes(recipe | {"learning_rate": 0.011}, recipe)
    assert (check.passed, check.where) == (False, {"field": "learning_rate"})
    assert "0.011 in Keras, 0.01 in PyTorch" in check.reason


def test_a_field_that_one_recipe_lacks_fails():
    assert not ladder.compare_recipes({"a": 1}, {"a": 1, "b": None}).passed
    assert not ladder.compare_recipes({}, {}).passed


def epochs(*sizes, shift=0):
    return [[np.arange(size) + shift for size in sizes] for _ in range(2)]


def test_equal_batches_pass():
    assert ladder.compare_batch_order(epochs(4, 4, 2), epochs(4, 4, 2)).passed


@pytest.mark.parametrize(
    ("ours", "where"),
    [
        (epochs(4, 4), {"epoch": 0, "step": 2}),  # the last partial batch is dropped
        (epochs(4, 4, 3), {"epoch": 0, "step": 2}),
        (epochs(4, 4, 2, shift=1), {"epoch": 0, "step": 0}),
        (epochs(4, 4, 2)[:1], {"epoch": 1, "step": 0}),
        ([], {"epoch": 0, "step": 0}),
    ],
)
def test_other_batches_are_named(ours, where):
    check = ladder.compare_batch_order(ours, epochs(4, 4, 2))
    assert (check.passed, check.where) == (False, where)


def test_no_batches_on_both_sides_have_failed():
    assert not ladder.compare_batch_order([], []).passed


def test_a_trajectory_within_the_envelope_passes(run, envelope):
    nearby = run.step_losses + np.array([0, 5e-7, 9e-6, 9e-6], np.float32)
    check = trajectory(nearby, run.step_losses, envelope)
    assert check.passed
    assert check.tolerance > 0


def test_the_first_step_beyond_the_envelope_is_named(run, envelope):
    drifting = run.step_losses + np.array([0, 0, 2e-5, 1], np.float32)
    check = trajectory(drifting, run.step_losses, envelope)
    assert not check.passed
    assert check.where == {"tensor": "loss", "step": 2, "epoch": 1, "batch": 0}


def test_a_broken_trajectory_names_the_first_weight_that_left_the_envelope(run, envelope):
    envelope = replace(envelope, weights=[{"a": 2e-7, "b": 1e-7, "c": 1e-7}] * 2)
    drifting = run.step_losses + np.array([0, 0, 2e-5, 1], np.float32)
    distances = [{"a": 0.0, "b": 9.0, "c": 0.0}, {"a": 1.9e-6, "b": 2e-6, "c": np.nan}]  # the second epoch counts
    check = ladder.compare_trajectories(
        drifting,
        run.step_losses,
        steps_per_epoch=2,
        drift=envelope.step_losses,
        first_loss_noise=1e-8,
        envelope=envelope,
        distances=distances,
    )
    assert check.where == {"tensor": "b", "step": 2, "epoch": 1, "batch": 0}
    within = [dict.fromkeys("abc", 0.0)] * 2
    assert ladder.first_weight_beyond(within, envelope, 1) is None
    assert ladder.first_weight_beyond([within[0], {"a": 0.0, "b": 0.0, "c": np.nan}], envelope, 1) == "c"


def test_early_steps_are_not_allowed_the_noise_of_late_ones(run, envelope):
    assert not trajectory(run.step_losses + np.array([0, 5e-6, 0, 0], np.float32), run.step_losses, envelope).passed


def test_a_trajectory_with_a_nan_or_another_length_fails(run, envelope):
    broken = run.step_losses.copy()
    broken[3] = np.nan
    assert trajectory(broken, run.step_losses, envelope).where["step"] == 3
    assert not trajectory(run.step_losses[:3], run.step_losses, envelope).passed


def test_without_an_envelope_every_bit_counts(run):
    assert trajectory(run.step_losses, run.step_losses, None).passed
    assert not trajectory(np.nextafter(run.step_losses, np.float32(1)), run.step_losses, None).passed
    assert ladder.compare_final_weights(run.weights, run.weights, None).passed
    assert not ladder.compare_final_weights({"w": run.weights["w"] + np.float32(1e-6)}, run.weights, None).passed


def test_final_weights_are_allowed_ten_times_the_largest_drift_of_the_envelope(run, envelope):
    moved = run.weights["w"].copy()
    moved[0, 0] += np.float32(1.8e-6)
    assert ladder.compare_final_weights({"w": moved}, run.weights, envelope).passed
    moved[0, 0] += np.float32(1e-6)
    assert not ladder.compare_final_weights({"w": moved}, run.weights, envelope).passed


def test_logits_beyond_the_envelope_fail_even_without_churn(run, envelope):
    shifted = run.validation_logits + np.float32(1e-3)
    assert ladder.churn(shifted, run.validation_logits) == 0
    assert not ladder.compare_predictions(shifted, run.validation_logits, envelope).passed
    assert ladder.compare_predictions(run.validation_logits, run.validation_logits, envelope).passed


def test_logits_that_are_as_far_as_the_worst_image_but_all_of_them_fail(run, envelope):
    """In a chaotic run the worst image alone would excuse nearly anything."""
    envelope = replace(envelope, image_differences=np.array([1e-6, 1e-6, 1e-6, 1.0]))
    one, all_of_them = np.zeros((4, 2), np.float32), np.full((4, 2), 0.5, np.float32)
    one[0, 0] = 0.5
    assert ladder.compare_predictions(run.validation_logits + one, run.validation_logits, envelope).passed
    check = ladder.compare_predictions(run.validation_logits + all_of_them, run.validation_logits, envelope)
    assert check.where["tensor"] == "the middle image"


def test_more_churn_than_the_envelope_allows_fails(envelope):
    logits = np.tile(np.float32([[1, 0]]), (40, 1))
    envelope = replace(envelope, image_differences=np.full(40, 1.0), churn=2)
    for flipped, passes in ((20, True), (21, False)):
        swapped = logits.copy()
        swapped[:flipped] = swapped[:flipped, ::-1]
        check = ladder.compare_predictions(swapped, logits, envelope)
        assert check.passed is passes
    assert check.where["tensor"] == "churn"


@pytest.mark.parametrize("what", ["step_losses", "image_differences", "weights"])
def test_an_envelope_that_met_a_nan_allows_nothing(run, envelope, what):
    broken = {
        "step_losses": np.array([np.nan, 1, 1, 1]),
        "image_differences": np.full(4, np.nan),
        "weights": [{"w": np.nan}, {"w": 1.0}],
    }
    envelope = replace(envelope, **{what: broken[what]})
    checks = {
        "step_losses": trajectory(run.step_losses + np.float32(1e-6), run.step_losses, envelope),
        "image_differences": ladder.compare_predictions(run.validation_logits + 1, run.validation_logits, envelope),
        "weights": ladder.compare_final_weights({"w": run.weights["w"] + 1}, run.weights, envelope),
    }
    assert not checks[what].passed


def test_where_the_envelope_met_nothing_one_ulp_counts(run, envelope):
    still = replace(envelope, weights=[{"w": 0.0}], image_differences=np.zeros(4))
    nearby = {"w": np.nextafter(run.weights["w"], np.float32(2))}
    assert ladder.compare_final_weights(nearby, run.weights, still).passed
    assert not ladder.compare_final_weights({"w": run.weights["w"] + np.float32(1e-5)}, run.weights, still).passed
    logits = np.nextafter(run.validation_logits, np.float32(9))
    assert ladder.compare_predictions(logits, run.validation_logits, still).passed


def test_churn_counts_images_even_where_the_accuracies_agree(run):
    flipped = run.validation_logits[:, ::-1][[0, 1, 2, 3]].copy()
    flipped[1:3] = run.validation_logits[1:3]
    assert ladder.churn(flipped, run.validation_logits) == 2


def test_accuracies_that_agree_with_their_recount_pass(run):
    assert ladder.compare_accuracies(run, run, LABELS).passed


@pytest.mark.parametrize("reported", [0.5, 0.7, 1.0, np.nan])
def test_a_metric_that_is_not_the_recount_fails(run, reported):
    """For example a metric that never scored the last partial batch."""
    wrong = replace(run, history={"validation_accuracy": [0.5, reported]})
    check = ladder.compare_accuracies(wrong, run, LABELS)
    assert not check.passed
    assert check.where["tensor"] == "Keras's metric against the recount"


def test_images_that_all_flip_the_same_way_are_not_rounding(run):
    """Twenty-five flips: five of either sign would be expected, 4 x 5 are allowed, 25 are not."""
    labels = np.zeros(100, int)
    right = np.tile(np.float32([[1, 0]]), (100, 1))
    wrong = right.copy()
    wrong[:25] = wrong[:25, ::-1]
    ours = replace(run, validation_logits=wrong, history={"validation_accuracy": [0.75]})
    theirs = replace(run, validation_logits=right, history={"validation_accuracy": [1.0]})
    check = ladder.compare_accuracies(ours, theirs, labels)
    assert (check.passed, check.where["tensor"]) == (False, "Keras against PyTorch")
    mixed = np.where(np.arange(100) < 12, 0, labels)
    mixed[:13] = 1  # of the 25, 13 were wrong before
    theirs = replace(theirs, history={"validation_accuracy": [0.87]})
    ours = replace(ours, history={"validation_accuracy": [0.88]})
    assert ladder.compare_accuracies(ours, theirs, mixed).passed


def test_bits_differ_only_where_runs_can_be_compared(run):
    assert not ladder.bits_differ(run, run)
    assert ladder.bits_differ(replace(run, step_losses=run.step_losses + np.float32(1)), run)
    assert not ladder.bits_differ(replace(run, step_losses=run.step_losses[:2]), run)  # fails its rung instead


def test_the_verdict_needs_every_rung(run):
    checks = {name: ladder.exact_check(name, "same") for name in RUNGS}
    rounded = ladder.compare_within("forward", {"x": np.float32([1.1])}, {"x": np.float32([1.0])}, {"x": 0.2})
    broken = ladder.compare_recipes({"a": 1}, {"a": 2})

    def verdict(checks, **options):
        return ladder.verdict(list(checks.values()), rungs=RUNGS, **options)

    assert verdict(checks) == "bit-exact"
    assert verdict(checks | {"forward": rounded}) == "rounding-only"
    assert verdict(checks | {"forward": rounded, "recipe": broken}) == "diverged"
    fewer = {name: check for name, check in checks.items() if name != "initialisation"}
    assert verdict(fewer) == "diverged"  # a rung was lost
    assert verdict(fewer, left_out={"initialisation": "trained weights"}) == "bit-exact"  # or was not asked for
    assert verdict({}) == "diverged"
    assert verdict({}, left_out=dict.fromkeys(RUNGS, "all of them")) == "diverged"


def test_a_check_tells_how_many_times_the_noise_it_is():
    check = ladder.compare_within("forward", {"x": np.float32([1.5])}, {"x": np.float32([1.0])}, {"x": 0.25})
    assert (check.passed, check.times_noise, check.tolerance) == (True, 2.0, 2.0)  # 8 x the noise is allowed
    assert check.ulps == 0.5 / 2**-23

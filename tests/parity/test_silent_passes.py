"""Each way in which a comparison can pass without having compared anything: a pair that ours does not pass."""

from functools import partial

import keras
import numpy as np
import pytest
import torch
from torch import nn

from birdplane_keras.catalogue.composed import TwoHeads, two_heads_data, two_heads_loss, two_heads_port
from birdplane_keras.catalogue.networks import (
    CLASSES,
    FEATURES,
    dense,
    join,
    labelled,
    measured,
    mlp,
    regression_pair,
    shuffled,
    stack,
    vector_pair,
)
from birdplane_keras.errors import PairError
from birdplane_keras.parity import assert_parity, check_parity, torch_to_keras
from birdplane_keras.parity.core.check import passed
from birdplane_keras.parity.core.compare import compare_tensors
from birdplane_keras.parity.core.judge import MATCHES, verdict
from parity.middles import Own


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


def first_failure(pair, steps=10):
    report = check_parity(pair, steps=steps)
    assert report.verdict == "diverged"
    return report.content()["first_failure"]


def compare(keras_tensor, torch_tensor, tolerance=None):
    tolerances = None if tolerance is None else {"x": tolerance}
    return compare_tensors("forward", {"x": keras_tensor}, {"x": torch_tensor}, tolerances=tolerances, reason="")


def copied_pair(change, **changes):
    """A pair whose port holds the reference's weights, but for a change of one kernel (16, 16)."""
    pair = vector_pair(0, weights="as_given", initialisation=False, **changes)
    torch_to_keras(pair.torch_module, pair.keras_model)
    kernel = pair.keras_model.layers[1].kernel
    kernel.assign(change(np.array(kernel)))
    return pair


def blended(function, **changes):
    """A pair whose port does something more to its outputs, without weights: nothing but the outputs can tell."""
    widths = [dense(FEATURES, 16, "relu"), dense(16, 16, "relu"), dense(16, CLASSES)]
    return vector_pair(0, model=stack((FEATURES,), [*widths, Own(function)]), **changes)


def test_the_pairs_of_this_file_pass_without_their_fault():
    assert check_parity(copied_pair(lambda kernel: kernel), steps=10).verdict in MATCHES
    assert check_parity(blended(lambda x: x * 1.0), steps=10).verdict in MATCHES


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("tolerance", [None, 1.0, np.inf, np.nan])
def test_a_nan_that_compares_false(value, tolerance):
    right, wrong = np.ones(5, np.float32), np.array([1, 1, value, 1, 1], np.float32)
    for ours, theirs in ((wrong, right), (right, wrong), (wrong, wrong.copy()), (wrong, wrong)):
        assert not compare(ours, theirs, tolerance).passed
    assert compare(right, right.copy(), 1.0).passed


def test_a_nan_that_compares_false_in_one_output_of_the_port():
    def spoil(x):
        return torch.where(torch.arange(CLASSES) == 2, x * torch.nan, x)

    assert first_failure(blended(spoil))["rung"] == "forward"


def test_a_signed_maximum_that_cancels():
    """The port is lower everywhere, so the largest signed difference is negative."""
    zeros = np.zeros(6, np.float32)
    assert not compare(zeros - np.float32(0.5), zeros, 0.1).passed
    assert not compare(zeros + np.float32(0.5), zeros, 0.1).passed
    assert first_failure(blended(lambda x: x - 0.5))["rung"] == "forward"


def test_a_mean_that_cancels():
    """What is added has a mean of zero over each row."""
    signs = torch.tensor([1.0, -1.0, 1.0, -1.0])
    assert not compare(np.array([1, -1], np.float32), np.zeros(2, np.float32), 0.1).passed
    assert first_failure(blended(lambda x: x + 0.01 * signs))["rung"] == "forward"


@pytest.mark.parametrize("factor", [0.0, 2.0, 1.99])
def test_a_relative_tolerance_of_one(factor):
    """With rtol=1 everything from nothing to twice the reference's values is close."""
    values = np.linspace(-1, 1, 9, dtype=np.float32)
    assert not compare(values * np.float32(factor), values, 1e-3).passed
    assert first_failure(copied_pair(lambda kernel: kernel * factor))["rung"] == "initial_weights"
    assert first_failure(blended(lambda x: x * factor))["rung"] == "forward"


def test_means_of_tensors_that_are_equal():
    """The port's kernel has the same entries in another order: mean, sum, norm, minimum and maximum agree."""
    failure = first_failure(copied_pair(lambda kernel: kernel[::-1].copy()))
    assert (failure["rung"], failure["tensor"]) == ("initial_weights", "2.weight")


def test_a_loss_that_agrees_while_the_outputs_do_not():
    """Cross-entropy does not see what is added to all scores of an example."""
    failure = first_failure(blended(lambda x: x + 1.0))
    assert (failure["rung"], failure["tensor"]) == ("forward", "outputs")


def test_an_assertion_caught_and_printed(capsys):
    """The front door raises, and what it raises is not an error that a test run would pass over."""
    with pytest.raises(AssertionError):
        assert_parity(copied_pair(lambda kernel: kernel * 2), steps=5)
    assert capsys.readouterr().out == ""


def test_an_error_inside_the_judge_is_no_verdict():
    def fails(outputs, targets):
        raise AssertionError("caught and printed")

    with pytest.raises(PairError, match="caught and printed"):
        check_parity(vector_pair(0, torch_loss=fails), steps=5)


class OneHead(nn.Module):
    """The reference without its second output, which yet has that output's weights."""

    def __init__(self):
        super().__init__()
        self.both = TwoHeads()

    def forward(self, x):
        return self.both(x)[0]


def test_an_output_missing_in_the_reference():
    model = two_heads_port()
    inputs, (classes, _) = two_heads_data(0)
    loss = [keras.losses.SparseCategoricalCrossentropy(from_logits=True), None]
    failure = first_failure(join(OneHead(), model, (inputs, classes), keras_loss=loss, keras_data=(inputs, classes)))
    assert failure["rung"] == "structure"


def test_an_output_missing_in_the_port():
    inputs = keras.Input((FEATURES,))
    hidden = dense(FEATURES, 16, "tanh")(inputs)
    scores, _ = dense(16, CLASSES)(hidden), dense(16, 1)(hidden)
    data, (classes, values) = two_heads_data(0)
    model = keras.Model(inputs, scores)
    pair = join(
        TwoHeads(), model, (data, (classes, values)), torch_loss=two_heads_loss, targets_to_keras=lambda both: both[0]
    )
    report = check_parity(pair, steps=5)
    assert report.verdict == "diverged"
    assert "missing in Keras" in report.content()["first_failure"]["reason"]


@pytest.mark.parametrize("side", ["keras", "torch"])
def test_a_tensor_missing_on_one_side_fails_by_name(side):
    both = {"a": np.ones(2, np.float32), "b": np.ones(2, np.float32)}
    sides = {"keras": both, "torch": both} | {side: {"a": both["a"]}}
    check = compare_tensors("forward", **sides, reason="")
    assert not check.passed
    assert check.place.tensor == "b"


def test_values_that_agree_as_printed_text():
    """The two kernels print alike to four digits and differ by one part in 100,000."""

    def change(kernel):
        changed = kernel * np.float32(1 + 1e-5)
        alike = np.array([f"{a:.4f}" == f"{b:.4f}" for a, b in zip(kernel.flat, changed.flat, strict=True)])
        return np.where(alike.reshape(kernel.shape), changed, kernel)

    printed = []
    pair = copied_pair(lambda kernel: printed.append(kernel) or printed.append(change(kernel)) or printed[1])
    with np.printoptions(precision=4, suppress=True):
        assert str(printed[0]) == str(printed[1])
    assert not np.array_equal(*printed)
    assert first_failure(pair)["rung"] == "initial_weights"


def test_minus_zero_is_not_zero():
    assert not compare(np.array([-0.0], np.float32), np.array([0.0], np.float32)).passed


def test_an_excluded_list_that_excludes_everything():
    assert not compare_tensors("forward", {}, {}, reason="").passed
    assert verdict([]) == "diverged"
    assert verdict([passed("data", "same")]) == "diverged"


def test_a_pair_without_weights_has_nothing_to_agree_on():
    frozen = nn.Sequential(nn.ReLU())
    pair = vector_pair(0)
    object.__setattr__(pair, "torch_module", frozen)
    with pytest.raises(PairError):
        check_parity(pair, steps=5)


def test_layers_that_match_nothing_are_not_left_out():
    """A layer of the port without a counterpart, and one of the reference, are each named."""
    more = [dense(FEATURES, 16, "relu"), dense(16, 16, "relu"), dense(16, 16), dense(16, CLASSES)]
    assert first_failure(vector_pair(0, model=stack((FEATURES,), more)))["rung"] == "parameter_counts"
    fewer = [dense(FEATURES, 16, "relu"), dense(16, CLASSES)]
    assert first_failure(vector_pair(0, model=stack((FEATURES,), fewer)))["rung"] == "parameter_counts"


def test_the_last_partial_batch_never_scored():
    left_out = shuffled(0, 150, drop_last=True)
    failure = first_failure(vector_pair(0, batches=shuffled(0, 150), keras_batches=left_out))
    assert failure["rung"] == "batch_order"
    assert (failure["epoch"], failure["step"]) == (0, 4)


def test_an_example_in_the_last_partial_batch_counts():
    """Only the last example of the data is wrong, and it lies in a batch that the steps do not reach."""
    inputs, targets = labelled(0, FEATURES)
    wrong = targets.copy()
    wrong[-1] = (wrong[-1] + 1) % CLASSES
    order = partial(np.split, np.arange(150), [32, 64, 96, 128])
    pair = vector_pair(0, keras_data=(inputs, wrong), batches=lambda epoch: order())
    assert first_failure(pair, steps=2)["rung"] == "data"


@pytest.mark.parametrize("steps", [1, 40])
def test_softmax_applied_before_a_loss_that_applies_it(steps):
    widths = [dense(FEATURES, 16, "relu"), dense(16, 16, "relu"), dense(16, CLASSES, "softmax")]
    pair = vector_pair(0, model=stack((FEATURES,), widths))
    report = check_parity(pair, steps=steps)
    assert report.content()["first_failure"]["rung"] == "forward"
    assert "softmax" in str(report)


def test_softmax_applied_twice_on_both_sides_is_seen_in_no_output_and_is_no_difference():
    """The judge says whether the port is the reference, not whether the reference is wise."""
    module = nn.Sequential(*mlp(), nn.Softmax(1))
    widths = [dense(FEATURES, 16, "relu"), dense(16, 16, "relu"), dense(16, CLASSES, "softmax")]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    pair = vector_pair(0, module=module, model=stack((FEATURES,), widths), keras_loss=Unguarded(loss))
    assert check_parity(pair, steps=10).verdict in MATCHES


class Unguarded(keras.losses.Loss):
    """A loss behind which Keras does not look for the scores that went into a softmax."""

    def __init__(self, loss):
        super().__init__()
        self.loss = loss

    def call(self, y_true, y_pred):
        return nn.functional.cross_entropy(y_pred, y_true.long(), reduction="none")


def test_a_loss_with_a_softmax_too_many_is_seen_where_the_outputs_agree():
    def twice(targets, outputs):
        scores = keras.ops.softmax(outputs)
        return keras.losses.sparse_categorical_crossentropy(targets, scores, from_logits=True)

    assert first_failure(vector_pair(0, keras_loss=twice))["rung"] == "loss"


def test_a_target_that_is_broadcast_against_the_outputs():
    """(N,) against (N, 1) makes a loss of N x N differences, and both frameworks let it through."""
    pair = regression_pair(0, torch_loss=lambda outputs, targets: ((outputs - targets[:, 0]) ** 2).mean())
    assert first_failure(pair)["rung"] == "loss"


@pytest.mark.filterwarnings("ignore:Using a target size")
def test_where_the_reference_broadcasts_the_port_is_not_blamed():
    x, y = measured(0)
    (finding,) = check_parity(regression_pair(0, data=(x, y[:, 0])), steps=10).diagnosis
    assert finding.cause == "broadcasting"
    assert finding.text.startswith("the reference's loss subtracts targets (B,)")

"""The judge's front door on small pairs: verdicts, the ways to state a pair, and where a break is placed."""

import keras
import numpy as np
import pytest
import torch
from keras import layers
from torch import nn

from birdplane_keras.catalogue.clean_sequences import two_inputs
from birdplane_keras.catalogue.networks import (
    CLASSES,
    FEATURES,
    dense,
    image_pair,
    labelled,
    like_torch,
    mlp,
    one_hot,
    regression_pair,
    sgd,
    stack,
    vector_pair,
)
from birdplane_keras.catalogue.recipes import scheduled
from birdplane_keras.catalogue.registry import CLEAN, FAULTS
from birdplane_keras.parity import assert_parity, channels_last, check_parity, torch_to_keras
from birdplane_keras.parity.core.check import State
from birdplane_keras.parity.core.judge import MATCHES
from birdplane_keras.parity.core.result import DivergenceError
from birdplane_keras.parity.core.rungs import names as rung_names
from birdplane_keras.parity.core.tolerances import ENVELOPE, ROUNDING

schedules = keras.optimizers.schedules


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


def fault_named(name):
    return next(fault for fault in FAULTS if fault.name == name)


def failed_rung(report):
    return report.content()["first_failure"]["rung"]


class FusedDense(layers.Dense):
    """A dense layer that multiplies and adds at once, from a kernel that lies in memory as PyTorch's does."""

    def call(self, inputs):
        weight = self.kernel.value.T.contiguous()
        return self.activation(nn.functional.linear(inputs, weight, self.bias.value))


class HalvedDense(layers.Dense):
    """A dense layer that adds half of its bias before the rest."""

    def call(self, inputs):
        half = self.bias / 2
        return self.activation(keras.ops.matmul(inputs, self.kernel) + half + half)


def mean_cross_entropy(outputs, targets):
    """The losses of all examples and then their mean, in two steps, as Keras takes it."""
    return nn.functional.cross_entropy(outputs, targets, reduction="none").mean()


class Crossed(nn.Module):
    """Two layers of one shape, registered in another order than they are called in."""

    def __init__(self):
        super().__init__()
        self.second, self.first = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, FEATURES)
        self.head = nn.Linear(FEATURES, CLASSES)

    def forward(self, x):
        return self.head(torch.tanh(self.second(torch.tanh(self.first(x)))))


def crossed_pair(**changes):
    names = ("one", "two", "three")
    widths = ((FEATURES, "tanh"), (FEATURES, "tanh"), (CLASSES, None))
    made = [dense(FEATURES, width, act, name=name) for name, (width, act) in zip(names, widths, strict=True)]
    return vector_pair(0, module=Crossed(), model=stack((FEATURES,), made), **changes)


def changed_at(step, rate):
    """A pair whose port has another rate from one step on."""
    schedule = schedules.PiecewiseConstantDecay([step - 1], [0.05, rate])
    return vector_pair(0, keras_optimizer=keras.optimizers.SGD(schedule))


def test_a_clean_pair_is_rounding_only():
    report = check_parity(vector_pair(0), steps=20)
    assert report.verdict in MATCHES
    assert [check.name for check in report.checks] == rung_names()
    assert all(check.passed for check in report.checks)
    assert report.diagnosis == []
    assert set(report.left_out) == {"recipe", "accuracy"}  # a pair of models states neither


def test_identical_programs_are_bit_exact():
    widths = [(FEATURES, 16, "relu"), (16, CLASSES, None)]
    model = stack((FEATURES,), [FusedDense(o, activation=a, **like_torch(i)) for i, o, a in widths])
    module = nn.Sequential(nn.Linear(FEATURES, 16), nn.ReLU(), nn.Linear(16, CLASSES))
    report = check_parity(vector_pair(0, module=module, model=model, torch_loss=mean_cross_entropy), steps=20)
    assert report.verdict == "bit-exact"
    assert {check.bits_differing for check in report.checks if check.state is State.PASSED} == {0}
    assert report.churn == 0
    assert report.hashes["keras_final_weights"] == report.hashes["torch_final_weights"]


def test_a_port_that_rounds_otherwise_is_not_bit_exact():
    """Its layers add the bias in halves: on no CPU does that round as PyTorch's one product and sum."""
    widths = [(FEATURES, 16, "relu"), (16, CLASSES, None)]
    model = stack((FEATURES,), [HalvedDense(o, activation=a, **like_torch(i)) for i, o, a in widths])
    module = nn.Sequential(nn.Linear(FEATURES, 16), nn.ReLU(), nn.Linear(16, CLASSES))
    report = check_parity(vector_pair(0, module=module, model=model), steps=20)
    assert report.verdict == "rounding-only"
    assert report.hashes["keras_initial_weights"] == report.hashes["torch_initial_weights"]
    assert report.hashes["keras_final_weights"] != report.hashes["torch_final_weights"]


@pytest.mark.parametrize("make", [vector_pair, fault_named("schedule_late").make], ids=["clean", "diverged"])
def test_the_same_seed_gives_an_equal_report(make):
    contents = []
    for _ in range(2):
        keras.utils.clear_session()  # so that Keras numbers its layers from the start
        keras.utils.set_random_seed(0)
        contents.append(check_parity(make(0), steps=25, seed=3).content())
    assert contents[0] == contents[1]


def test_another_seed_orders_the_batches_otherwise():
    losses = []
    for seed in (0, 1):
        keras.utils.set_random_seed(0)
        losses.append(check_parity(vector_pair(0), steps=10, seed=seed).hashes["torch_final_weights"])
    assert losses[0] != losses[1]


def test_several_inputs_are_given_by_position():
    assert check_parity(two_inputs.make(0), steps=10).verdict in MATCHES


def test_float_targets_are_compared_as_data():
    pair = regression_pair(0)
    assert check_parity(pair, steps=10).verdict in MATCHES
    inputs, targets = pair.data
    report = check_parity(regression_pair(0, keras_data=(inputs, targets + np.float32(0.01))), steps=10)
    assert failed_rung(report) == "data"


def test_to_keras_turns_the_inputs():
    assert check_parity(image_pair(0, to_keras=channels_last), steps=10).verdict in MATCHES


def test_targets_to_keras_turns_the_targets():
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    report = check_parity(vector_pair(0, keras_loss=loss, targets_to_keras=one_hot), steps=10)
    assert report.verdict in MATCHES


def test_targets_to_keras_that_names_the_classes_otherwise_is_wrong():
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    turned = vector_pair(0, keras_loss=loss, targets_to_keras=lambda targets: one_hot(targets)[:, ::-1].copy())
    assert check_parity(turned, steps=10).verdict == "diverged"


def test_keras_data_are_checked_against_the_reference():
    inputs, targets = labelled(0, FEATURES)
    right = vector_pair(0, keras_data=(inputs.copy(), targets.copy()))
    assert check_parity(right, steps=10).verdict in MATCHES
    wrong = inputs.copy()
    wrong[149, 7] += 0.001  # one entry of the last example
    report = check_parity(vector_pair(0, keras_data=(wrong, targets)), steps=10)
    assert failed_rung(report) == "data"
    assert report.content()["first_failure"]["tensor"] == "inputs"


def test_weights_as_given_are_checked_and_not_overwritten():
    pair = vector_pair(0, weights="as_given", initialisation=False)
    torch_to_keras(pair.torch_module, pair.keras_model)
    assert check_parity(pair, steps=10).verdict in MATCHES
    kernel = pair.keras_model.layers[1].kernel
    kernel.assign(np.nextafter(kernel.numpy(), np.float32(1)))
    report = check_parity(pair, steps=10)
    assert failed_rung(report) == "initial_weights"
    assert report.content()["first_failure"]["tensor"] == "2.weight"


def test_a_mapping_says_which_layer_is_which():
    mapping = {"one": "first", "two": "second"}
    assert check_parity(crossed_pair(mapping=mapping), steps=10).verdict in MATCHES


def test_a_mapping_that_is_wrong_is_taken_as_said():
    assert failed_rung(check_parity(crossed_pair(mapping={"one": "second", "two": "first"}), steps=10)) == "forward"


def test_initialisation_left_out_says_so_and_leaves_the_verdict_right():
    default = [layers.Dense(16, "relu"), layers.Dense(16, "relu"), layers.Dense(CLASSES)]
    report = check_parity(vector_pair(0, model=stack((FEATURES,), default), initialisation=False), steps=10)
    assert report.verdict in MATCHES
    assert set(report.left_out) == {"recipe", "initialisation", "accuracy"}
    assert "initialisation=False" in report.left_out["initialisation"]


def test_initialisation_left_out_hides_no_other_fault():
    wrong = vector_pair(0, initialisation=False, keras_optimizer=keras.optimizers.SGD(0.1))
    assert failed_rung(check_parity(wrong, steps=10)) == "first_update"


def test_assert_parity_is_one_line_in_a_test_suite():
    assert assert_parity(vector_pair(0), steps=10).verdict in MATCHES
    wrong = vector_pair(0, keras_optimizer=keras.optimizers.SGD(0.1))
    with pytest.raises(AssertionError) as raised:
        assert_parity(wrong, steps=10)
    assert isinstance(raised.value, DivergenceError)
    for told in ("diverged", "first_update", "learning_rate", "0.05", "Fix:"):
        assert told in str(raised.value)


def test_a_wrong_rate_from_step_23_on_is_found_at_that_step():
    report = check_parity(changed_at(23, 0.05 * 1.01), steps=40)
    failure = report.content()["first_failure"]
    assert failure["rung"] == "trajectory"
    assert failure["step"] == 23
    assert failure["tensor"].endswith((".weight", ".bias"))
    assert report.diagnosis[0].cause == "schedule"
    assert "step 23" in report.diagnosis[0].evidence


def test_a_rate_that_changes_after_the_last_step_is_no_difference():
    assert check_parity(changed_at(40, 0.05 * 1.01), steps=40).verdict in MATCHES


def test_the_same_schedule_on_both_sides_is_no_difference():
    pair = scheduled(changed_at(23, 0.05 * 1.01), lambda step: 1.0 if step < 23 else 1.01)
    assert check_parity(pair, steps=40).verdict in MATCHES


@pytest.mark.parametrize("entry", CLEAN[:4], ids=lambda entry: entry.name)
def test_the_noise_is_reported_and_clean_pairs_stay_within_the_factor(entry):
    report = check_parity(entry.make(1), steps=10)
    assert set(report.noise) == {"forward", "loss", "gradients", "first_update", "optimizer_state", "evaluation"}
    assert all(value > 0 for tensors in report.noise.values() for value in tensors.values())
    for check in report.checks:
        factor = ROUNDING.factor if check.name in report.noise else ENVELOPE.factor
        if check.name in report.noise or check.name in ("trajectory", "final_weights", "predictions"):
            assert check.times_noise is not None
            assert check.times_noise <= factor
            assert all(row["max_abs_difference"] <= row["tolerance"] for row in check.tensors)


def two_norms(epsilons):
    before = [nn.Linear(FEATURES, 16), nn.LayerNorm(16), nn.ReLU(), nn.Linear(16, 16), nn.LayerNorm(16), nn.ReLU()]
    first, second = (layers.LayerNormalization(epsilon=epsilon) for epsilon in epsilons)
    ours = [dense(FEATURES, 16), first, layers.ReLU(), dense(16, 16), second, layers.ReLU(), dense(16, CLASSES)]
    module = nn.Sequential(*before, nn.Linear(16, CLASSES))
    return vector_pair(0, module=module, model=stack((FEATURES,), ours))


def test_the_first_wrong_layer_is_named_and_those_after_it_pass_in_isolation():
    report = check_parity(two_norms((1e-5, 1e-3)), steps=10)
    failure = report.content()["first_failure"]
    assert (failure["rung"], failure["layer"]) == ("forward", "4")
    isolated = {row["name"]: row["passed"] for row in report.layers if row["kind"] == "alone"}
    assert isolated == {"0": True, "1": True, "3": True, "4": False, "6": True}
    assert report.diagnosis[0].cause == "epsilon"


def test_no_layer_is_wrong_in_isolation_where_both_are_right():
    report = check_parity(two_norms((1e-5, 1e-5)), steps=10)
    assert report.verdict in MATCHES
    assert all(row["passed"] for row in report.layers if row["kind"] == "alone")


@pytest.mark.parametrize("steps", [1, 5, 7])
def test_a_run_of_a_few_steps_is_a_whole_comparison(steps):
    report = check_parity(vector_pair(0), steps=steps)
    assert report.verdict in MATCHES
    assert report.settings["steps"] == steps


def test_momentum_is_compared_in_pytorch_s_terms():
    pair = vector_pair(
        0, torch_optimizer=sgd(0.02, momentum=0.9), keras_optimizer=keras.optimizers.SGD(0.02, momentum=0.9)
    )
    names = {row["name"] for check in check_parity(pair, steps=10).checks for row in check.tensors}
    assert "0.weight: momentum_buffer" in names


def test_both_models_may_be_judged_twice():
    pair = vector_pair(0, module=mlp())
    first, second = (check_parity(pair, steps=10).content() for _ in range(2))
    assert first == second

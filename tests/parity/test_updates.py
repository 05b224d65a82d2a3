"""Updates of one's own are held against each other tensor by tensor, step after step: every place is told."""

import time

import keras
import pytest
import torch
from keras import ops
from torch import nn

from birdplane_keras import torch_plugin
from birdplane_keras.catalogue.networks import image_pair, vector_pair
from birdplane_keras.catalogue.registry import FAULTS
from birdplane_keras.parity import channels_last, check_parity
from birdplane_keras.parity.causes.schedules import describe_rates, describe_turn
from parity.judging import judged

RATE = 0.01


class Theirs(torch.optim.Optimizer):
    """Gradients smoothed, divided by their size, with decay; the reference's."""

    def __init__(self, weights):
        super().__init__(weights, {"lr": RATE})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for weight in group["params"]:
                state = self.state[weight]
                gradient = weight.grad + 0.05 * weight
                mean = state.get("mean", torch.zeros_like(weight))
                mean = 0.9 * mean + 0.1 * gradient
                state["mean"] = mean
                weight.copy_(weight - group["lr"] * mean / (gradient.abs().sqrt() + 0.5))


class Ours(keras.optimizers.Optimizer):
    """The same in the port, with numbers of its own."""

    def __init__(self, decay=0.05, smoothing=0.9, epsilon=0.5, decays=lambda variable: True):
        super().__init__(learning_rate=RATE)
        self.numbers, self.decays = (decay, smoothing, epsilon), decays

    def build(self, variables):
        if not self.built:
            super().build(variables)
            self.means = [self.add_variable_from_reference(each, name="mean") for each in variables]

    def update_step(self, gradient, variable, learning_rate):
        decay, smoothing, epsilon = self.numbers
        kept = self.means[self._get_variable_index(variable)]
        gradient = gradient + (decay if self.decays(variable) else 0.05) * variable
        mean = smoothing * kept + (1 - 0.9) * gradient
        self.assign(kept, mean)
        self.assign(variable, variable - learning_rate * mean / (ops.sqrt(ops.abs(gradient)) + epsilon))


def own(**numbers):
    """A pair whose optimizers are one's own."""
    return vector_pair(0, torch_optimizer=Theirs, keras_optimizer=Ours(**numbers))


def test_the_same_updates_pass():
    assert check_parity(own(), steps=5).verdict != "diverged"


@pytest.mark.slow
def test_two_mistakes_in_one_update_are_two_places():
    found = judged(own(decay=0.0, epsilon=0.6)).diagnosis
    assert all((finding.rung, finding.proved) == ("first_update", True) for finding in found)
    told = [str(finding.parting) for finding in found]
    assert any("decay if self.decays" in each and "0.05 * weight" in each for each in told), told
    assert any("other=0.6" in each and "other=0.5" in each for each in told), told


@pytest.mark.slow
def test_a_port_whose_steps_are_replayed_is_told_all_the_same():
    pair = own(decay=0.0)
    torch_plugin.attach(pair.keras_model)
    (finding,) = judged(pair).diagnosis
    assert finding.proved
    assert "0.05 * weight" in str(finding.parting["reference"])
    assert torch_plugin.is_attached(pair.keras_model)


@pytest.mark.slow
def test_a_mistake_that_shows_later_is_told_where_it_shows():
    """The first step smooths nothing that was there before."""
    (finding,) = judged(own(smoothing=0.8)).diagnosis
    assert (finding.rung, finding.proved) == ("optimizer_state", True)
    assert "mul(0.8" in str(finding.parting["port"])
    assert "other=0.9" in str(finding.parting["reference"])
    assert "0.8, 0.8, 0.8, 0.8 in the port, 0.9, 0.9, 0.9, 0.9 in the reference" in finding.evidence


@pytest.mark.slow
def test_a_mistake_of_the_first_step_does_not_hide_one_of_the_next():
    found = judged(own(decay=0.01, smoothing=0.8)).diagnosis
    told = [str(finding.parting) for finding in found]
    assert any("mul(0.01" in each and "other=0.05" in each for each in told), told
    assert any("mul(0.8" in each and "other=0.9" in each for each in told), told


@pytest.mark.parametrize(
    ("vectors", "words"),
    [
        (True, "in all biases and norms"),
        pytest.param(False, "in all weights but biases and norms", marks=pytest.mark.slow),
    ],
)
def test_the_weights_that_share_a_difference_are_told_together(vectors, words):
    (finding,) = judged(own(decay=0.01, decays=lambda variable: (len(variable.shape) == 1) == vectors)).diagnosis
    assert "mul(0.01" in str(finding.parting["port"])
    assert words in finding.evidence


def test_an_update_of_many_tensors_in_one_call_is_taken_apart():
    """PyTorch's `foreach`: one call for all weights."""

    def at_once(weights):
        return torch.optim.SGD(weights, RATE, momentum=0.9, foreach=True)

    class Bounded(keras.optimizers.SGD):
        def update_step(self, gradient, variable, learning_rate):
            index = self._get_variable_index(variable)
            velocity = 0.9 * self.momentums[index] - learning_rate * ops.tanh(gradient)
            self.assign(self.momentums[index], velocity)
            self.assign_add(variable, velocity)

    pair = vector_pair(0, torch_optimizer=at_once, keras_optimizer=Bounded(RATE, momentum=0.9))
    (finding,) = judged(pair).diagnosis
    assert (finding.rung, finding.proved) == ("first_update", True)
    assert "tanh" in str(finding.parting["port"])


def test_a_normalisation_behind_frozen_layers_is_judged_in_another_layout():
    """Its gradient crashes in PyTorch where the channels lie last in memory, and what comes before needs none."""
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4, eps=1e-3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 4))
    module[0].requires_grad_(False)
    layers = keras.layers
    frozen = layers.Conv2D(4, 3)
    frozen.trainable = False
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            frozen,
            layers.GroupNormalization(2, epsilon=1e-3),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(4),
        ]
    )
    pair = image_pair(0, module=module, model=model, initialisation=False, to_keras=channels_last)
    assert check_parity(pair, steps=3).verdict != "diverged"


FALLING = [0.1 * 0.9**step for step in range(10)]
WARMING = [0.1 * min(1.0, (step + 1) / 4) for step in range(10)]


@pytest.mark.parametrize(
    ("ours", "theirs", "told"),
    [
        ([0.1, 0.1, *FALLING[:8]], [0.1, *FALLING[:9]], "1 step late"),
        (FALLING[2:], FALLING[:8], "2 steps early"),
        ([2 * rate for rate in FALLING], FALLING, "2 times the reference's"),
        ([0.1] * 10, WARMING, "the reference's grow at the start, the port's do not"),
        (WARMING, [0.1] * 10, "the port's grow at the start, the reference's do not"),
        ([FALLING[i // 5] for i in range(10)], FALLING, "keeps each for 5 steps, the reference for 1"),
        (FALLING, FALLING, ""),
        ([0.1, 0.3, 0.2, 0.5], [0.2, 0.1, 0.7, 0.3], ""),
        ([0.1, 0.2], [0.1, 0.3], ""),
    ],
)
def test_what_turns_one_schedule_into_the_other_is_told(ours, theirs, told):
    assert told in describe_turn(ours, theirs)
    assert bool(told) == bool(describe_turn(ours, theirs))


def test_rates_are_told_from_where_they_part():
    told = describe_rates([0.1] * 12 + [0.05] * 4, [0.1] * 10 + [0.05] * 6)
    assert told.startswith("rates from step 9 on: 0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05 in the port; 0.1, 0.05")
    assert told.endswith("the port's are 2 steps late")


def test_no_rates_are_told_where_the_time_is_over():
    fault = next(each for each in FAULTS if each.cause == "schedule")
    pair = fault.make(0)
    object.__setattr__(pair, "search_seconds", 1e-6)
    assert all("rates from" not in finding.evidence for finding in judged(pair).diagnosis)


def test_places_are_looked_for_as_long_as_the_time_allows():
    """The first step's in any case."""
    pair = own(decay=0.01, smoothing=0.8)
    object.__setattr__(pair, "search_seconds", 1.0)
    started = time.monotonic()
    result = judged(pair)
    assert "0.05 * weight" in str([finding.parting for finding in result.diagnosis])
    assert time.monotonic() - started < 30

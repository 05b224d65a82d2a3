"""How to draw as the reference does: by the rule of its layers, never by a bound that was estimated."""

import numpy as np
import pytest
import torch
from torch.nn import init

from birdplane_keras.parity.causes.initialisers import ELSE, how_to_draw

RULES = {
    "xavier_uniform_": "GlorotUniform()",
    "kaiming_uniform_": "HeUniform()",  # its default, a slope of zero
    "kaiming_normal_": "RandomNormal(0, (2 / fan_in) ** 0.5)",
}


def tensors_of(module):
    return {name: value.detach().numpy() for name, value in module.named_parameters()}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("layer", [torch.nn.Linear(100, 60), torch.nn.Conv2d(8, 16, 5)], ids=["linear", "convolution"])
def test_pytorchs_default_is_its_rule(layer):
    tensors = tensors_of(layer)
    told, passes = how_to_draw(list(tensors), tensors)
    assert told.startswith("draw kernel and bias from PyTorch's default, uniform within ±1/sqrt(fan_in)")
    assert passes


@pytest.mark.parametrize("name", RULES)
def test_a_rule_is_named(name):
    tensors = {"fc.weight": getattr(init, name)(torch.empty(200, 300)).numpy(), "fc.bias": np.zeros(200, np.float32)}
    told, passes = how_to_draw(list(tensors), tensors)
    assert f"fc.weight by {RULES[name]}; fc.bias by Constant(0)" in told
    assert passes


def test_the_weights_of_a_transformer_are_normal_with_their_deviation():
    told, _ = how_to_draw(["embed.weight"], {"embed.weight": (0.02 * torch.randn(2000, 64)).numpy()})
    assert "embed.weight by RandomNormal(0, 0.02)" in told


def test_a_recurrent_layer_draws_by_its_units():
    tensors = tensors_of(torch.nn.LSTM(8, 64))
    told, passes = how_to_draw(list(tensors), tensors)
    assert told.endswith(
        "weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0 by RandomUniform(-b, b) with b = units ** -0.5"
    )
    assert passes


def test_biases_that_a_port_holds_as_one_are_drawn_as_their_sum_or_together():
    lstm, gru = tensors_of(torch.nn.LSTM(8, 64)), tensors_of(torch.nn.GRU(8, 64))
    joined = {
        "rnn.weight_hh_l0": lstm["weight_hh_l0"],
        "rnn.bias_ih_l0 + rnn.bias_hh_l0": lstm["bias_ih_l0"] + lstm["bias_hh_l0"],
    }
    told, passes = how_to_draw([*joined][1:], joined)
    assert "by the sum of two draws of RandomUniform(-b, b) with b = units ** -0.5" in told
    both = np.stack([gru["bias_ih_l0"], gru["bias_hh_l0"]])
    stacked = {"rnn.weight_hh_l0": gru["weight_hh_l0"], "rnn.bias_ih_l0 + rnn.bias_hh_l0": both}
    told, _ = how_to_draw([*stacked][1:], stacked)
    assert told.endswith("by RandomUniform(-b, b) with b = units ** -0.5")
    assert passes


def test_a_rule_that_is_not_known_is_not_made_up():
    """Negative control: no number of the draws is in the advice."""
    odd = {"fc.weight": np.random.default_rng(0).uniform(-0.3123, 0.3123, size=(50, 100)).astype(np.float32)}
    told, passes = how_to_draw(["fc.weight"], odd)
    assert ELSE in told
    assert "0.31" not in told
    assert not passes

"""The differential tests can fail: a trace that is used where it must not be is caught by them.

Each set-up is one that `test_differential.py` trains, too, without the sabotage.
"""

import pytest
import torch

from birdplane_keras.torch_plugin import TorchPluginError, attachment, randomness
from birdplane_keras.torch_plugin.guards import Guards
from birdplane_keras.torch_plugin.updates import plain_sgd
from birdplane_keras.torch_plugin.updates.choice import UPDATES
from plugin.test_differential import assert_attached_trains_as_stock, build

stale_rates: list[float] = []
signature, generator_of, rate_number = attachment.signature, randomness.generator_of, plain_sgd.rate_number


def first_rate(optimizer):
    """Right while the update is tried, which would see it, and the same from then on."""
    stale_rates.append(rate_number(optimizer))
    return stale_rates[:UPDATES][-1]


def same_mask(seed):
    return generator_of(torch.zeros_like(seed))


def without_shapes(structure, leaves):
    return structure


def without_weights(structure, leaves):
    return signature(None, leaves[:2])


def never_changed(self):
    return True


SABOTAGES = {
    "another rate": ("rate set by hand", (plain_sgd, "rate_number", first_rate)),
    "another rate of a schedule": ("schedule", (plain_sgd, "rate_number", first_rate)),
    "another mask": ("Dropout from a seed", (randomness, "generator_of", same_mask)),
    "another dropout rate": ("Dropout whose rate changes", (Guards, "hold", never_changed)),
    "another frozen set": ("frozen, not compiled", (Guards, "hold", never_changed)),
    "another batch size": ("dense", (attachment, "signature", without_shapes)),
}


LATER = {"another rate", "another frozen set"}  # two brothers of those that run each time


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LATER)) for name in SABOTAGES])
def test_a_trace_reused_for_something_else_is_caught(name, monkeypatch):
    setup, (owner, attribute, sabotage) = SABOTAGES[name]
    stale_rates.clear()
    monkeypatch.setattr(owner, attribute, sabotage)
    # A step for another batch size may also fail outright.
    with pytest.raises((AssertionError, RuntimeError, ValueError, IndexError)):
        assert_attached_trains_as_stock(lambda: build(setup), "exact")


@pytest.mark.slow
def test_a_trace_reused_with_other_sample_weights_is_caught(monkeypatch):
    """The presence of weights is part of the key: without it, the weights of the second fit would be ignored."""

    def make():
        setup = build("dense")
        setup.between = lambda model: {"sample_weight": torch.linspace(0, 2, 44).numpy()}
        return setup

    assert_attached_trains_as_stock(make, "exact")
    monkeypatch.setattr(attachment, "signature", without_weights)
    with pytest.raises((AssertionError, TorchPluginError, TypeError)):  # an audit sees it, or the trace lacks an input
        assert_attached_trains_as_stock(make, "exact")

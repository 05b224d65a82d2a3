"""A weight that no gradient reaches is told by the lines at which its way to the loss ends, and goes on."""

import keras
import torch
from keras import layers
from torch import nn

from birdplane_keras.catalogue.networks import CLASSES, FEATURES, dense, vector_pair
from birdplane_keras.parity.programs.idle import idle
from birdplane_keras.parity.programs.recording import Recording
from birdplane_keras.parity.programs.regions import consumers
from parity.judging import judged

WIDTH = 6


class Gated(nn.Module):
    """A gate that is closed at the start: what it lets through is nothing yet."""

    def __init__(self):
        super().__init__()
        self.value, self.out = nn.Linear(FEATURES, WIDTH), nn.Linear(WIDTH, CLASSES)
        self.scale = nn.LayerNorm(WIDTH)
        nn.init.zeros_(self.scale.weight)

    def forward(self, x):
        value = self.value(x)
        scaled = self.scale(value)
        return self.out(value + scaled)


class Forgetful(layers.Layer):
    """Computes the gated value, and goes on without it."""

    def __init__(self):
        super().__init__()
        self.value, self.out = dense(FEATURES, WIDTH), dense(WIDTH, CLASSES)
        self.scale = layers.LayerNormalization(epsilon=1e-5, gamma_initializer="zeros")

    def call(self, x):
        value = self.value(x)
        scaled = self.scale(value)
        assert scaled is not None
        return self.out(value)


def test_a_result_that_the_port_forgets_is_told_on_both_sides():

    inputs = keras.Input((FEATURES,))
    model = keras.Model(inputs, Forgetful()(inputs))
    found = judged(vector_pair(0, module=Gated(), model=model, initialisation=False)).diagnosis
    assert found[0].rung == "gradients"
    assert any("at test_idle.py:" in line for line in found[0].parting["port"])
    assert any(line.startswith("add(") and "value + scaled" in line for line in found[0].parting["reference"])


def recorded(work):
    weight, x = torch.full((3,), 2.0, requires_grad=True), torch.arange(3.0)
    with Recording({}, lambda: {weight.untyped_storage().data_ptr(): "w"}) as recording:
        work(weight, x)
    return recording.program()


def test_what_is_cut_off_ends_and_what_is_taken_otherwise_goes_on():
    port = recorded(lambda w, x: ((w * x).detach() + x).sin())
    reference = recorded(lambda w, x: ((w * x) + x).sin())
    found = idle(port, consumers(port), reference, ["w"])
    assert [each.name for each in found.port] == ["mul"]
    assert [each.name for each in found.reference] == ["add"]
    whole = idle(reference, consumers(reference), reference, ["w"])
    assert [each.name for each in whole.port] == ["sin"]  # control: the last of all

"""A weight that no gradient reaches is told by the lines at which its way to the loss ends, and goes on."""

import keras
import torch
from keras import layers
from torch import nn

from birdplane_keras.catalogue.networks import CLASSES, FEATURES, dense, vector_pair
from birdplane_keras.parity.programs.idle import idle
from birdplane_keras.parity.programs.program import Program
from birdplane_keras.parity.programs.recording import Recording
from birdplane_keras.parity.programs.regions import consumers
from parity.judging import judged

WIDTH = 6


class Gated(nn.Module):
    """Two gates that are closed at the start: what they let through is nothing yet."""

    def __init__(self):
        super().__init__()
        self.value, self.out = nn.Linear(FEATURES, WIDTH), nn.Linear(WIDTH, CLASSES)
        self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        nn.init.zeros_(self.first.weight)
        nn.init.zeros_(self.second.weight)

    def forward(self, x):
        value = self.value(x)
        first = torch.tanh(value) + self.first(value)
        second = torch.sin(first) + self.second(first)
        return self.out(second)


class Forgetful(layers.Layer):
    """Computes what the second gate lets through, and goes on without it."""

    def __init__(self):
        super().__init__()
        self.value, self.out = dense(FEATURES, WIDTH), dense(WIDTH, CLASSES)
        self.first, self.second = (layers.LayerNormalization(epsilon=1e-5, gamma_initializer="zeros") for _ in range(2))

    def call(self, x):
        value = self.value(x)
        first = keras.ops.tanh(value) + self.first(value)
        self.second(first)
        return self.out(keras.ops.sin(first))


def test_a_result_that_the_port_forgets_is_told_on_both_sides():
    inputs = keras.Input((FEATURES,))
    model = keras.Model(inputs, Forgetful()(inputs))
    finding = judged(vector_pair(0, module=Gated(), model=model, initialisation=False)).diagnosis[0]
    assert finding.rung == "gradients"
    (ours,), (theirs,) = finding.parting["port"], finding.parting["reference"]
    assert "self.second(first)" in ours
    assert theirs.startswith("add(")
    assert "second = torch.sin(first) + self.second(first)" in theirs


def recorded(work) -> Program:
    weight, x = torch.full((3,), 2.0, requires_grad=True), torch.arange(3.0)
    with Recording({}, lambda: {weight.untyped_storage().data_ptr(): "w"}) as recording:
        work(weight, x)
    return recording.program()


def names(port: Program, reference: Program) -> tuple[list[str], list[str]] | None:
    found = idle(port, consumers(port), reference, ["w"], ["w"])
    return None if found is None else ([each.name for each in found.port], [each.name for each in found.reference])


def test_what_is_cut_off_ends_there():
    reference = recorded(lambda w, x: ((w * x) + x).sin())
    assert names(recorded(lambda w, x: ((w * x).detach() + x).sin()), reference) == (["mul"], ["add"])
    shown = recorded(lambda w, x: ((w * x).detach()[:2] + x[:2]).sin())
    assert names(shown, reference) == (["mul"], ["add"])


def test_of_two_calls_in_one_line_the_forgotten_one_is_told():
    def scaled(w, x, both):
        first, second = (x * scale for scale in (w, w.exp()))
        return first + second if both else first.sin()

    found = names(recorded(lambda w, x: scaled(w, x, both=False)), recorded(lambda w, x: scaled(w, x, both=True)))
    assert found is not None
    assert "mul" in found[0]


def test_a_weight_that_the_port_never_takes_is_told_of_the_reference():
    reference = recorded(lambda w, x: (w * x).sin())
    assert names(recorded(lambda w, x: x.sin()), reference) == ([], ["mul"])
    assert names(recorded(lambda w, x: x.sin()), recorded(lambda w, x: x.cos())) is None


def test_what_updates_a_weight_takes_it_no_further():
    def step(w, x, forgotten):
        other = torch.full((3,), 3.0, requires_grad=True)
        made = w * x
        (other * x if forgotten else other * made).sum().backward()
        with torch.no_grad():
            w.sub_(w, alpha=0.1)  # a decay

    port, reference = recorded(lambda w, x: step(w, x, True)), recorded(lambda w, x: step(w, x, False))
    assert "sub_" in [operation.name for operation in port]
    assert names(port, reference) == (["mul"], ["mul"])

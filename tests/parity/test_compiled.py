"""Ports that are compiled with `jit_compile=True` are judged as others are."""

import keras
import pytest

from birdplane_keras.catalogue.networks import vector_pair
from birdplane_keras.parity import check_parity

pytestmark = pytest.mark.slow


def compiled(activation: str):
    """Returns a pair whose port PyTorch compiles; the right activation is `relu`."""
    pair = vector_pair(0)
    model, optimizer = pair.keras_model, pair.keras_model.optimizer
    changed = [layer for layer in model.layers if getattr(layer, "activation", None) is keras.activations.relu]
    for layer in changed:
        layer.activation = keras.activations.get(activation)
    assert changed
    again = type(optimizer).from_config(optimizer.get_config())
    model.compile(optimizer=again, loss=model.loss, metrics=[], jit_compile=True)
    return pair


def test_a_right_port_is_the_same_to_rounding():
    assert check_parity(compiled("relu"), steps=5).verdict in ("rounding-only", "bit-exact")


def test_a_wrong_port_is_not():
    assert check_parity(compiled("sigmoid"), steps=5).verdict == "diverged"

"""An activation is told with its settings, and as Keras writes it: Keras' defaults by the same name are others."""

import keras
import pytest
import torch
from torch.nn import functional

from birdplane_keras.parity.causes.activations import described

CALLS = [
    ("leaky_relu", (), {}, "leaky_relu, slope 0.01"),
    ("leaky_relu", (0.2,), {}, "leaky_relu, slope 0.2"),
    ("gelu", (), {}, "gelu"),
    ("gelu", (), {"approximate": "tanh"}, "gelu, tanh approximation"),
    ("elu", (0.5,), {}, "elu, alpha 0.5"),
    ("elu", (1.0,), {}, "elu"),
    ("softplus", (1, 20), {}, "softplus"),
    ("hardsigmoid", (), {}, "hardsigmoid"),
    ("hardswish", (), {}, "hardswish"),
    ("silu", (), {}, "silu"),
    ("mish", (), {}, "mish"),
    ("selu", (), {}, "selu"),
    ("relu6", (), {}, "relu6"),
]


@pytest.mark.parametrize(("name", "args", "kwargs", "words"), CALLS)
def test_what_keras_is_told_to_write_computes_what_pytorch_does(name, args, kwargs, words):
    told, in_keras = described(name, args, kwargs)
    assert told == words
    layer = eval(
        in_keras.replace("activation=", "keras.layers.Activation(") + (")" if "activation=" in in_keras else "")
    )
    x = torch.linspace(-4, 4, 41)
    theirs = getattr(functional, name)(x, *args, **kwargs)
    torch.testing.assert_close(layer(x), theirs, rtol=1e-5, atol=1e-5)


def test_keras_own_default_by_the_same_name_is_another():
    """Negative control: the name alone would not do."""
    x = torch.linspace(-4, 4, 41)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(keras.layers.Activation("leaky_relu")(x), functional.leaky_relu(x))


def test_a_setting_that_keras_does_not_have_is_said():
    assert "beta 2" in described("softplus", (2, 20), {})[1]

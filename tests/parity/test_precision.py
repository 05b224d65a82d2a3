"""The precision that each side computes in: rounding of half types is allowed for, and no more than that."""

import keras
import numpy as np
import pytest
import torch
from keras import layers
from torch import nn

from birdplane_keras.parity import check_forward, torch_to_keras
from birdplane_keras.parity.core.check import first_failure
from birdplane_keras.parity.core.judge import MATCHES
from parity.test_forward import floats


def network_of(epsilon, type_):
    """A reference whose weights are of a half type, and large enough to matter."""
    module = nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.LayerNorm(16, eps=epsilon), nn.Linear(16, 3))
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return module.to(type_).eval()


def port_of(policy):
    parts = [layers.Dense(16, "gelu", dtype=policy), layers.LayerNormalization(epsilon=1e-5, dtype=policy)]
    return keras.Sequential([keras.Input((6,)), *parts, layers.Dense(3, dtype=policy)])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("policy", "type_"), [("float16", torch.float16), ("bfloat16", torch.bfloat16)])
def test_half_types_on_both_sides_are_compared_by_their_own_rounding(policy, type_, seed):
    torch.manual_seed(seed)
    given = {"keras_model": port_of(policy), "inputs": floats(16, 6)}
    right = check_forward(torch_module=network_of(1e-5, type_), **given)
    assert right.verdict in MATCHES
    assert right.content()["precision"] == {"keras": [policy], "torch": [policy]}
    assert f"Precision: {policy} in Keras, {policy} in PyTorch." in str(right)
    wrong = check_forward(torch_module=network_of(1e-1, type_), **given)
    assert [finding.cause for finding in wrong.diagnosis] == ["epsilon"]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_a_port_in_mixed_precision_is_held_against_the_rounding_of_its_own_precision(policy, seed):
    torch.manual_seed(seed)
    given = {"keras_model": port_of(policy), "inputs": floats(16, 6)}
    right = check_forward(torch_module=network_of(1e-5, torch.float32), **given)
    assert right.verdict in MATCHES
    assert f"Precision: {policy} in Keras, float32 in PyTorch." in str(right)
    wrong = check_forward(torch_module=network_of(1e-1, torch.float32), **given)
    assert [finding.cause for finding in wrong.diagnosis] == ["epsilon"]


@pytest.mark.parametrize("policy", ["float16", "bfloat16", "mixed_float16", "mixed_bfloat16"])
def test_a_weight_that_is_one_part_in_a_hundred_off_is_told_in_every_precision(policy):
    torch.manual_seed(0)
    type_ = torch.float32 if policy.startswith("mixed") else getattr(torch, policy)
    module, port = network_of(1e-5, type_), port_of(policy)
    torch_to_keras(module, port)
    given = {"torch_module": module, "keras_model": port, "inputs": floats(16, 6), "weights": "as_given"}
    assert check_forward(**given).verdict in MATCHES
    kernel = port.layers[0].kernel
    kernel.assign(kernel * 1.01)
    assert first_failure(check_forward(**given).checks).name == "initial_weights"


def test_a_port_that_casts_on_its_own_is_told():
    inputs = keras.Input((6,))
    x = keras.ops.cast(keras.ops.cast(layers.Dense(16, "gelu")(inputs), "bfloat16"), "float32")
    model = keras.Model(inputs, layers.Dense(3)(layers.LayerNormalization(epsilon=1e-5)(x)))
    result = check_forward(torch_module=network_of(1e-5, torch.float32), keras_model=model, inputs=floats(16, 6))
    assert [(finding.cause, finding.proved) for finding in result.diagnosis] == [("precision", True)]


def scaled_port(policy, scale):
    """A port whose outputs are a little too large, if the scale is not 1."""
    x = inputs = keras.Input((6,))
    for layer in (layers.Dense(16, "gelu", dtype=policy), layers.LayerNormalization(epsilon=1e-5, dtype=policy)):
        x = layer(x)
    x = layers.Dense(3, dtype=policy)(x)
    return keras.Model(inputs, x if scale == 1 else layers.Rescaling(scale, dtype=policy)(x))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("policy", ["float16", "bfloat16", "mixed_float16", "mixed_bfloat16"])
def test_a_scale_of_one_part_in_a_hundred_is_more_than_the_rounding_of_half_types(policy, seed):
    type_ = torch.float32 if policy.startswith("mixed") else getattr(torch, policy)
    found = {}
    for scale in (1, 1.01):
        torch.manual_seed(seed)
        keras.utils.set_random_seed(seed)
        given = {"keras_model": scaled_port(policy, scale), "inputs": floats(32, 6)}
        found[scale] = check_forward(torch_module=network_of(1e-5, type_), **given)
    assert found[1].verdict in MATCHES
    assert first_failure(found[1.01].checks).name == "forward"
    assert "precision" not in [finding.cause for finding in found[1.01].diagnosis]


def test_the_smallest_tolerance_that_would_pass_is_told_layer_by_layer():
    torch.manual_seed(0)
    module, model, x = network_of(1e-5, torch.float32), port_of("float32"), floats(16, 6)
    tolerances = check_forward(torch_module=module, keras_model=model, inputs=x).tolerances
    assert {"outputs", "0 (alone)", "2 (between)", "2 (alone)", "3 (between)", "3 (alone)"} <= set(tolerances)
    torch_to_keras(module, model)
    apart = np.abs(model.predict(x, verbose=0) - module(torch.from_numpy(x)).detach().numpy()).max()
    assert tolerances["outputs"] == pytest.approx(apart, rel=0.5)
    assert max(tolerances.values()) < 1e-5


class Branches(nn.Module):
    """Two branches of one shape, the second registered first."""

    def __init__(self):
        super().__init__()
        self.second, self.first, self.out = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.out(torch.tanh(self.first(x)) - 2 * torch.sigmoid(self.second(x)))


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_weights_are_matched_by_use_in_every_precision(policy):
    torch.manual_seed(0)
    inputs = keras.Input((6,))
    one = layers.Dense(8, "tanh", dtype=policy)(inputs)
    two = layers.Dense(8, "sigmoid", dtype=policy)(inputs)
    model = keras.Model(inputs, layers.Dense(3, dtype=policy)(layers.Subtract(dtype=policy)([one, 2 * two])))
    result = check_forward(torch_module=Branches().eval(), keras_model=model, inputs=floats(32, 6))
    assert result.verdict in MATCHES
    assert not result.notes

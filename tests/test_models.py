"""The two models: parameter counts, starts, and what they compute."""

import keras
import numpy as np
import pytest
import torch

from birdplane_keras import model as port
from birdplane_keras.model import linear_uniform
from birdplane_keras.parity import torch_to_keras
from birdplane_keras.recipe import PRESETS
from torch_reference import model as reference
from torch_reference.recipe import PRESETS as REFERENCE_PRESETS

NARROW, WIDE = [1572864, 512, 1024, 2], [3145728, 1024, 524288, 512, 65536, 128, 256, 2]
COUNTS = {
    "narrow": NARROW,
    "wide": WIDE,
    "wide-nll": WIDE,
    "per-sample": NARROW,
    "softmax-mse": NARROW,
    "small": [393216, 128, 256, 2],
    "shifted": NARROW,
    "convolution": [432, 16, 1152, 8, 16384, 32, 64, 2],
}
TOTALS = {"narrow": 1_574_402, "wide": 3_737_474, "small": 393_602, "convolution": 18_090}  # as they were published


@pytest.mark.parametrize("preset", PRESETS)
def test_both_sides_have_the_articles_parameter_counts(preset):
    ours = port.parameter_counts(port.build_model(PRESETS[preset]))
    theirs = reference.parameter_counts(reference.build_model(REFERENCE_PRESETS[preset]))
    assert ours == theirs == COUNTS[preset]
    assert sum(ours) == TOTALS.get(preset, sum(COUNTS[preset]))


def test_the_reference_is_the_articles_model():
    layers = [type(layer).__name__ for layer in reference.build_model(REFERENCE_PRESETS["narrow"])]
    assert layers == ["Linear", "Tanh", "Linear", "LogSoftmax"]


def test_the_heads_and_the_layers_are_what_the_recipe_says():
    def last(name):
        return type(reference.build_model(REFERENCE_PRESETS[name])[-1]).__name__

    assert [last(name) for name in ("wide", "wide-nll", "softmax-mse")] == ["Linear", "LogSoftmax", "Softmax"]
    layers = [type(layer).__name__ for layer in reference.build_model(REFERENCE_PRESETS["convolution"])]
    block = ["Conv2d", "Tanh", "MaxPool2d"]
    assert layers == ["Unflatten", *block, *block, "Flatten", "Linear", "Tanh", "Linear"]
    ours = [type(layer).__name__ for layer in port.build_model(PRESETS["convolution"]).layers]
    assert ours == ["Reshape", *["Conv2D", "MaxPooling2D"] * 2, "Flatten", "Dense", "Dense"]


def test_head_after_logits_is_the_whole_model():
    for name in ("narrow", "wide", "softmax-mse"):
        model, x = reference.build_model(REFERENCE_PRESETS[name]), torch.randn(3, 3072)
        assert torch.equal(reference.closing_head(model)(reference.logits_model(model)(x)), model(x))
        assert len(reference.closing_head(model)) == (name != "wide")


def test_the_ports_softmax_is_a_layer_of_its_own_and_its_logits_model_shares_the_weights(rng):
    model = port.build_model(PRESETS["softmax-mse"])
    x = rng.normal(size=(5, 3072)).astype(np.float32)
    probabilities = model.predict(x, verbose=0)
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    logits = port.logits_model(model).predict(x, verbose=0)
    assert np.allclose(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), probabilities, atol=1e-6)
    assert port.logits_model(model).weights[0] is model.weights[0]
    narrow = port.build_model(PRESETS["narrow"])
    assert port.logits_model(narrow) is narrow


def test_the_logits_model_shares_its_weights_and_drops_log_softmax_only():
    model = reference.build_model(REFERENCE_PRESETS["narrow"])
    x = torch.randn(3, 3072)
    logits = reference.logits_model(model)
    assert torch.equal(torch.log_softmax(logits(x), 1), model(x))
    with torch.no_grad():
        model[0].weight.zero_()
    assert not logits[0].weight.any()
    wide = reference.build_model(REFERENCE_PRESETS["wide"])
    assert reference.logits_model(wide) is wide


@pytest.mark.parametrize("preset", PRESETS)
def test_with_the_references_weights_the_port_computes_the_same_to_rounding(preset, rng):
    original = reference.build_model(REFERENCE_PRESETS[preset])
    model = port.build_model(PRESETS[preset])
    torch_to_keras(original, model)
    x = rng.normal(size=(8, 3072)).astype(np.float32)
    with torch.no_grad():
        theirs = reference.logits_model(original)(torch.from_numpy(x)).numpy()
    ours = port.logits_model(model).predict(x, verbose=0)
    assert np.abs(ours - theirs).max() < 1e-5
    assert np.abs(ours - theirs[::-1]).max() > 1e-2  # control: another row is not within it


def test_the_same_seed_gives_the_same_start_and_another_seed_another():
    def start(seed):
        return port.build_model(PRESETS["narrow"].__class__(**{**vars(PRESETS["narrow"]), "seed": seed})).get_weights()

    assert all(np.array_equal(a, b) for a, b in zip(start(1), start(1), strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(start(1), start(2), strict=True))


def test_the_initializer_draws_from_pytorchs_default_distribution():
    """Kernel and bias of 3,072 inputs, both against `nn.Linear` by the two-sample Kolmogorov-Smirnov test."""
    from scipy.stats import ks_2samp

    linear = torch.nn.Linear(3072, 512)
    layer = keras.layers.Dense(
        512, kernel_initializer=linear_uniform(3072, seed=1), bias_initializer=linear_uniform(3072, seed=2)
    )
    layer.build((None, 3072))
    kernel, bias = (keras.ops.convert_to_numpy(weight) for weight in layer.weights)
    for ours, theirs in ((kernel, linear.weight), (bias, linear.bias)):
        theirs = theirs.detach().numpy().ravel()
        assert ks_2samp(ours.ravel(), theirs).pvalue > 1e-3
        assert np.abs(ours).max() <= 3072**-0.5
    glorot = keras.initializers.GlorotUniform(seed=1)((3072, 512))  # control: Keras' own default is another
    assert ks_2samp(keras.ops.convert_to_numpy(glorot).ravel(), linear.weight.detach().numpy().ravel()).pvalue < 1e-6


def test_a_model_with_the_initializer_is_saved_and_loaded(tmp_path):
    model = port.build_model(PRESETS["narrow"])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True))
    assert loaded.layers[0].kernel_initializer.get_config()["maxval"] == 3072**-0.5

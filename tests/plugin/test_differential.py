"""Stock and attached, from the same start: the same training."""

import warnings

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from birdplane_keras.torch_plugin import TorchPluginWarning
from birdplane_keras.torch_plugin.layout import linear_layers
from plugin.networks import Setup, draw
from plugin.setups import SETUPS
from plugin.training import assert_same_training, entries, rounds_alike, train

# 24 steps of float32, in which a rewritten product rounds differently, at most; bfloat16 keeps 8 bits.
ROUNDING = {"bfloat16 policy": 3e-2, "float64": 1e-6}
# Where `fused` does something else than `exact`: what has a plain-SGD update, some of each kind.
FUSED = [
    "dense", "no bias", "three dimensions", "schedule", "rate set by hand", "class_weight", "frozen, compiled again",
    "frozen, not compiled", "Dropout from a seed", "BatchNormalization", "two inputs", "two outputs", "regularizers",
    "add_loss", "momentum", "LSTM with a mask", "attention", "a PyTorch module", "bfloat16 policy", "tensors",
]  # fmt: skip
# What takes longest, or is one of many alike, waits for the slow run.
LATER = {
    "LSTM with a mask", "GRU with a mask", "attention", "binary metrics", "categorical metrics", "Adamax", "Adadelta",
    "Adagrad", "Ftrl", "Lamb", "Nadam", "loss kl_divergence", "loss log_cosh", "loss categorical_hinge", "loss poisson",
    "Conv2DTranspose, SpatialDropout2D", "piecewise schedule", "clipnorm", "regression metrics", "sparse metrics",
    "Dropout whose rate changes", "two outputs", "LayerNormalization, GroupNormalization", "validation split",
    "SeparableConv2D, BatchNormalization", "class_weight", "AdamW", "RMSprop", "Lion", "Adafactor", "loss huber",
    "loss focal", "loss categorical_crossentropy", "Nesterov", "weight decay", "clipvalue", "schedule and momentum",
    "frozen, compiled again",
}  # fmt: skip
SLOW = [pytest.mark.slow]


def build(name: str) -> Setup:
    keras.utils.clear_session(free_memory=False)  # names are counted from the start
    keras.utils.set_random_seed(1)
    return SETUPS[name]()


def assert_attached_trains_as_stock(make_setup, engine: str, tolerance: float = 1e-4) -> None:
    stock = train(make_setup(), None)
    setup = make_setup()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", TorchPluginWarning)
        attached = train(setup, engine, strict=not setup.metrics_in_python)
    left = [each for each in caught if issubclass(each.category, TorchPluginWarning)]
    assert bool(left) == setup.metrics_in_python, [str(each.message) for each in left]
    assert all("the metrics run in Python" in str(each.message) for each in left)
    kinds = {entry.kind for entry in entries(attached.model)}
    # A kernel that is laid out otherwise for a batch of another size ends the traces of before.
    assert kinds == {"train", "test", "predict"} or (engine == "exact" and kinds == {"test", "predict"})
    assert "train" in kinds or any(
        not layer._kernel._value.is_contiguous() for layer, _ in linear_layers(attached.model)
    )
    assert all(entry.step is not None for entry in entries(attached.model))
    exact = rounds_alike(attached.model)
    assert_same_training(attached, stock, tolerance=0 if exact else tolerance)


@pytest.mark.parametrize("name", [pytest.param(name, marks=SLOW if name in LATER else []) for name in SETUPS])
def test_exact_trains_as_the_stock_model(name):
    assert_attached_trains_as_stock(lambda: build(name), "exact", ROUNDING.get(name, 1e-4))


@pytest.mark.parametrize("name", [*FUSED[:2], *[pytest.param(name, marks=SLOW) for name in FUSED[2:]]])
def test_fused_trains_as_the_stock_model(name):
    assert_attached_trains_as_stock(lambda: build(name), "fused", ROUNDING.get(name, 1e-4))


def test_there_are_forty_setups_or_more_without_the_slow_ones():
    assert set(SETUPS) >= LATER
    assert len(set(SETUPS) - LATER) >= 40


@st.composite
def networks(draw_from):
    """Draws the arguments of a random network and of its training."""
    return {
        "width": draw_from(st.integers(1, 9)),
        "units": draw_from(st.lists(st.integers(1, 9), min_size=1, max_size=3)),
        "activation": draw_from(st.sampled_from(["tanh", "relu", "gelu", "softplus", None])),
        "use_bias": draw_from(st.booleans()),
        "between": draw_from(st.sampled_from(["dropout", "batch norm", "layer norm", "nothing"])),
        "frozen": draw_from(st.booleans()),
        "loss": draw_from(st.sampled_from(["mse", "mae", "huber"])),
        "momentum": draw_from(st.sampled_from([0.0, 0.9])),
        "clipvalue": draw_from(st.sampled_from([None, 0.05])),
        "batch_size": draw_from(st.integers(1, 11)),
        "rows": draw_from(st.integers(31, 40)),
        "weighted": draw_from(st.booleans()),
        "engine": draw_from(st.sampled_from(["exact", "fused"])),
    }


def build_drawn(options: dict) -> Setup:
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(2)
    inner = {
        "dropout": lambda: [layers.Dropout(0.3, seed=4)],
        "batch norm": lambda: [layers.BatchNormalization(epsilon=0.1)],
        "layer norm": lambda: [layers.LayerNormalization(epsilon=0.1)],
        "nothing": list,
    }
    stack = [keras.Input((options["width"],))]
    for units in options["units"]:
        stack += [layers.Dense(units, activation=options["activation"], use_bias=options["use_bias"])]
        stack += inner[options["between"]]()
    model = keras.Sequential([*stack, layers.Dense(2)])
    model.layers[0].trainable = not options["frozen"]
    optimizer = keras.optimizers.SGD(0.02, momentum=options["momentum"], clipvalue=options["clipvalue"])
    rows = options["rows"]
    return Setup(
        model=model,
        x=draw(rows, options["width"]),
        y=draw(rows, 2, seed=1),
        compile={"optimizer": optimizer, "loss": options["loss"], "metrics": ["mae"]},
        fit={
            "batch_size": options["batch_size"],
            "epochs": 20,
            "steps_per_epoch": min(3, -(-rows // options["batch_size"])),
            "sample_weight": np.abs(draw(rows, seed=3)) if options["weighted"] else None,
        },
    )


@pytest.mark.slow
@settings(max_examples=10, deadline=None, derandomize=True, database=None)
@given(networks())
def test_a_drawn_network_trains_as_the_stock_model(options):
    assert_attached_trains_as_stock(lambda: build_drawn(options), options["engine"], 1e-3)

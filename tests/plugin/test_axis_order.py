"""Images of channels last run in PyTorch's order of axes: turned at the edges, and right in every operation between."""

import keras
import numpy as np
import pytest
import torch
from keras import layers

from birdplane_keras import torch_plugin
from birdplane_keras.torch_plugin.axes import compose, inverse
from plugin.networks import draw
from plugin.training import entries


class Joined(keras.layers.Layer):
    """What becomes of images between two convolutions: reductions, slices, pads, joins, other orders of axes."""

    def call(self, x):
        ops = keras.ops
        mean = ops.mean(x, axis=(1, 2), keepdims=True)
        largest = ops.max(x, axis=-1, keepdims=True)
        part = ops.pad(x[:, 1:, :-1, :], [[0, 0], [1, 0], [0, 1], [0, 0]])
        scaled = x * ops.sigmoid(mean) + ops.broadcast_to(largest, ops.shape(x)) - ops.transpose(x, (0, 2, 1, 3))
        return ops.concatenate([scaled, part, ops.repeat(mean, 6, axis=1) * ops.ones_like(x)], axis=-1)


def networks() -> dict:
    conv, pool = layers.Conv2D, layers.MaxPooling2D
    return {
        "convolutions": [conv(3, 3, padding="same", activation="relu"), pool(), conv(4, 2, strides=2)],
        "normalised": [conv(4, 3), layers.BatchNormalization(), layers.ReLU(), conv(4, 2)],
        "depthwise": [layers.DepthwiseConv2D(3, padding="same"), layers.SeparableConv2D(4, 2), layers.ReLU(6.0)],
        "up": [conv(4, 2, 2), layers.UpSampling2D(2), layers.Conv2DTranspose(3, 2, 2), layers.LeakyReLU()],
        "averages": [conv(4, 3), layers.AveragePooling2D(2, padding="same"), layers.GlobalAveragePooling2D()],
        "between": [conv(4, 3, padding="same"), Joined(), conv(3, 2)],
        "drops": [conv(4, 3), layers.SpatialDropout2D(0.3, seed=1), layers.Dropout(0.2, seed=2), conv(3, 2)],
        "drops without a seed": [conv(4, 3), layers.Dropout(0.2), conv(3, 2)],
        "dense between": [conv(4, 3), layers.Dense(5, activation="gelu"), conv(3, 2)],
        "attention": [
            conv(4, 3),
            layers.Reshape((16, 4)),
            layers.LayerNormalization(),
            layers.Reshape((4, 4, 4)),
            conv(2, 2),
        ],
    }


def trained(name: str, engine: str | None) -> keras.Model:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6, 6, 2)), *networks()[name], layers.Flatten(), layers.Dense(2)])
    model.compile(keras.optimizers.SGD(0.02, momentum=0.9), "mse")
    if engine is not None:
        torch_plugin.attach(model, engine, strict=True, audit="step")
    for step in range(5):
        model.train_on_batch(draw(8, 6, 6, 2, seed=step), draw(8, 2, seed=50))
    model.predict(draw(8, 6, 6, 2), verbose=0)
    return model


FIRST = ("convolutions", "drops without a seed")  # of which the others are brothers


@pytest.mark.parametrize("engine", [pytest.param("exact", marks=pytest.mark.slow), "fused"])
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in FIRST)) for name in networks()]
)
def test_images_are_turned_at_the_edges_and_train_as_in_keras(name, engine):
    attached, stock = trained(name, engine), trained(name, None)
    for ours, theirs in zip(attached.get_weights(), stock.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", ["convolutions", "normalised", "between"])
def test_turns_are_passed_on(name):
    step = entries(trained(name, "exact"), "train")[0].step
    assert step.rewrites["turn of axes passed on"] >= 8
    assert step.rewrites["convolution with bias"] == 2


@pytest.mark.parametrize(("engine", "is_last"), [("exact", False), ("fused", True)])
def test_images_lie_with_their_channels_last_where_rounding_is_promised(engine, is_last):
    step = entries(trained("normalised", engine), "train")[0].step
    assert (step.rewrites.get("channels last in memory", 0) >= 4) == is_last
    assert ("memory_format" in step._forward_trace.source) == is_last


def flat_error(y_true, y_pred):
    """Asks for memory in the order of its axes, as `view` does."""
    return (y_pred.view(len(y_pred), -1) - y_true.view(len(y_true), -1)).abs().mean(-1)


@pytest.mark.parametrize("engine", ["exact", "fused"])
@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
def test_predictions_lie_in_memory_as_stock_keras_has_them(layout, engine):
    shape, left = (2, 8, 8) if layout == "channels_first" else (8, 8, 2), []
    for attached in (engine, None):
        keras.utils.set_random_seed(0)
        inner = [layers.Conv2D(count, 3, padding="same", data_format=layout) for count in (4, 2)]
        model = keras.Sequential([keras.Input(shape), *inner])
        model.compile("sgd", "mse", metrics=[flat_error])
        if attached is not None:
            torch_plugin.attach(model, attached, strict=True)
        x, y = draw(16, *shape), draw(16, *shape, seed=1)
        history = model.fit(x, y, batch_size=8, epochs=2, verbose=0, shuffle=False).history
        assert model.predict_on_batch(x).flags.c_contiguous
        left.append([*history["loss"], *history["flat_error"]])
    np.testing.assert_allclose(*left, rtol=1e-5)


@pytest.mark.slow
def test_images_of_channels_first_lie_so_too():
    trained_models = []
    for engine in ("fused", None):
        keras.utils.set_random_seed(0)
        inner = [layers.Conv2D(4, 3, data_format="channels_first", activation="relu") for _ in range(2)]
        pool = layers.MaxPooling2D(data_format="channels_first")
        model = keras.Sequential([keras.Input((2, 8, 8)), *inner, pool, layers.Flatten(), layers.Dense(2)])
        model.compile(keras.optimizers.SGD(0.02, momentum=0.9), "mse")
        if engine is not None:
            torch_plugin.attach(model, engine, strict=True, audit="step")
        for step in range(5):
            model.train_on_batch(draw(8, 2, 8, 8, seed=step), draw(8, 2, seed=50))
        trained_models.append(model)
    assert entries(trained_models[0], "train")[0].step.rewrites["channels last in memory"] >= 4
    for ours, theirs in zip(*[model.get_weights() for model in trained_models], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5)


def test_kernels_lie_as_pytorchs_while_attached_and_as_keras_after():
    model = trained("convolutions", "exact")
    kernel, *_, last = [each.value for each in model.trainable_weights if len(each.shape) == 4]
    for each in (kernel, last, model.optimizer.momentums[0].value):
        assert each.permute(3, 2, 0, 1).is_contiguous()
    before = [each.copy() for each in model.get_weights()]
    torch_plugin.detach(model)
    assert all(each.value.is_contiguous() for each in (*model.weights, *model.optimizer.variables))
    for one, other in zip(before, model.get_weights(), strict=True):
        assert (one == other).all()


def test_an_input_that_the_caller_holds_stays_as_it_is():
    model = trained("between", "exact")
    x = torch.from_numpy(draw(8, 6, 6, 2))
    before = x.clone()
    model.fit(x, draw(8, 2), batch_size=8, verbose=0)
    model.predict(x, verbose=0)
    assert torch.equal(x, before)


def test_turns_add_up():
    assert compose((0, 2, 3, 1), (0, 3, 1, 2)) == (0, 1, 2, 3)
    assert inverse((2, 0, 1)) == (1, 2, 0)


class Copied(keras.layers.Layer):
    """Its input, turned and copied."""

    def call(self, x):
        return keras.ops.copy(keras.ops.transpose(x, (0, 3, 1, 2)))


def test_a_prediction_that_is_a_copy_of_the_input_stays_one():
    inputs = keras.Input((6, 6, 2))
    model = keras.Model(inputs, [Copied()(inputs), layers.Conv2D(2, 3)(inputs)])
    torch_plugin.attach(model, strict=True)
    x = torch.from_numpy(draw(8, 6, 6, 2))
    for _ in range(2):
        copied, _ = model.predict_on_batch(x)
    before = copied.copy()
    x.mul_(2)
    assert (copied == before).all()

"""The order of features, where Keras flattens (H, W, C) and PyTorch (C, H, W)."""

import keras
import numpy as np
import pytest
import torch
from keras import layers
from torch import nn

from birdplane_keras.parity.matching import match
from birdplane_keras.parity.matching.feature_order import Read
from birdplane_keras.parity.matching.match import match_layers
from birdplane_keras.parity.matching.transfer import torch_to_keras
from parity.transfers import check_both_ways, difference, images, last, port, stir


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.BatchNorm1d(24), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 4)
    )


def cnn_layers() -> list[keras.Layer]:
    return [
        layers.Conv2D(3, 3, activation="relu"),
        layers.Flatten(),
        layers.BatchNormalization(epsilon=1e-5),
        layers.Dropout(0.5),
        layers.Dense(24),
        layers.ReLU(),
        layers.Dense(4),
    ]


def functional_with_operations() -> keras.Model:
    """The same through the functional API, with operations in place of some layers."""
    x = inputs = keras.Input((6, 4, 2))
    x = keras.ops.relu(layers.Conv2D(3, 3)(x))
    x = keras.ops.reshape(x, (-1, 24))
    x = layers.Dense(24)(layers.BatchNormalization(epsilon=1e-5)(x))
    return keras.Model(inputs, layers.Dense(4)(layers.Activation("relu")(x)))


def nested_before_flatten() -> keras.Model:
    """The convolution in a model of its own, which another model calls."""
    inputs = keras.Input((6, 4, 2))
    stack = cnn_layers()
    return keras.Model(inputs, keras.Sequential(stack[1:])(port((6, 4, 2), stack[0])(inputs)))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.stack = cnn_layers()

    def call(self, x):
        for layer in self.stack:
            x = layer(x)
        return x


class WithPyTorchInside(keras.Model):
    """What no symbolic call can see."""

    def __init__(self):
        super().__init__()
        self.stack = cnn_layers()

    def call(self, x):
        x = torch.flatten(self.stack[0](x), 1)
        for layer in self.stack[2:]:
            x = layer(x)
        return x


def called_once(model: keras.Model) -> keras.Model:
    model(np.zeros((1, 6, 4, 2), np.float32))
    return model


def with_a_layer_of_pytorch_inside() -> keras.Model:
    inputs = keras.Input((6, 4, 2))
    return keras.Model(inputs, called_once(WithPyTorchInside())(inputs))


MAKERS = {
    "sequential": lambda: port((6, 4, 2), *cnn_layers()),
    "functional": functional_with_operations,
    "nested": nested_before_flatten,
    "subclassed": lambda: called_once(Subclassed()),
    "subclassed, with torch.flatten": lambda: called_once(WithPyTorchInside()),
    "nested, with torch.flatten": with_a_layer_of_pytorch_inside,
}


@pytest.mark.filterwarnings("ignore:.build... was called on layer")
@pytest.mark.parametrize("maker", MAKERS)
def test_the_features_of_a_flattened_map_are_reordered(maker, rng):
    check_both_ways(MAKERS[maker](), cnn, images(rng, 3, 2, 6, 4), last)


def test_without_the_reordering_the_outputs_differ(rng, monkeypatch):
    monkeypatch.setattr(match, "read_graph", lambda model: Read(orders={}, made_by={}))
    model, module = port((6, 4, 2), *cnn_layers()), stir(cnn())
    torch_to_keras(module, model)
    assert difference(model, module, images(rng, 3, 2, 6, 4), last) > 1e-3


def test_a_match_tells_the_order_of_the_features_that_go_in():
    flattened = np.arange(24).reshape(3, 4, 2)
    match = match_layers(port((6, 4, 2), *cnn_layers()), cnn()).layers[2]
    np.testing.assert_array_equal(flattened.reshape(-1)[match.order.inputs], last(flattened[None]).reshape(-1))


def test_looking_at_a_subclassed_model_leaves_no_trace():
    model = called_once(Subclassed())
    calls = [len(layer._inbound_nodes) for layer in model.stack]
    match_layers(model, cnn())
    assert [len(layer._inbound_nodes) for layer in model.stack] == calls


def test_a_flattened_map_of_three_axes_is_reordered_and_a_sequence_is_not(rng):
    signal = images(rng, 3, 2, 7)
    check_both_ways(
        port((7, 2), layers.Conv1D(3, 3), layers.Flatten(), layers.Dense(4)),
        lambda: nn.Sequential(nn.Conv1d(2, 3, 3), nn.Flatten(), nn.Linear(15, 4)),
        signal,
        last,
    )
    sequence = port((7, 2), layers.Dense(3), layers.Flatten(), layers.Dense(4))
    check_both_ways(
        sequence, lambda: nn.Sequential(nn.Linear(2, 3), nn.Flatten(), nn.Linear(21, 4)), images(rng, 3, 7, 2)
    )


def test_flattened_images_are_reordered_and_pooled_ones_are_not(rng):
    linear = lambda: nn.Sequential(nn.Flatten(), nn.Linear(40, 3))  # noqa: E731 (one of two alternatives, next to the other)
    check_both_ways(port((4, 5, 2), layers.Flatten(), layers.Dense(3)), linear, images(rng, 3, 2, 4, 5), last)
    pooled = port((4, 5, 2), layers.Conv2D(3, 2), layers.GlobalAveragePooling2D(), layers.Dense(3))
    check_both_ways(
        pooled,
        lambda: nn.Sequential(nn.Conv2d(2, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3)),
        images(rng, 3, 2, 4, 5),
        last,
    )


@pytest.mark.parametrize("turned", [False, True])
def test_channels_first_is_flattened_as_in_pytorch_unless_the_flatten_turns_it(turned, rng):
    model = port(
        (2, 5, 4),
        layers.Conv2D(3, 2, data_format="channels_first"),
        layers.Flatten(data_format="channels_first" if turned else None),
        layers.Dense(3),
    )
    check_both_ways(
        model, lambda: nn.Sequential(nn.Conv2d(2, 3, 2), nn.Flatten(), nn.Linear(36, 3)), images(rng, 3, 2, 5, 4)
    )


def test_joined_features_are_reordered_where_they_were_flattened(rng):
    class Joined(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution, self.linear = nn.Conv2d(2, 3, 2), nn.Linear(3 * 3 * 4 + 2, 3)

        def forward(self, x):
            return self.linear(torch.cat([x.mean((2, 3)), self.convolution(x).flatten(1)], 1))

    inputs = keras.Input((4, 5, 2))
    parts = [layers.GlobalAveragePooling2D()(inputs), layers.Flatten()(layers.Conv2D(3, 2)(inputs))]
    model = keras.Model(inputs, layers.Dense(3)(layers.Concatenate()(parts)))
    check_both_ways(model, Joined, images(rng, 3, 2, 4, 5), last)


def test_a_vector_that_becomes_a_map_is_reordered(rng):
    model = port(
        (3,),
        layers.Dense(24),
        layers.BatchNormalization(epsilon=1e-5),
        layers.ReLU(),
        layers.Reshape((3, 2, 4)),
        layers.Conv2DTranspose(2, 2),
    )

    def make():
        stack = [
            nn.Linear(3, 24),
            nn.BatchNorm1d(24),
            nn.ReLU(),
            nn.Unflatten(1, (4, 3, 2)),
            nn.ConvTranspose2d(4, 2, 2),
        ]
        return nn.Sequential(*stack)

    check_both_ways(model, make, images(rng, 3, 3), last)

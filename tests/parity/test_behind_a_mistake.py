"""Layers behind a mistake of the port, which nothing proves: matched all the same, and what differs is proved."""

import keras
import numpy as np
import pytest
import torch
from keras import layers, ops
from torch import nn
from torch.nn import functional

from birdplane_keras.parity import Pair, channels_last, check_forward
from birdplane_keras.parity.causes import walk
from birdplane_keras.parity.matching import by_use
from birdplane_keras.parity.matching.fits import turns
from birdplane_keras.parity.sides.matching import match_pair
from parity.test_matching_by_use import floats


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)
    torch.manual_seed(0)


def judge(module, model, side=8):
    result = check_forward(
        torch_module=module.eval(),
        keras_model=model,
        inputs=floats(4, 3, side, side),
        to_keras=channels_last,
        outputs_to_keras=channels_last,
    )
    assert result.verdict == "diverged"
    assert all(finding.proved for finding in result.diagnosis)
    return [finding.cause for finding in result.diagnosis]


class Branches(nn.Module):
    """Parallel branches, two of which begin with a layer of the same shape."""

    def __init__(self, channels):
        super().__init__()
        self.one, self.pooled = nn.Conv2d(channels, 8, 1), nn.Conv2d(channels, 8, 1)
        self.three, self.wide = nn.Conv2d(channels, 8, 1), nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x):
        one, wide = self.one(x), self.wide(torch.relu(self.three(x)))
        return torch.cat([one, wide, self.pooled(functional.avg_pool2d(x, 3, 1, 1))], 1)


def branches(x):
    """The same, but for the mean at the edges; Keras calls its layers by their depth, not as they are written."""
    one = layers.Conv2D(8, 1)(x)
    three = layers.Conv2D(8, 1)(x)
    wide = layers.Conv2D(8, 3, padding="same")(ops.relu(three))
    return ops.concatenate([one, wide, layers.Conv2D(8, 1)(layers.AveragePooling2D(3, 1, "same")(x))], -1)


def test_branches_are_matched_in_the_order_in_which_they_were_made(monkeypatch):
    monkeypatch.setattr(by_use, "RUNS", 0)  # without a search for it
    keras.utils.clear_session()
    inputs = keras.Input((8, 8, 3))
    x = inputs
    for _ in range(3):
        x = branches(x)
    module, model = nn.Sequential(Branches(3), Branches(24), Branches(24)), keras.Model(inputs, x)
    pair = Pair(torch_module=module, keras_model=model, data=(floats(4, 3, 8, 8), ()), to_keras=channels_last)
    found = {layer.layer.name: layer.name for layer in match_pair(pair).layers}
    wanted = [f"{block}.{name}" for block in range(3) for name in ("one", "three", "wide", "pooled")]
    assert found == {"conv2d" + f"_{place}" * (place > 0): name for place, name in enumerate(wanted)}


def test_a_depthwise_kernel_behind_another_pool_lies_as_usual():
    blocks = [nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False), nn.Conv2d(6, 10, 1, bias=False), nn.ReLU()]
    module = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.MaxPool2d(3, 2, 1), *blocks)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(6, 3, padding="same"),
            layers.MaxPooling2D(3, 2, "same"),
            layers.SeparableConv2D(10, 3, padding="same", use_bias=False, activation="relu"),
        ]
    )
    assert judge(module, model) == ["padding"]


@pytest.mark.parametrize(
    ("view", "ours", "axes"),
    [
        ((6, 1, 3, 3), (3, 3, 6, 1), (2, 3, 0, 1)),
        ((6, 4, 3, 3), (3, 3, 4, 6), (2, 3, 1, 0)),
        ((3, 3, 3, 3), (3, 3, 3, 3), (2, 3, 1, 0)),
        ((6, 4, 5), (5, 4, 6), (2, 1, 0)),
        ((6, 4), (4, 6), (1, 0)),
        ((4, 4), (4, 4), (1, 0)),
        ((6, 4), (6, 4), (0, 1)),
        ((1, 8, 8), (1, 8, 8), (0, 1, 2)),
        ((1, 8, 8), (8, 8, 1), (2, 1, 0)),
    ],
)
def test_the_usual_layout_of_a_kernel_comes_first(view, ours, axes):
    kernel = np.arange(np.prod(view), dtype=np.float32).reshape(view)
    assert np.array_equal(turns(ours, view)[0].back(kernel), kernel.transpose(axes).reshape(ours))


class Dense(nn.Module):
    """What is pooled goes on to every later layer, at first through a concatenation of one."""

    def __init__(self):
        super().__init__()
        self.first, self.pool = nn.Conv2d(3, 6, 3, 2, 1), nn.MaxPool2d(3, 2, 1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(6 + 4 * n, eps=1e-3) for n in range(3))
        self.convolutions = nn.ModuleList(nn.Conv2d(6 + 4 * n, 4, 3, padding=1) for n in range(3))

    def forward(self, x):
        x = self.first(x)
        x = self.pool(torch.relu(x))
        found = [x]
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            found.append(convolution(torch.relu(norm(torch.cat(found, 1)))))
        return torch.cat(found, 1)


def dense():
    """The same, but for what is padded."""
    inputs = keras.Input((16, 16, 3))
    x = ops.relu(layers.Conv2D(6, 3, 2, padding="same")(inputs))
    x = layers.MaxPooling2D(3, 2, "same")(x)
    for _ in range(3):
        rest = layers.Conv2D(4, 3, padding="same")(ops.relu(layers.BatchNormalization(epsilon=1e-3)(x)))
        x = ops.concatenate([x, rest], -1)
    return keras.Model(inputs, x)


def test_what_reaches_a_concatenation_as_it_is_is_told_where_it_is_made(monkeypatch):
    monkeypatch.setattr(walk, "suppose", lambda case: [])  # by the port's own operations alone
    assert judge(Dense(), dense(), side=16) == ["different_operation"] * 2  # of the first layer, and of the pool


class Normalised(nn.Module):
    """A normalisation behind every layer, and a pool between them."""

    def __init__(self):
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(3 if n == 0 else 6, 6, 3, padding=1) for n in range(8))
        self.norms = nn.ModuleList(nn.BatchNorm2d(6) for _ in range(8))
        self.pool = nn.MaxPool2d(3, 2, 1)

    def forward(self, x):
        for place, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            x = torch.relu(norm(convolution(x)))
            x = self.pool(x) if place == 6 else x
        return x


@pytest.mark.slow
def test_a_setting_of_every_layer_is_changed_in_all_of_them_at_once():
    inputs = keras.Input((16, 16, 3))
    x = inputs
    for place in range(8):
        x = ops.relu(layers.BatchNormalization(epsilon=1e-1)(layers.Conv2D(6, 3, padding="same")(x)))
        x = layers.MaxPooling2D(3, 2, "same")(x) if place == 6 else x
    causes = judge(Normalised(), keras.Model(inputs, x), side=16)
    assert causes[0] == "epsilon"
    assert set(causes[1:]) in ({"padding"}, {"different_operation"})

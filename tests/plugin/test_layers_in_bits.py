"""Layers in the engine `exact` end in the bits of PyTorch's own: what the README's table of layers says."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pytest
import torch
from keras import layers
from torch import nn
from torch.nn import functional

from birdplane_keras import torch_equivalents, torch_plugin
from birdplane_keras.parity import keras_to_torch, torch_to_keras

ROWS, CLASSES, STEPS = 16, 4, 25
LAYOUTS = ("channels_last", "channels_first")
OPTIMIZERS = {
    "sgd": (
        lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9),
        lambda: torch_equivalents.SGD(0.05, momentum=0.9),
    ),
    "adam": (lambda parameters: torch.optim.Adam(parameters, lr=1e-3), lambda: torch_equivalents.Adam(1e-3)),
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A small network on both sides.

    Args:
        module: Builds it in PyTorch.
        model: Builds it in Keras, for a layout.
        shape: Of one example, as the module takes it.
        words: Examples are words.
        in_order: Weights correspond in their order, and by shape no layer is known to be another's.
    """

    module: Callable[[], nn.Module]
    model: Callable[[str], keras.Model]
    shape: tuple[int, ...]
    words: bool = False
    in_order: bool = False


class Headed(nn.Module):
    """Layers, the mean over space or steps, and a linear layer."""

    def __init__(self, *inner: nn.Module, channels: int, axes: tuple[int, ...]) -> None:
        super().__init__()
        self.inner, self.axes, self.head = nn.Sequential(*inner), axes, nn.Linear(channels, CLASSES)

    def forward(self, x):
        return self.head(self.inner(x).mean(self.axes))


class LastStep(nn.Module):
    """A recurrent layer's last step, and a linear layer."""

    def __init__(self, recurrent: nn.Module) -> None:
        super().__init__()
        self.recurrent, self.head = recurrent, nn.Linear(12, CLASSES)

    def forward(self, x):
        return self.head(self.recurrent(x)[0][:, -1])


def of_images(
    module: Callable[[], list], channels: int, model: Callable[[str], list], side: int = 8, rank: int = 2
) -> Case:
    """Layers of images, on sides that are no powers of two behind the first of them: a mean over them rounds."""
    pooling = {1: layers.GlobalAveragePooling1D, 2: layers.GlobalAveragePooling2D, 3: layers.GlobalAveragePooling3D}[
        rank
    ]
    space = (side,) * rank

    def build(layout: str) -> keras.Model:
        shape = (3, *space) if layout == "channels_first" else (*space, 3)
        return keras.Sequential(
            [keras.Input(shape), *model(layout), pooling(data_format=layout), layers.Dense(CLASSES)]
        )

    axes = tuple(range(2, rank + 2))
    return Case(module=lambda: Headed(*module(), channels=channels, axes=axes), model=build, shape=(3, *space))


def of_series(
    module: Callable[[], nn.Module], *inner: keras.layers.Layer, words: bool = False, in_order: bool = False
) -> Case:
    shape = (6,) if words else (6, 8)
    return Case(
        module=module,
        model=lambda layout: keras.Sequential(
            [
                keras.Input(shape, dtype="int64" if words else "float32"),
                *[type(each).from_config(each.get_config()) for each in inner],
            ]
        ),
        shape=shape,
        words=words,
        in_order=in_order,
    )


def between(make: Callable[[str], list]) -> Callable[[str], list]:
    """Layers between two convolutions."""
    return lambda layout: [
        layers.Conv2D(8, 3, data_format=layout), *make(layout), layers.Conv2D(6, 2, data_format=layout)
    ]  # fmt: skip


def torch_between(*inner: Callable[[], nn.Module]) -> Callable[[], list]:
    return lambda: [nn.Conv2d(3, 8, 3), *[make() for make in inner], nn.Conv2d(8, 6, 2)]


def axis(layout: str) -> int:
    return 1 if layout == "channels_first" else -1


IMAGES = {
    "Conv1D": of_images(
        lambda: [nn.Conv1d(3, 8, 3), nn.Tanh(), nn.Conv1d(8, 6, 2)], 6,
        lambda lay: [layers.Conv1D(8, 3, data_format=lay, activation="tanh"), layers.Conv1D(6, 2, data_format=lay)],
        rank=1,
    ),
    "Conv2D": of_images(
        lambda: [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3)], 16,
        lambda lay: [
            layers.Conv2D(8, 3, padding="same", data_format=lay, activation="relu"),
            layers.Conv2D(16, 3, data_format=lay),
        ],
    ),
    "Conv3D": of_images(
        lambda: [nn.Conv3d(3, 4, 3), nn.ReLU(), nn.Conv3d(4, 6, 2)], 6,
        lambda lay: [layers.Conv3D(4, 3, data_format=lay, activation="relu"), layers.Conv3D(6, 2, data_format=lay)],
        rank=3,
    ),
    "Conv2DTranspose": of_images(
        lambda: [nn.ConvTranspose2d(3, 8, 2, 2), nn.ReLU(), nn.ConvTranspose2d(8, 6, 3)], 6,
        lambda lay: [
            layers.Conv2DTranspose(8, 2, 2, data_format=lay, activation="relu"),
            layers.Conv2DTranspose(6, 3, data_format=lay),
        ],
    ),
    "DepthwiseConv2D": of_images(
        torch_between(lambda: nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU), 6,
        between(lambda lay: [layers.DepthwiseConv2D(3, data_format=lay, padding="same"), layers.ReLU()]),
    ),
    "MaxPooling2D": of_images(
        torch_between(lambda: nn.MaxPool2d(2)), 6, between(lambda lay: [layers.MaxPooling2D(data_format=lay)])
    ),
    "AveragePooling2D": of_images(
        torch_between(lambda: nn.AvgPool2d(2)), 6, between(lambda lay: [layers.AveragePooling2D(2, data_format=lay)])
    ),
    "BatchNormalization": of_images(
        torch_between(lambda: nn.BatchNorm2d(8), nn.ReLU), 6,
        between(lambda lay: [layers.BatchNormalization(axis=axis(lay), epsilon=1e-5), layers.ReLU()]),
    ),
    "GroupNormalization": of_images(
        torch_between(lambda: nn.GroupNorm(2, 8), nn.ReLU), 6,
        between(lambda lay: [layers.GroupNormalization(2, axis=axis(lay), epsilon=1e-5), layers.ReLU()]),
    ),
}  # fmt: skip
SERIES = {
    "LayerNormalization": of_series(
        lambda: Headed(nn.Linear(8, 16), nn.LayerNorm(16), nn.Linear(16, 8), nn.GELU(), channels=8, axes=(1,)),
        *(layers.Dense(16), layers.LayerNormalization(epsilon=1e-5), layers.Dense(8, activation="gelu")),
        *(layers.GlobalAveragePooling1D(), layers.Dense(CLASSES)),
    ),
    "EinsumDense": of_series(
        lambda: Headed(nn.Linear(8, 16), nn.Linear(16, 8), channels=8, axes=(1,)),
        *(layers.EinsumDense("abc,cd->abd", (None, 16), bias_axes="d"), layers.Dense(8)),
        *(layers.GlobalAveragePooling1D(), layers.Dense(CLASSES)),
        in_order=True,
    ),
    "Embedding": of_series(
        lambda: Headed(nn.Embedding(20, 8), channels=8, axes=(1,)),
        *(layers.Embedding(20, 8), layers.GlobalAveragePooling1D(), layers.Dense(CLASSES)),
        words=True,
    ),
    "LSTM": of_series(lambda: LastStep(nn.LSTM(8, 12, batch_first=True)), layers.LSTM(12), layers.Dense(CLASSES)),
    "GRU": of_series(lambda: LastStep(nn.GRU(8, 12, batch_first=True)), layers.GRU(12), layers.Dense(CLASSES)),
    "SimpleRNN": of_series(
        lambda: LastStep(nn.RNN(8, 12, batch_first=True)), layers.SimpleRNN(12), layers.Dense(CLASSES)
    ),
}


class Attention(nn.Module):
    """Four heads, each of the three projections and the last one a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.output = (nn.Linear(8, 8) for _ in range(4))
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x):
        parts = (layer(x).unflatten(-1, (4, 2)).transpose(1, 2) for layer in (self.query, self.key, self.value))
        attended = functional.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(-2)
        return self.head(self.output(attended).mean(1))


def attention_in_keras(layout: str) -> keras.Model:
    inputs = keras.Input((6, 8))
    attended = layers.MultiHeadAttention(4, 2)(inputs, inputs)
    return keras.Model(inputs, layers.Dense(CLASSES)(layers.GlobalAveragePooling1D()(attended)))


SERIES["MultiHeadAttention"] = Case(module=Attention, model=attention_in_keras, shape=(6, 8), in_order=True)


def as_in_keras(parameter: torch.Tensor, variable: keras.Variable) -> torch.Tensor:
    """Returns a linear layer's tensor in the shape that Keras has it in."""
    return (parameter.detach().t() if parameter.ndim == 2 else parameter.detach()).reshape(tuple(variable.shape))


def differing(case: Case, layout: str, optimizer: str, engine: str | None = "exact") -> int:
    """Trains both sides; returns how many losses and weights differ in any bit."""
    torch.manual_seed(0)
    module, model = case.module().train(), case.model(layout)
    for each in module.modules():
        if isinstance(each, nn.LSTM | nn.RNN):  # Keras has one bias
            nn.init.zeros_(each.bias_hh_l0)
            each.bias_hh_l0.requires_grad_(False)
    if case.in_order:
        for variable, parameter in zip(model.trainable_weights, module.parameters(), strict=True):
            variable.assign(as_in_keras(parameter, variable))
    else:
        torch_to_keras(module, model)
    by_hand, in_keras = OPTIMIZERS[optimizer]
    trained = by_hand([parameter for parameter in module.parameters() if parameter.requires_grad])
    model.compile(in_keras(), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    if engine is not None:
        torch_plugin.attach(model, engine, strict=True, audit="never")  # each bit is looked at here
    rng, different = np.random.default_rng(0), 0
    for _ in range(STEPS):
        x: Any = rng.integers(0, 20, (ROWS, *case.shape)) if case.words else rng.standard_normal((ROWS, *case.shape))
        x = x if case.words else x.astype(np.float32)
        y = rng.integers(0, CLASSES, ROWS)
        loss = functional.cross_entropy(module(torch.from_numpy(x)), torch.from_numpy(y))
        trained.zero_grad()
        loss.backward()
        trained.step()
        is_turned = layout == "channels_last" and case.shape[0] == 3
        ours = model.train_on_batch(np.ascontiguousarray(np.moveaxis(x, 1, -1)) if is_turned else x, y)
        model.reset_metrics()
        different += float(ours) != float(loss.detach())
    if case.in_order:
        pairs = zip(model.trainable_weights, module.parameters(), strict=True)
        return different + sum(int((each.value != as_in_keras(theirs, each)).sum()) for each, theirs in pairs)
    theirs = {name: value.detach().clone() for name, value in module.named_parameters()}
    keras_to_torch(model, module)
    return different + sum(int((value != theirs[name]).sum()) for name, value in module.named_parameters())


@pytest.mark.parametrize("optimizer", ["adam", pytest.param("sgd", marks=pytest.mark.slow)])
@pytest.mark.parametrize("layout", [LAYOUTS[0], pytest.param(LAYOUTS[1], marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", IMAGES)
def test_a_layer_of_images_ends_in_pytorchs_bits(name, layout, optimizer):
    assert differing(IMAGES[name], layout, optimizer) == 0


@pytest.mark.parametrize("optimizer", ["adam", pytest.param("sgd", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", SERIES)
def test_a_layer_of_series_ends_in_pytorchs_bits(name, optimizer):
    assert differing(SERIES[name], "channels_last", optimizer) == 0


@pytest.mark.parametrize(
    "name", ["Conv2D", *[pytest.param(name, marks=pytest.mark.slow) for name in ("BatchNormalization", "LSTM")]]
)
def test_without_the_plugin_it_does_not(name):
    """Control."""
    assert differing((IMAGES | SERIES)[name], "channels_last", "adam", engine=None) > 0

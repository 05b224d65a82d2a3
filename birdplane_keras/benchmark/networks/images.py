"""Networks of images, (N, C, H, W) in PyTorch and of either layout in Keras."""

import keras
import numpy as np
import torch
from keras import layers
from torch import nn
from torch.nn import functional

from birdplane_keras.benchmark.networks.network import Network, draw_normal, sparse_categorical

SIDE, CHANNELS, CLASSES = 32, 3, 10


def draw_images(generator: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns images and class numbers."""
    return draw_normal(generator, rows, CHANNELS, SIDE, SIDE), generator.integers(0, CLASSES, rows)


def shape_of(layout: str) -> tuple[int, int, int]:
    """Returns the shape of one image."""
    return (CHANNELS, SIDE, SIDE) if layout == "channels_first" else (SIDE, SIDE, CHANNELS)


def build_lenet() -> nn.Module:
    """LeNet-5 with rectifiers, of three channels."""
    convolutions = [
        *(nn.Conv2d(CHANNELS, 6, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
    ]
    dense = [nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, CLASSES)]
    return nn.Sequential(*convolutions, nn.Flatten(), *dense)


def build_lenet_in_keras(layout: str) -> keras.Model:
    """The same with Keras' layers."""

    def convolution(filters: int) -> list[keras.layers.Layer]:
        return [
            layers.Conv2D(filters, 5, activation="relu", data_format=layout),
            layers.MaxPooling2D(data_format=layout),
        ]

    dense = [layers.Dense(120, activation="relu"), layers.Dense(84, activation="relu"), layers.Dense(CLASSES)]
    return keras.Sequential(
        [keras.Input(shape_of(layout)), *convolution(6), *convolution(16), layers.Flatten(), *dense]
    )


class Residual(nn.Module):
    """Two convolutions beside a shortcut, as in ResNet for CIFAR-10 (He et al. 2015, section 4.2)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.first_norm, self.second_norm = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
        narrow = [nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)]
        self.shortcut = nn.Identity() if stride == 1 and inputs == outputs else nn.Sequential(*narrow)

    def forward(self, x):
        inner = functional.relu(self.first_norm(self.first(x)))
        return functional.relu(self.second_norm(self.second(inner)) + self.shortcut(x))


def build_resnet() -> nn.Module:
    """ResNet-20."""
    widths = [(16, 16, 1)] + [(16, 16, 1)] * 2 + [(16, 32, 2)] + [(32, 32, 1)] * 2 + [(32, 64, 2)] + [(64, 64, 1)] * 2
    stem = [nn.Conv2d(CHANNELS, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    blocks = [Residual(*each) for each in widths]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, CLASSES))


def normed(x, layout: str, convolution: keras.layers.Layer):
    """A convolution and a normalisation with PyTorch's settings."""
    axis = 1 if layout == "channels_first" else -1
    return layers.BatchNormalization(axis=axis, momentum=0.9, epsilon=1e-5)(convolution(x))


def padded(x, layout: str, filters: int, size: int, stride: int, kind=layers.Conv2D, **settings):
    """A convolution that pads as PyTorch's does, evenly on both sides, and a normalisation."""
    if stride > 1 and size > 1:
        x = layers.ZeroPadding2D(size // 2, data_format=layout)(x)
    given = {"strides": stride, "padding": "same" if stride == 1 else "valid", "use_bias": False} | settings
    arguments = (size,) if kind is layers.DepthwiseConv2D else (filters, size)
    return normed(x, layout, kind(*arguments, data_format=layout, **given))


def build_resnet_in_keras(layout: str) -> keras.Model:
    """The same with Keras' layers."""
    inputs = keras.Input(shape_of(layout))
    x = layers.ReLU()(padded(inputs, layout, 16, 3, 1))
    for filters, stride in [(16, 1)] * 3 + [(32, 2)] + [(32, 1)] * 2 + [(64, 2)] + [(64, 1)] * 2:
        inner = layers.ReLU()(padded(x, layout, filters, 3, stride))
        shortcut = x if stride == 1 else padded(x, layout, filters, 1, stride)
        x = layers.ReLU()(layers.Add()([padded(inner, layout, filters, 3, 1), shortcut]))
    pooled = layers.GlobalAveragePooling2D(data_format=layout)(x)
    return keras.Model(inputs, layers.Dense(CLASSES)(pooled))


class InvertedResidual(nn.Module):
    """Widen, filter each channel, narrow (Sandler et al. 2018)."""

    def __init__(self, inputs: int, outputs: int, stride: int, widen: int = 6) -> None:
        super().__init__()
        wide = inputs * widen
        self.inner = nn.Sequential(
            *(nn.Conv2d(inputs, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6()),
            *(nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False), nn.BatchNorm2d(wide), nn.ReLU6()),
            *(nn.Conv2d(wide, outputs, 1, bias=False), nn.BatchNorm2d(outputs)),
        )
        self.is_residual = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.inner(x) if self.is_residual else self.inner(x)


MOBILE = [(16, 24, 2), (24, 24, 1), (24, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1)]


def build_mobilenet() -> nn.Module:
    """Six of MobileNetV2's blocks, for small images."""
    stem = [nn.Conv2d(CHANNELS, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6()]
    top = [nn.Conv2d(64, 256, 1, bias=False), nn.BatchNorm2d(256), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*stem, *[InvertedResidual(*each) for each in MOBILE], *top, nn.Linear(256, CLASSES))


def build_mobilenet_in_keras(layout: str) -> keras.Model:
    """The same with Keras' layers."""
    inputs = keras.Input(shape_of(layout))
    x = layers.ReLU(6.0)(padded(inputs, layout, 16, 3, 1))
    for narrow, filters, stride in MOBILE:
        inner = layers.ReLU(6.0)(padded(x, layout, 6 * narrow, 1, 1))
        inner = layers.ReLU(6.0)(padded(inner, layout, 6 * narrow, 3, stride, kind=layers.DepthwiseConv2D))
        inner = padded(inner, layout, filters, 1, 1)
        x = layers.Add()([x, inner]) if stride == 1 and narrow == filters else inner
    x = layers.ReLU(6.0)(padded(x, layout, 256, 1, 1))
    return keras.Model(inputs, layers.Dense(CLASSES)(layers.GlobalAveragePooling2D(data_format=layout)(x)))


def classifier(name: str, words: str, batch_size: int, module, model, torch_optimizer, keras_optimizer) -> Network:
    """A network that names what is on an image."""
    return Network(
        name=name,
        words=words,
        batch_size=batch_size,
        module=module,
        model=model,
        data=draw_images,
        torch_loss=functional.cross_entropy,
        keras_loss=sparse_categorical,
        torch_optimizer=torch_optimizer,
        keras_optimizer=keras_optimizer,
        is_of_images=True,
    )


LENET = classifier(
    "lenet",
    "LeNet-5, Adam",
    64,
    build_lenet,
    build_lenet_in_keras,
    lambda parameters: torch.optim.Adam(parameters, lr=1e-3),
    lambda: keras.optimizers.Adam(1e-3),
)
RESNET = classifier(
    "resnet20",
    "ResNet-20 for CIFAR-10, SGD with momentum",
    32,
    build_resnet,
    build_resnet_in_keras,
    lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9),
    lambda: keras.optimizers.SGD(0.05, momentum=0.9),
)
MOBILENET = classifier(
    "mobilenet",
    "six blocks of MobileNetV2, RMSprop",
    32,
    build_mobilenet,
    build_mobilenet_in_keras,
    lambda parameters: torch.optim.RMSprop(parameters, lr=1e-3, alpha=0.9),
    lambda: keras.optimizers.RMSprop(1e-3),
)

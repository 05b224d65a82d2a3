"""Clean pairs for dense layers, convolutions, normalisation and Dropout."""

import keras
from torch import nn
from torch.nn import functional

from birdplane_keras import torch_equivalents
from birdplane_keras.catalogue.networks import (
    CLASSES,
    FEATURES,
    conv,
    convnet,
    convnet_port,
    dense,
    image_pair,
    like_torch,
    mlp,
    mlp_port,
    regression_pair,
    stack,
    uniform,
    vector_pair,
)
from birdplane_keras.catalogue.records import clean
from birdplane_keras.parity import Pair, torch_to_keras

layers = keras.layers


class FunctionalMLP(nn.Module):
    """Activations as functions, which no module shows."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(FEATURES, 16), nn.Linear(16, CLASSES)

    def forward(self, x):
        return self.second(functional.relu(self.first(x)))


@clean
def dense_relu(seed: int) -> Pair:
    return vector_pair(seed)


@clean
def dense_tanh(seed: int) -> Pair:
    return vector_pair(seed, module=mlp(nn.Tanh), model=mlp_port("tanh"))


@clean
def dense_gelu(seed: int) -> Pair:
    return vector_pair(seed, module=mlp(nn.GELU), model=mlp_port("gelu"))


@clean
def dense_functional_relu(seed: int) -> Pair:
    return vector_pair(
        seed, module=FunctionalMLP(), model=stack((FEATURES,), [dense(FEATURES, 16, "relu"), dense(16, CLASSES)])
    )


@clean
def weights_as_given(seed: int) -> Pair:
    pair = vector_pair(seed, weights="as_given", initialisation=False)
    torch_to_keras(pair.torch_module, pair.keras_model)
    return pair


@clean
def frozen_on_both_sides(seed: int) -> Pair:
    module, model = mlp(), mlp_port()
    module[0].requires_grad_(False)
    model.layers[0].trainable = False
    return vector_pair(seed, module=module, model=model)


@clean
def convolution_and_max_pooling(seed: int) -> Pair:
    return image_pair(seed)


@clean
def convolution_with_a_stride(seed: int) -> Pair:
    middle = [nn.ReLU(), nn.Flatten()]
    return image_pair(
        seed,
        module=convnet(*middle, first=nn.Conv2d(3, 8, 3, stride=2)),
        model=convnet_port(layers.ReLU(), layers.Flatten(), first=conv(3, 8, strides=2)),
    )


@clean
def convolution_with_a_stride_and_explicit_padding(seed: int) -> Pair:
    model = stack(
        (8, 8, 3),
        [
            layers.ZeroPadding2D(1),
            conv(3, 8, strides=2),
            layers.ReLU(),
            layers.Flatten(),
            dense(8 * 4 * 4, CLASSES),
        ],
    )
    first = nn.Conv2d(3, 8, 3, stride=2, padding=1)
    return image_pair(seed, module=convnet(nn.ReLU(), nn.Flatten(), features=8 * 4 * 4, first=first), model=model)


@clean
def convolution_same_and_average_pooling(seed: int) -> Pair:
    first = nn.Conv2d(3, 8, 3, padding=1)
    return image_pair(
        seed,
        module=convnet(nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), features=8 * 4 * 4, first=first),
        model=convnet_port(
            layers.ReLU(),
            layers.AveragePooling2D(2),
            layers.Flatten(),
            features=8 * 4 * 4,
            first=conv(3, 8, padding="same"),
        ),
    )


@clean
def depthwise_convolution(seed: int) -> Pair:
    depthwise = layers.DepthwiseConv2D(3, depthwise_initializer=uniform(9), bias_initializer=uniform(9))
    return image_pair(
        seed,
        module=convnet(nn.Tanh(), nn.Flatten(), features=3 * 6 * 6, first=nn.Conv2d(3, 3, 3, groups=3)),
        model=convnet_port(layers.Activation("tanh"), layers.Flatten(), features=3 * 6 * 6, first=depthwise),
    )


@clean
def transposed_convolution(seed: int) -> Pair:
    transposed = layers.Conv2DTranspose(4, 2, strides=2, **like_torch(4 * 2 * 2))
    return image_pair(
        seed,
        module=convnet(
            nn.Tanh(), nn.AvgPool2d(4), nn.Flatten(), features=64, first=nn.ConvTranspose2d(3, 4, 2, stride=2)
        ),
        model=convnet_port(
            layers.Activation("tanh"), layers.AveragePooling2D(4), layers.Flatten(), features=64, first=transposed
        ),
    )


@clean
def batch_normalisation_of_vectors(seed: int) -> Pair:
    module = nn.Sequential(nn.Linear(FEATURES, 16, bias=False), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, CLASSES))
    first = dense(FEATURES, 16, use_bias=False)
    model = stack((FEATURES,), [first, torch_equivalents.BatchNormalization(), layers.ReLU(), dense(16, CLASSES)])
    return vector_pair(seed, module=module, model=model)


@clean
def batch_normalisation_of_images(seed: int) -> Pair:
    return image_pair(
        seed,
        module=convnet(
            nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), first=nn.Conv2d(3, 8, 3, bias=False)
        ),
        model=convnet_port(
            torch_equivalents.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            first=conv(3, 8, use_bias=False),
        ),
    )


@clean
def layer_normalisation(seed: int) -> Pair:
    module = nn.Sequential(nn.Linear(FEATURES, 16), nn.LayerNorm(16), nn.GELU(), nn.Linear(16, CLASSES))
    middle = [layers.LayerNormalization(epsilon=1e-5), layers.Activation("gelu")]
    return vector_pair(
        seed, module=module, model=stack((FEATURES,), [dense(FEATURES, 16), *middle, dense(16, CLASSES)])
    )


@clean
def group_normalisation(seed: int) -> Pair:
    return image_pair(
        seed,
        module=convnet(nn.GroupNorm(4, 8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        model=convnet_port(
            layers.GroupNormalization(4, epsilon=1e-5), layers.ReLU(), layers.MaxPooling2D(2), layers.Flatten()
        ),
    )


@clean
def dropout_of_the_same_rate(seed: int) -> Pair:
    module = nn.Sequential(nn.Linear(FEATURES, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, CLASSES))
    return vector_pair(
        seed,
        module=module,
        model=stack((FEATURES,), [dense(FEATURES, 16, "relu"), layers.Dropout(0.3), dense(16, CLASSES)]),
    )


@clean
def regression(seed: int) -> Pair:
    return regression_pair(seed)


CLEAN = (
    dense_relu,
    dense_tanh,
    dense_gelu,
    dense_functional_relu,
    weights_as_given,
    frozen_on_both_sides,
    convolution_and_max_pooling,
    convolution_with_a_stride,
    convolution_with_a_stride_and_explicit_padding,
    convolution_same_and_average_pooling,
    depthwise_convolution,
    transposed_convolution,
    batch_normalisation_of_vectors,
    batch_normalisation_of_images,
    layer_normalisation,
    group_normalisation,
    dropout_of_the_same_rate,
    regression,
)

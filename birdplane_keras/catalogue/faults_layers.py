"""Mistakes in the forward pass of dense layers and convolutions."""

import keras
from torch import nn
from torch.nn import functional

from birdplane_keras.catalogue.networks import (
    CLASSES,
    FEATURES,
    conv,
    convnet,
    convnet_port,
    dense,
    image_pair,
    labelled,
    mlp,
    mlp_port,
    stack,
    vector_pair,
)
from birdplane_keras.catalogue.records import fault
from birdplane_keras.parity import Pair

layers = keras.layers


class Normalised(nn.Module):
    """Vectors of length one, and a linear layer. `functional.normalize` leaves a vector of zeros as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(FEATURES, CLASSES)

    def forward(self, x):
        return self.head(functional.normalize(x))


class Root(nn.Module):
    """sqrt(x + 0.01) - 0.1 of what is positive, else zero; the root of a negative number is never taken."""

    def forward(self, x):
        return (x.relu() + 0.01).sqrt() - 0.1


def through_half(x):
    """ReLU in half precision."""
    return keras.ops.cast(keras.ops.relu(keras.ops.cast(x, "float16")), "float32")


@fault("The port has tanh where the reference has ReLU.", rung="forward", cause="activation")
def tanh_for_relu(seed: int) -> Pair:
    return vector_pair(seed, model=mlp_port("tanh"))


@fault("One hidden layer of the port has no activation.", rung="forward", cause="activation")
def activation_missing(seed: int) -> Pair:
    model = stack((FEATURES,), [dense(FEATURES, 16, "relu"), dense(16, 16), dense(16, CLASSES)])
    return vector_pair(seed, model=model)


@fault("The port has the exact GELU, the reference its approximation by tanh.", rung="forward", cause="activation")
def exact_gelu(seed: int) -> Pair:
    return vector_pair(seed, module=mlp(lambda: nn.GELU(approximate="tanh")), model=mlp_port("gelu"))


@fault("The port's LeakyReLU keeps Keras' slope of 0.3.", rung="forward", cause="activation")
def leaky_slope(seed: int) -> Pair:
    model = stack((FEATURES,), [dense(FEATURES, 16), layers.LeakyReLU(), dense(16, CLASSES)])
    module = nn.Sequential(nn.Linear(FEATURES, 16), nn.LeakyReLU(), nn.Linear(16, CLASSES))
    return vector_pair(seed, module=module, model=model)


@fault("The port normalises after the activation instead of before it.", rung="forward", cause="layers_swapped")
def activation_before_normalisation(seed: int) -> Pair:
    module = nn.Sequential(nn.Linear(FEATURES, 16), nn.LayerNorm(16), nn.ReLU(), nn.Linear(16, CLASSES))
    middle = [layers.ReLU(), layers.LayerNormalization(epsilon=1e-5)]
    model = stack((FEATURES,), [dense(FEATURES, 16), *middle, dense(16, CLASSES)])
    return vector_pair(seed, module=module, model=model)


@fault("The port ends in softmax, and its loss takes logits.", rung="forward", cause="softmax_before_loss")
def softmax_before_the_loss(seed: int) -> Pair:
    model = stack((FEATURES,), [dense(FEATURES, 16, "relu"), dense(16, CLASSES, "softmax")])
    module = nn.Sequential(nn.Linear(FEATURES, 16), nn.ReLU(), nn.Linear(16, CLASSES))
    return vector_pair(seed, module=module, model=model)


@fault('The port pads "same" at stride 2, which pads one side only.', rung="forward", cause="padding")
def same_padding_at_stride_two(seed: int) -> Pair:
    first = nn.Conv2d(3, 8, 3, stride=2, padding=1)
    return image_pair(
        seed,
        module=convnet(nn.ReLU(), nn.Flatten(), features=8 * 4 * 4, first=first),
        model=convnet_port(
            layers.ReLU(), layers.Flatten(), features=8 * 4 * 4, first=conv(3, 8, strides=2, padding="same")
        ),
    )


@fault('The port pools "same" at stride 2, which pads one side only.', rung="forward", cause="padding")
def same_pooling_at_stride_two(seed: int) -> Pair:
    first = nn.Conv2d(3, 8, 3, padding=1)
    middle = [nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1), nn.Flatten()]
    pooling = layers.MaxPooling2D(3, strides=2, padding="same")
    return image_pair(
        seed,
        module=convnet(*middle, features=8 * 4 * 4, first=first),
        model=convnet_port(
            layers.ReLU(), pooling, layers.Flatten(), features=8 * 4 * 4, first=conv(3, 8, padding="same")
        ),
    )


@fault("The port's convolution is not dilated.", rung="forward", cause="dilation")
def dilation_missing(seed: int) -> Pair:
    first = nn.Conv2d(3, 8, 3, padding=2, dilation=2)
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


@fault("The port's average leaves the padding out, the reference's counts it.", rung="forward", cause="pooling_padding")
def average_without_the_padding(seed: int) -> Pair:
    middle = [nn.ReLU(), nn.AvgPool2d(3, stride=1, padding=1), nn.Flatten()]
    pooling = layers.AveragePooling2D(3, strides=1, padding="same")
    return image_pair(
        seed,
        module=convnet(*middle, features=8 * 6 * 6),
        model=convnet_port(layers.ReLU(), pooling, layers.Flatten(), features=8 * 6 * 6),
    )


@fault("The port turns the channels round before the first layer.", rung="forward", cause="channel_order")
def channels_reversed_within_the_port(seed: int) -> Pair:
    model = stack(
        (8, 8, 3),
        [
            layers.Lambda(lambda x: keras.ops.flip(x, axis=-1)),
            conv(3, 8),
            layers.ReLU(),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            dense(72, CLASSES),
        ],
    )
    return image_pair(seed, model=model)


@fault("An activation of the port computes in half precision.", rung="forward", cause="precision")
def activation_in_half_precision(seed: int) -> Pair:
    layers_ = [dense(FEATURES, 16, through_half), dense(16, 16, "relu"), dense(16, CLASSES)]
    return vector_pair(seed, model=stack((FEATURES,), layers_))


@fault("A layer of the port has the policy mixed_bfloat16.", rung="forward", cause="precision")
def layer_of_mixed_precision(seed: int) -> Pair:
    layers_ = [dense(FEATURES, 16, "relu"), dense(16, 16, "relu", dtype="mixed_bfloat16"), dense(16, CLASSES)]
    return vector_pair(seed, model=stack((FEATURES,), layers_))


@fault("The port divides by a norm that is zero for some inputs.", rung="forward", cause="not_a_number")
def division_by_a_zero_norm(seed: int) -> Pair:
    inputs, targets = labelled(seed, FEATURES)
    inputs[::5] = 0
    unit = layers.Lambda(lambda x: x / keras.ops.norm(x, axis=1, keepdims=True))
    model = stack((FEATURES,), [unit, dense(FEATURES, CLASSES)])
    return vector_pair(seed, data=(inputs, targets), module=Normalised(), model=model)


@fault("The port chooses by where() after a root of negative numbers.", rung="gradients", cause="not_a_number")
def root_within_where(seed: int) -> Pair:
    root = layers.Lambda(lambda x: keras.ops.where(x > 0, keras.ops.sqrt(x + 0.01) - 0.1, 0.0))
    model = stack((FEATURES,), [dense(FEATURES, 16), root, dense(16, CLASSES)])
    module = nn.Sequential(nn.Linear(FEATURES, 16), Root(), nn.Linear(16, CLASSES))
    return vector_pair(seed, module=module, model=model)


FAULTS = (
    tanh_for_relu,
    activation_missing,
    exact_gelu,
    leaky_slope,
    activation_before_normalisation,
    softmax_before_the_loss,
    same_padding_at_stride_two,
    same_pooling_at_stride_two,
    dilation_missing,
    average_without_the_padding,
    channels_reversed_within_the_port,
    activation_in_half_precision,
    layer_of_mixed_precision,
    division_by_a_zero_norm,
    root_within_where,
)

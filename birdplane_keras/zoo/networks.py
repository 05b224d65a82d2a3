"""Classifiers of pictures: `keras.applications` and torchvision or timm, at their own sizes."""

from functools import partial

import keras
import timm
import torchvision
from torch import nn

from birdplane_keras.parity import channels_last
from birdplane_keras.zoo.inputs import pictures
from birdplane_keras.zoo.registry import lively, pair

SIDE, CLASSES = 64, 10


def classifiers(module, build, **more):
    """Returns a pair of classifiers of which the port ends in scores, as the reference does."""
    side = more.pop("side", SIDE)
    arguments = more.pop("arguments", {})
    model = build(weights=None, input_shape=(side, side, 3), classes=CLASSES, classifier_activation=None, **arguments)
    return {
        "torch_module": lively(module),
        "keras_model": model,
        "inputs": pictures(side),
        "to_keras": channels_last,
        **more,
    }


@pair("torchvision densenet121", "keras.applications DenseNet121")
def densenet121(advised):
    return classifiers(torchvision.models.densenet121(num_classes=CLASSES), keras.applications.DenseNet121)


@pair("torchvision convnext_tiny", "keras.applications ConvNeXtTiny")
def convnext_tiny(advised):
    return classifiers(
        torchvision.models.convnext_tiny(num_classes=CLASSES),
        keras.applications.ConvNeXtTiny,
        arguments={"include_preprocessing": False},
    )


@pair(
    "torchvision mobilenet_v2",
    "keras.applications MobileNetV2",
    "mobilenet_v2(norm_layer=partial(nn.BatchNorm2d, eps=1e-3))",
)
def mobilenet_v2(advised):
    """The port pads strided convolutions below and to the right alone, which no argument of it changes."""
    norm = {"norm_layer": partial(nn.BatchNorm2d, eps=1e-3)} if advised else {}
    return classifiers(torchvision.models.mobilenet_v2(num_classes=CLASSES, **norm), keras.applications.MobileNetV2)


@pair("torchvision inception_v3", "keras.applications InceptionV3")
def inception_v3(advised):
    """The port's normalisations have no scales: the reference's are one, and left out."""
    module = torchvision.models.inception_v3(num_classes=CLASSES, aux_logits=False, init_weights=False)
    found = classifiers(module, keras.applications.InceptionV3, side=96, mapping={"*.bn.weight": None})
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.ones_(part.weight)
    return found


@pair("torchvision mobilenet_v3_small", "keras.applications MobileNetV3Small")
def mobilenet_v3(advised):
    """Likewise."""
    return classifiers(
        torchvision.models.mobilenet_v3_small(num_classes=CLASSES),
        keras.applications.MobileNetV3Small,
        arguments={"include_preprocessing": False},
    )


@pair("torchvision resnet50", "keras.applications ResNet50")
def resnet50(advised):
    """The port is version 1, with biases and strides elsewhere; the reference is version 1.5."""
    return classifiers(torchvision.models.resnet50(num_classes=CLASSES), keras.applications.ResNet50)


@pair("timm legacy_xception", "keras.applications Xception", "BatchNorm2d with eps=1e-3")
def xception(advised):
    module = timm.create_model("legacy_xception", num_classes=CLASSES)
    for member in module.modules() if advised else ():
        if isinstance(member, nn.BatchNorm2d):
            member.eps = 1e-3
    return classifiers(module, keras.applications.Xception, side=75)

"""A network that marks pictures: an encoder of a library in each framework, and its decoder."""

import keras
import segmentation_models_pytorch
from keras import layers
from keras_hub import models

from birdplane_keras.zoo.pictures import SIDE, features
from birdplane_keras.zoo.registry import pair

CLASSES = 3
WIDTHS = (256, 128, 64, 32, 16)  # of the decoder's blocks


@pair("segmentation_models_pytorch Unet", "KerasHub ResNetBackbone, decoder in Keras")
def unet(advised):
    """The port's decoder is written from the U-Net's description: enlarge, put the encoder's map beside, two layers."""
    encoder = models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 128, 256, 512],
        stackwise_num_blocks=[2, 2, 2, 2],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="basic_block",
        image_shape=(SIDE, SIDE, 3),
    )
    stem = encoder.get_layer("conv1_relu").output
    *beside, x = [stem, *(encoder.pyramid_outputs[f"P{level}"] for level in range(2, 6))]
    for width in WIDTHS:
        x = layers.UpSampling2D(interpolation="nearest")(x)
        if beside:
            x = layers.Concatenate()([x, beside.pop()])
        for _ in range(2):
            x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
            x = layers.ReLU()(layers.BatchNormalization(epsilon=1e-5)(x))
    marks = layers.Conv2D(CLASSES, 3, padding="same")(x)
    module = segmentation_models_pytorch.Unet("resnet18", encoder_weights=None, classes=CLASSES)
    return features(module, keras.Model(encoder.input, marks))

"""The classifier: `D` = 3072 pixels in, `C` = 2 classes out; fully connected, or with convolutions before that."""

import keras
import numpy as np
from keras import layers

from birdplane_keras.recipe import Recipe

CHANNELS, SIZE = 3, 32
CLASSES = 2


@keras.saving.register_keras_serializable("birdplane_keras")
class LinearUniform(keras.initializers.RandomUniform):
    """PyTorch's default start of an `nn.Linear` or `nn.Conv2d`: uniform within ±1/sqrt(fan_in), for kernel and bias.

    Source: `reset_parameters` of `torch.nn.Linear` and `torch.nn.Conv2d` (Kaiming uniform with a = sqrt(5)).

    Args:
        fan_in: Inputs of a unit of the layer; a bias does not tell it by its shape.
        seed: As every Keras initializer takes it.
    """

    def __init__(self, fan_in: int, seed: int | None = None) -> None:
        self.fan_in = fan_in
        bound = fan_in**-0.5
        super().__init__(minval=-bound, maxval=bound, seed=seed)

    def get_config(self) -> dict:
        return {"fan_in": self.fan_in, "seed": super().get_config()["seed"]}


def build_model(recipe: Recipe, size: int = SIZE) -> keras.Sequential:
    """Builds the stack of *Deep Learning with PyTorch*, section 7.2, or the convolutions of 8.2, in stock Keras layers.

    Args:
        recipe: Gives the layers, the head and the seed of the initial weights, which are drawn from PyTorch's own
            default distribution (`LinearUniform`). A log-softmax is in the loss: see `training.build_loss`.
        size: Height and width of an image, in pixels.

    Returns:
        A model from (N, 3 x size x size) float32 pixels to (N, 2) float32 logits; with the head `softmax`,
        probabilities.
    """
    weighted = len(recipe.convolutions) + len(recipe.hidden_layers) + 1
    seeds = iter(np.random.SeedSequence(recipe.seed).generate_state(2 * weighted).tolist())

    def initializers(fan_in: int) -> dict[str, keras.initializers.Initializer]:
        return {
            "kernel_initializer": LinearUniform(fan_in, next(seeds)),
            "bias_initializer": LinearUniform(fan_in, next(seeds)),
        }

    inputs = CHANNELS * size * size
    model = keras.Sequential([layers.Input((inputs,))])
    if recipe.convolutions:
        channels = CHANNELS
        # Channels first, as the pixels lie and as PyTorch computes; channels last would be transposed at every layer.
        model.add(layers.Reshape((channels, size, size)))
        for filters in recipe.convolutions:
            start = initializers(9 * channels)
            model.add(
                layers.Conv2D(filters, 3, padding="same", activation="tanh", data_format="channels_first", **start)
            )
            model.add(layers.MaxPooling2D(2, data_format="channels_first"))
            channels, size = filters, size // 2
        model.add(layers.Flatten())
        inputs = channels * size * size
    for units, activation in [*((units, "tanh") for units in recipe.hidden_layers), (CLASSES, None)]:
        model.add(layers.Dense(units, activation=activation, **initializers(inputs)))
        inputs = units
    if recipe.head == "softmax":
        model.add(layers.Softmax())
    return model


def logits_model(model: keras.Sequential) -> keras.Sequential:
    """Returns the same model, sharing its weights, without a closing softmax: (N, 3072) -> (N, 2) logits."""
    if not isinstance(model.layers[-1], layers.Softmax):
        return model
    return keras.Sequential([layers.Input(model.input_shape[1:]), *model.layers[:-1]])


def parameter_counts(model: keras.Model) -> list[int]:
    """Returns the number of elements of each trainable tensor, in the order of the layers."""
    return [int(np.prod(weight.shape)) for weight in model.trainable_weights]

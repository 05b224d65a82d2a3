"""The classifier: `D` = 3072 pixels in, `C` = 2 classes out; fully connected, or with convolutions before that."""

from collections.abc import Callable, Iterator, Sequence

import keras
import numpy as np
from keras import layers

from birdplane_keras.recipe import Recipe

CHANNELS, SIZE = 3, 32
CLASSES = 2


def linear_uniform(fan_in: int, seed: int | None = None) -> keras.initializers.RandomUniform:
    """Returns PyTorch's default start of an `nn.Linear` or `nn.Conv2d`: uniform within ±1/sqrt(fan_in), biases, too.

    It is one of Keras' own initializers, so that a saved model opens where this package is not installed.
    Source: `reset_parameters` of `torch.nn.Linear` and `torch.nn.Conv2d` (Kaiming uniform with a = sqrt(5)).

    Args:
        fan_in: Inputs of a unit of the layer; a bias does not tell it by its shape.
        seed: As every Keras initializer takes it.
    """
    bound = fan_in**-0.5
    return keras.initializers.RandomUniform(minval=-bound, maxval=bound, seed=seed)


def initial_seeds(seed: int, weighted_layers: int) -> Iterator[int]:
    """Yields a seed for the kernel and one for the bias of each layer, in order."""
    return iter(np.random.SeedSequence(seed).generate_state(2 * weighted_layers).tolist())


def layer_start(fan_in: int, seeds: Iterator[int]) -> dict[str, keras.initializers.Initializer]:
    """Returns the initializers of a layer; its seeds are the next two."""
    return {
        "kernel_initializer": linear_uniform(fan_in, next(seeds)),
        "bias_initializer": linear_uniform(fan_in, next(seeds)),
    }


def add_dense_layers(
    model: keras.Sequential,
    inputs: int,
    hidden_layers: Sequence[int],
    classes: int,
    seeds: Iterator[int],
    activation: str | Callable = "tanh",
) -> None:
    """Adds Dense layers from (N, inputs) to (N, classes) logits, with the activation after each but the last."""
    for units, function in [*((units, activation) for units in hidden_layers), (classes, None)]:
        model.add(layers.Dense(units, activation=function, **layer_start(inputs, seeds)))
        inputs = units


def build_model(recipe: Recipe, size: int = SIZE) -> keras.Sequential:
    """Builds the stack of *Deep Learning with PyTorch*, section 7.2, or the convolutions of 8.2, in stock Keras layers.

    Args:
        recipe: Gives the layers, the head and the seed of the initial weights, which are drawn from PyTorch's own
            default distribution (`linear_uniform`). A log-softmax is in the loss: see `training.build_loss`.
        size: Height and width of an image, in pixels.

    Returns:
        A model from (N, 3 x size x size) float32 pixels to (N, 2) float32 logits; with the head `softmax`,
        probabilities.
    """
    seeds = initial_seeds(recipe.seed, len(recipe.convolutions) + len(recipe.hidden_layers) + 1)
    inputs = CHANNELS * size * size
    model = keras.Sequential([layers.Input((inputs,))])
    if recipe.convolutions:
        channels = CHANNELS
        # Channels first, as the pixels lie and as PyTorch computes; channels last would be transposed at every layer.
        model.add(layers.Reshape((channels, size, size)))
        for filters in recipe.convolutions:
            start = layer_start(9 * channels, seeds)
            model.add(
                layers.Conv2D(filters, 3, padding="same", activation="tanh", data_format="channels_first", **start)
            )
            model.add(layers.MaxPooling2D(2, data_format="channels_first"))
            channels, size = filters, size // 2
        model.add(layers.Flatten())
        inputs = channels * size * size
    add_dense_layers(model, inputs, recipe.hidden_layers, CLASSES, seeds)
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

"""The fully connected classifier: `D` = 3072 pixels in, `C` = 2 classes out."""

import keras
import numpy as np
from keras import layers

from birdplane_keras.recipe import Recipe

PIXELS = 3 * 32 * 32
CLASSES = 2


@keras.saving.register_keras_serializable("birdplane_keras")
class LinearUniform(keras.initializers.RandomUniform):
    """PyTorch's default start of an `nn.Linear`: uniform within ±1/sqrt(fan_in), for kernel and bias alike.

    Source: `torch.nn.Linear.reset_parameters` (Kaiming uniform with a = sqrt(5)).

    Args:
        fan_in: Inputs of the layer; a bias does not tell it by its shape.
        seed: As every Keras initializer takes it.
    """

    def __init__(self, fan_in: int, seed: int | None = None) -> None:
        self.fan_in = fan_in
        bound = fan_in**-0.5
        super().__init__(minval=-bound, maxval=bound, seed=seed)

    def get_config(self) -> dict:
        return {"fan_in": self.fan_in, "seed": super().get_config()["seed"]}


def build_model(recipe: Recipe) -> keras.Sequential:
    """Builds the Dense/tanh stack of *Deep Learning with PyTorch*, section 7.2, in stock Keras layers.

    Args:
        recipe: Gives the hidden layers and the seed of the initial weights, which are drawn from PyTorch's own default
            distribution (`LinearUniform`). Its head is in the loss: see `birdplane_keras.training.build_loss`.

    Returns:
        A model from (N, 3072) float32 pixels to (N, 2) float32 logits.
    """
    seeds = iter(np.random.SeedSequence(recipe.seed).generate_state(2 * len(recipe.hidden_layers) + 2).tolist())
    model = keras.Sequential([layers.Input((PIXELS,))])
    inputs = PIXELS
    for units, activation in [*((units, "tanh") for units in recipe.hidden_layers), (CLASSES, None)]:
        model.add(
            layers.Dense(
                units,
                activation=activation,
                kernel_initializer=LinearUniform(inputs, next(seeds)),
                bias_initializer=LinearUniform(inputs, next(seeds)),
            )
        )
        inputs = units
    return model


def parameter_counts(model: keras.Model) -> list[int]:
    """Returns the number of elements of each trainable tensor, in the order of the layers."""
    return [int(np.prod(weight.shape)) for weight in model.trainable_weights]

"""The classifier: `D` = 3072 pixels in, `C` = 2 classes out; fully connected, or with convolutions before that."""

import torch
from torch import nn

from torch_reference.recipe import Recipe

CHANNELS, SIZE = 3, 32
CLASSES = 2
HEADS = {"log_softmax": nn.LogSoftmax, "softmax": nn.Softmax}  # after the last Linear; none for logits


def build_model(recipe: Recipe, size: int = SIZE) -> nn.Sequential:
    """Builds the Linear/Tanh stack of *Deep Learning with PyTorch*, section 7.2, or the convolutions of section 8.2.

    Args:
        recipe: Gives the layers, the head, and the seed of the initial weights, which are PyTorch's own defaults:
            uniform within ±1/sqrt(fan_in), for weights and biases alike.
        size: Height and width of an image, in pixels.

    Returns:
        A model from (N, 3 x size x size) float32 pixels to (N, 2) float32 log-probabilities, probabilities or logits.
    """
    torch.manual_seed(recipe.seed)
    layers: list[nn.Module] = []
    inputs = CHANNELS * size * size
    if recipe.convolutions:
        channels = CHANNELS
        layers.append(nn.Unflatten(1, (channels, size, size)))
        for filters in recipe.convolutions:
            layers += [nn.Conv2d(channels, filters, kernel_size=3, padding=1), nn.Tanh(), nn.MaxPool2d(2)]
            channels, size = filters, size // 2
        layers.append(nn.Flatten())
        inputs = channels * size * size
    for units in recipe.hidden_layers:
        layers += [nn.Linear(inputs, units), nn.Tanh()]
        inputs = units
    layers.append(nn.Linear(inputs, CLASSES))
    if recipe.head in HEADS:
        layers.append(HEADS[recipe.head](dim=1))
    return nn.Sequential(*layers)


def logits_model(model: nn.Sequential) -> nn.Sequential:
    """Returns the same model, sharing its weights, without a closing softmax: (N, 3072) -> (N, 2) logits."""
    return nn.Sequential(*list(model)[:-1]) if isinstance(model[-1], tuple(HEADS.values())) else model


def closing_head(model: nn.Sequential) -> nn.Sequential:
    """Returns what `logits_model` leaves out, from logits to what the model outputs: one layer, or none."""
    return nn.Sequential(*list(model)[len(logits_model(model)) :])


def parameter_counts(model: nn.Module) -> list[int]:
    """Returns the number of elements of each trainable tensor, in the order of the layers."""
    return [parameter.numel() for parameter in model.parameters() if parameter.requires_grad]

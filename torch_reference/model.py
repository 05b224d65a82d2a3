"""The fully connected classifier: `D` = 3072 pixels in, `C` = 2 classes out."""

import torch
from torch import nn

from torch_reference.recipe import Recipe

PIXELS = 3 * 32 * 32
CLASSES = 2


def build_model(recipe: Recipe) -> nn.Sequential:
    """Builds the Linear/Tanh stack of *Deep Learning with PyTorch*, section 7.2.

    Args:
        recipe: Gives the hidden layers, the head, and the seed of the initial weights, which are PyTorch's own
            defaults: uniform within ±1/sqrt(fan_in), for weights and biases alike.

    Returns:
        A model from (N, 3072) float32 pixels to (N, 2) float32 log-probabilities or logits.
    """
    torch.manual_seed(recipe.seed)
    layers: list[nn.Module] = []
    inputs = PIXELS
    for units in recipe.hidden_layers:
        layers += [nn.Linear(inputs, units), nn.Tanh()]
        inputs = units
    layers.append(nn.Linear(inputs, CLASSES))
    if recipe.head == "log_softmax":
        layers.append(nn.LogSoftmax(dim=1))
    return nn.Sequential(*layers)


def logits_model(model: nn.Sequential) -> nn.Sequential:
    """Returns the same model, sharing its weights, without a closing LogSoftmax: (N, 3072) -> (N, 2) logits."""
    return nn.Sequential(*list(model)[:-1]) if isinstance(model[-1], nn.LogSoftmax) else model


def parameter_counts(model: nn.Module) -> list[int]:
    """Returns the number of elements of each trainable tensor, in the order of the layers."""
    return [parameter.numel() for parameter in model.parameters() if parameter.requires_grad]

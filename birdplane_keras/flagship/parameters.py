"""What a preset's network costs, tensor by tensor, and on larger images: the end of the article's section 5."""

import dataclasses
from typing import Any

import keras
import torch

import birdplane_keras.model
import torch_reference.model
from birdplane_keras.parity.matching.match import match_layers
from birdplane_keras.recipe import IMAGE_SIZE, Recipe
from torch_reference.recipe import Recipe as ReferenceRecipe

SIZES = (IMAGE_SIZE, 224, 1024)  # pixels of an image's edge: CIFAR-10's, ImageNet's, a photograph's


def count_parameters(recipe: Recipe) -> dict[str, Any]:
    """Counts the parameters of both sides.

    The models are built without memory (PyTorch's meta device), so that a network of billions can be counted.

    Returns:
        `tensors`: one row for each, with `name` and `shape` on both sides, `count` and whether it is `trainable`;
        `totals`: for each edge of an image in pixels and each side, `total` and `trainable`.
    """
    reference, port = build_both(recipe, IMAGE_SIZE)
    weights, matching = dict(reference.named_parameters()), match_layers(port, reference)
    rows = []
    for match in matching.tensors:
        ours, theirs = matching.variables[match.name], weights[match.name]
        rows.append(
            {
                "torch": match.name,
                "torch_shape": list(theirs.shape),
                "keras": match.keras.partition("/")[2],  # without the model's own name
                "keras_shape": list(ours.shape),
                "count": {"torch": theirs.numel(), "keras": int(torch.Size(ours.shape).numel())},
                "trainable": {"torch": theirs.requires_grad, "keras": bool(ours.trainable)},
            }
        )
    return {"tensors": rows, "totals": {size: totals(*build_both(recipe, size)) for size in SIZES}}


def build_both(recipe: Recipe, size: int) -> tuple[torch.nn.Sequential, keras.Sequential]:
    """Returns both networks for images of a size, without memory for their weights."""
    with torch.device("meta"):
        reference = torch_reference.model.build_model(ReferenceRecipe(**dataclasses.asdict(recipe)), size)
    with keras.device("meta"):
        return reference, birdplane_keras.model.build_model(recipe, size)


def totals(reference: torch.nn.Module, port: keras.Model) -> dict[str, dict[str, int]]:
    """Returns, for each side, all parameters and those that are trained."""
    return {
        "torch": {
            "total": sum(p.numel() for p in reference.parameters()),
            "trainable": sum(torch_reference.model.parameter_counts(reference)),
        },
        "keras": {
            "total": port.count_params(),
            "trainable": sum(birdplane_keras.model.parameter_counts(port)),
        },
    }

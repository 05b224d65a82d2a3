"""The port's weights as the original takes them: names and layout are the reference's."""

from pathlib import Path

import keras

import torch_reference.model
import torch_reference.recipe
from birdplane_keras.errors import RequestError
from birdplane_keras.files.state_dict import save_state_dict
from birdplane_keras.model import CLASSES


def export_safetensors(model: keras.Sequential, path: Path) -> None:
    """Writes a trained model's weights so that `torch_reference.model.build_model(recipe)` loads them.

    Args:
        model: Of this package's shape: convolutions, hidden layers, 2 classes.
        path: Ends in `.safetensors`.

    Raises:
        RequestError: The model has another shape.
    """
    weighted = [layer for layer in model.layers if layer.weights]
    convolutions = [layer.filters for layer in weighted if isinstance(layer, keras.layers.Conv2D)]
    dense = [layer.units for layer in weighted if isinstance(layer, keras.layers.Dense)]
    if len(convolutions) + len(dense) != len(weighted) or len(dense) < 2 or dense[-1] != CLASSES:
        layers = ", ".join(type(layer).__name__ for layer in weighted)
        raise RequestError(f"expected convolutions, then Dense layers down to {CLASSES} classes, received {layers}")
    recipe = torch_reference.recipe.Recipe(
        name="exported",
        hidden_layers=tuple(dense[:-1]),
        convolutions=tuple(convolutions),
        head="logits",
        loss="cross_entropy",
    )
    save_state_dict(model, torch_reference.model.build_model(recipe), path)

"""The presets in words, with what is to be expected of them: `compare.py --list`. Loads nothing heavy."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from birdplane_keras.published import describe_published
from birdplane_keras.recipe import Recipe

EXPECTED = Path(__file__).parent.parent / "expected.json"  # written by scripts/reproduce.py
PIXELS, CLASSES = 3072, 2
LOSSES = {"nll": "LogSoftmax and NLL", "cross_entropy": "logits and cross-entropy", "mse": "softmax and squared error"}


def load_expected(path: Path = EXPECTED) -> dict[str, Any]:
    """Returns what `scripts/reproduce.py` measured last: `date`, `environment` and `presets`; nothing before it ran."""
    return json.loads(path.read_text()) if path.exists() else {"presets": {}}


def describe_network(recipe: Recipe) -> str:
    """Returns the layers in a few characters: 3072-512-2."""
    layers = [str(PIXELS), *(f"{filters} 3x3" for filters in recipe.convolutions)]
    return "-".join([*layers, *map(str, recipe.hidden_layers), str(CLASSES)])


def describe_training(recipe: Recipe) -> str:
    """Returns how a preset is trained, in a line."""
    order = "" if recipe.shuffle else ", in file order"
    shifts = f", shifted by up to {recipe.largest_shift} pixels" if recipe.largest_shift else ""
    epochs = "1 epoch" if recipe.epochs == 1 else f"{recipe.epochs} epochs"
    batches = f"batches of {recipe.batch_size}"
    return f"{LOSSES[recipe.loss]}, rate {recipe.learning_rate:g}, {batches}{order}{shifts}, {epochs}"


def render_list(presets: Mapping[str, Recipe], expected: Mapping[str, Any]) -> str:
    """Returns two lines for each preset: its network and training, then what to expect of it."""
    lines = []
    for name, recipe in presets.items():
        measured = expected["presets"].get(name)
        lines.append(f"{name:12} {describe_network(recipe)}: {describe_training(recipe)}")
        if measured is None:
            told = "not measured yet"
        else:
            accuracy, minutes = measured["keras"]["validation_accuracy"], max(1, round(measured["minutes"]))
            told = f"{measured['verdict']}, validation accuracy {accuracy:.4f}, {minutes} min on one core"
        published = describe_published(name)
        lines.append(f"{'':12} expected: {told}" + (f"; published: {published}" if published else ""))
    if "date" in expected:
        environment = expected["environment"]
        versions = f"torch {environment['torch']}, Keras {environment['keras']}"
        lines.append(f"Measured {expected['date']} by scripts/reproduce.py with {versions}.")
    return "\n".join(lines)

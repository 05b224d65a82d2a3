"""The article's table, reproduced: one row per preset."""

from collections.abc import Mapping
from typing import Any

from birdplane_keras.published import describe_published
from birdplane_keras.recipe import PRESETS
from birdplane_keras.reporting.markdown import table_lines
from birdplane_keras.reporting.presets import describe_network

COLUMNS = ("preset", "network", "parameters", "published", "PyTorch", "Keras", "over seeds", "verdict")


def render_reproduction(expected: Mapping[str, Any]) -> str:
    """Returns the table, and under it what it was measured with.

    Args:
        expected: `date`, `environment`, and `presets`: by name the result of its comparison, with
            `seeds`, from the seed to PyTorch's validation accuracy, where more than one was trained.
    """
    rows = []
    for name, found in expected["presets"].items():
        cells = [
            f"`{name}`",
            describe_network(PRESETS[name]) if name in PRESETS else "",
            f"{found['torch']['parameter_count']:,}",
            describe_published(name),
            *(f"{found[side]['validation_accuracy']:.4f}" for side in ("torch", "keras")),
            describe_range(found.get("seeds", {})),
            f"**{found['verdict']}**",
        ]
        rows.append(cells)
    environment = expected["environment"]
    told = (
        f"Accuracy on the 2,000 validation images after the last epoch, seed 0, engine `exact`. Measured "
        f"{expected['date']} on {environment['device']}, one thread each; Python {environment['python']}, torch "
        f"{environment['torch']}, Keras {environment['keras']}."
    )
    return "\n".join([*table_lines(COLUMNS, rows), "", told])


def describe_range(seeds: Mapping[str, float]) -> str:
    """Returns the smallest and the largest accuracy, and over how many seeds; empty for fewer than two."""
    if len(seeds) < 2:
        return ""
    return f"{min(seeds.values()):.4f} to {max(seeds.values()):.4f} ({len(seeds)})"

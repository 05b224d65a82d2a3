"""The model card beside a trained model: Markdown, as model hubs read it, filled from the run's report."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from birdplane_keras.labels import CLASS_NAMES, SPLIT_SIZES
from birdplane_keras.recipe import Recipe
from birdplane_keras.reporting.presets import describe_network, describe_training

CARD_FILE = "model_card.md"
TEMPLATE = Path(__file__).parent / "templates" / "model_card.md.jinja"


def render_model_card(report: Mapping[str, Any]) -> str:
    """Returns the card: what the model is, how it was trained, how good it is, how to use it, what not to use it for.

    Args:
        report: As `files.run_folder.build_train_report` returns it, or the same read from `report.json`.
    """
    settings: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in report["recipe"].items()}
    recipe = Recipe(**settings)
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    return environment.from_string(TEMPLATE.read_text()).render(
        report=report,
        side=report["keras"],
        network=describe_network(recipe),
        training=describe_training(recipe),
        outputs="probabilities" if recipe.head == "softmax" else "logits",
        synthetic=report["data"] != "cifar-10",
        classes=CLASS_NAMES,
        sizes=SPLIT_SIZES,
    )

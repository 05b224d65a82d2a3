"""Both sides of a preset, as they start and as a comparison has trained them."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from birdplane_keras.errors import RequestError
from birdplane_keras.flagship.answers import Answering, Answers, PortAnswers, ReferenceAnswers, predictor
from birdplane_keras.flagship.port import Port
from birdplane_keras.flagship.reference import Reference
from birdplane_keras.flagship.report import REPORT_FILE, WEIGHTS_FILE
from birdplane_keras.parity.core.disk import plain, sha256_of
from birdplane_keras.recipe import Recipe


def load_trained(folder: Path, recipe: Recipe, *, data_dir: Path, engine: str, device: str, synthetic: bool) -> Answers:
    """Loads both sides from the folder of a comparison.

    Args:
        folder: With `report.json` and `weights.npz`.
        recipe: What must have been trained there.
        data_dir: The cache folder with verified batches.
        engine: What the Keras side predicts on.
        device: Where both predict, as PyTorch names it.
        synthetic: Use the generated stand-in for the images.

    Raises:
        RequestError: The folder holds another run, or weights that are not those that the report names.
    """
    weights = load_weights(folder, recipe)
    reference = Reference(recipe, data_dir=data_dir, device=device, synthetic=synthetic)
    port = Port(
        recipe, reference=reference.build(), data_dir=data_dir, engine=engine, device=device, synthetic=synthetic
    )
    sides: dict[str, Answering] = {"torch": ReferenceAnswers(reference), "keras": PortAnswers(port)}
    return Answers(
        recipe=recipe,
        sides=sides,
        untrained={name: predictor(side.program, None) for name, side in sides.items()},
        trained={name: predictor(side.program, weights[name]) for name, side in sides.items()},
    )


def load_weights(folder: Path, recipe: Recipe) -> dict[str, dict[str, np.ndarray]]:
    """Returns side -> tensor -> value, in the reference's names and layout.

    Raises:
        RequestError: As `load_trained` says.
    """
    try:
        report = json.loads((folder / REPORT_FILE).read_text())
        with np.load(folder / WEIGHTS_FILE) as file:
            stored = {name: file[name] for name in file.files}
    except (OSError, ValueError, KeyError) as error:
        raise RequestError(
            f"expected a trained comparison in {folder}, received «{error}»: remove the folder"
        ) from error
    if report.get("recipe") != plain(asdict(recipe)):
        raise RequestError(f"expected a run of this very recipe in {folder}, received another one: name another --run")
    weights: dict[str, dict[str, np.ndarray]] = {"torch": {}, "keras": {}}
    for name, value in stored.items():
        side, _, tensor = name.partition("/")
        weights.setdefault(side, {})[tensor] = value
    for side in ("torch", "keras"):
        if sha256_of(weights[side].values()) != report[side]["weights_sha256"]:
            raise RequestError(
                f"expected the weights that {folder / 'report.json'} names, received others: remove the folder"
            )
    return weights


def has_trained(folder: Path) -> bool:
    """Whether a comparison has left trained weights in a folder."""
    return (folder / WEIGHTS_FILE).exists() and (folder / REPORT_FILE).exists()

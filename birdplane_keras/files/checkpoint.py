"""Where an interrupted training run stands, on the disk."""

import dataclasses
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from birdplane_keras.errors import RequestError
from birdplane_keras.parity.core.disk import plain, write_atomically
from birdplane_keras.recipe import Recipe
from birdplane_keras.training import TrainingState

CHECKPOINT_FILE = "checkpoint.npz"


def save_checkpoint(path: Path, state: TrainingState, recipe: Recipe, settings: dict[str, Any]) -> None:
    """Writes a state, at once or not at all.

    Args:
        path: Of the file.
        state: Where the run stands.
        recipe: What it trains.
        settings: What else its bits depend on: engine, device, data.
    """
    described = {
        "recipe": plain(dataclasses.asdict(recipe)),
        "settings": settings,
        "history": state.history,
        "seconds_per_epoch": state.seconds_per_epoch,
        "epochs": state.epochs,
    }
    weights: dict[str, Any] = {f"weight_{index}": weight for index, weight in enumerate(state.weights)}
    file = io.BytesIO()
    np.savez(file, described=np.array(json.dumps(described)), step_losses=state.step_losses, **weights)
    write_atomically(path, file.getvalue())


def load_checkpoint(path: Path, recipe: Recipe, settings: dict[str, Any]) -> TrainingState | None:
    """Reads a state; `None` where there is none.

    Args:
        path: Of the file.
        recipe: What is to go on; it may have more epochs than the run that stopped.
        settings: As `save_checkpoint` takes them.

    Raises:
        RequestError: The file is damaged, or of another run.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            described = json.loads(str(file["described"]))
            weights = [file[f"weight_{index}"] for index in range(len(file.files) - 2)]
            step_losses = file["step_losses"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise RequestError(f"expected a checkpoint to go on from, received {path}: {error}; remove it") from error
    wanted = {"recipe": plain(dataclasses.asdict(recipe)), "settings": settings}
    for name, now in wanted.items():
        different = [key for key, value in now.items() if key != "epochs" and described[name].get(key) != value]
        if different:
            then = ", ".join(f"{key} {described[name].get(key)}" for key in different)
            raise RequestError(
                f"expected --resume with the settings of the run in {path.parent}, which had {then}, received "
                f"{', '.join(f'{key} {now[key]}' for key in different)}"
            )
    if described["epochs"] > recipe.epochs:
        raise RequestError(
            f"expected at least the {described['epochs']} epochs that the run in {path.parent} has made already, "
            f"received {recipe.epochs}"
        )
    return TrainingState(
        epochs=described["epochs"],
        weights=weights,
        step_losses=step_losses,
        history=described["history"],
        seconds_per_epoch=described["seconds_per_epoch"],
    )

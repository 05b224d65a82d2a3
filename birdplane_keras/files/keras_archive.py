"""Keras' own file format, `.keras`: written so that any Keras opens it, and read without running anything from it."""

import json
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import keras

from birdplane_keras.errors import RequestError, UnsafeFileError

SUFFIX = ".keras"
MEMBERS = {"metadata.json", "config.json", "model.weights.h5"}
BRINGS_CODE = {"Lambda", "__lambda__", "function", "TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer"}
PICKLES = {".pt", ".pth", ".pkl", ".pickle", ".joblib", ".bin", ".ckpt"}


def save_keras(model: keras.Model, path: str | Path) -> None:
    """Writes a model with its architecture, weights and training settings, at once or not at all.

    Args:
        model: Built; what is attached to it (an engine of the plugin) stays out of the file.
        path: Ends in `.keras`.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        raise RequestError(f"expected a file name that ends in {SUFFIX}, received {path}")
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
        written = Path(folder) / path.name
        model.save(written)
        written.replace(path)


def load_keras(path: str | Path, *, compile: bool = False) -> keras.Model:
    """Loads a `.keras` file, with Keras' safe mode on, after a look at what is in it.

    Args:
        path: A file that `save_keras` or any Keras wrote.
        compile: Restore loss, optimizer and metrics, too.

    Raises:
        UnsafeFileError: The file brings code (a `Lambda`, a pickled module), names classes that are not Keras' own, or
            holds paths that lead out of it. Nothing of it was loaded.
        RequestError: There is no such file, or it is damaged or something else.
    """
    path = Path(path)
    check_keras(path)
    try:
        return keras.saving.load_model(path, compile=compile, safe_mode=True)
    except Exception as error:  # whatever a damaged or hostile file makes its readers raise
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise RequestError(f"expected a whole {SUFFIX} file, received {path}, which Keras refuses: {reason}") from error


def check_keras(path: Path) -> None:
    """Makes sure that a file is Keras' and holds data only; see `load_keras`."""
    if path.suffix.lower() in PICKLES:
        raise UnsafeFileError(
            f"expected a {SUFFIX} file, received {path}: a {path.suffix} file is a pickle, which can run any code when "
            "it is loaded; save the weights as safetensors where you trust them (birdplane_keras.files.load_state_dict)"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            check_members(path, archive.namelist())
            config = json.loads(archive.read("config.json"))
    except OSError as error:
        raise RequestError(f"expected a {SUFFIX} file, received {path}: {error.strerror or error}") from error
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        if isinstance(error, RequestError):
            raise
        raise RequestError(f"expected a {SUFFIX} file, received {path}, which is none ({error})") from error
    for entry in serialized_objects(config):
        check_object(path, entry)


def check_members(path: Path, names: list[str]) -> None:
    """Makes sure that an archive holds Keras' members and none that leads out of it."""
    for name in names:
        parts = PurePosixPath(name.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or ":" in parts.parts[0]:
            raise UnsafeFileError(
                f"expected members inside the archive, received {name!r} in {path}, which leads out of it"
            )
        if name not in MEMBERS:
            raise UnsafeFileError(f"expected {', '.join(sorted(MEMBERS))} in {path}, received {name!r}")


def check_object(path: Path, entry: dict[str, Any]) -> None:
    """Makes sure that an object of a configuration is Keras' own, or of a class that this program has registered."""
    name, module = entry["class_name"], entry.get("module")
    if name in BRINGS_CODE:
        raise UnsafeFileError(f"expected layers that are data, received a {name} in {path}, which brings its own code")
    ours = keras.saving.get_registered_object(entry.get("registered_name") or name) is not None
    if not ours and module is not None and module != "keras" and not str(module).startswith("keras."):
        raise UnsafeFileError(
            f"expected Keras' own classes, received {module}.{name} in {path}: import what registers it first"
        )


def serialized_objects(config: Any) -> Iterator[dict[str, Any]]:
    """Yields every object of a configuration, wherever it is nested."""
    if isinstance(config, dict):
        if isinstance(config.get("class_name"), str):
            yield config
        for value in config.values():
            yield from serialized_objects(value)
    elif isinstance(config, list):
        for value in config:
            yield from serialized_objects(value)

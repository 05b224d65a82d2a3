"""The airplane-versus-bird classifier in Keras 3 on the torch backend, and the judge of its equality with PyTorch.

Importing this package chooses the torch backend, since Keras reads its choice once, at its own first import. The names
below load when they are first used.
"""

import importlib
import os
import sys
import warnings
from typing import Any

from birdplane_keras.errors import BirdplaneError

_PUBLIC = {
    "Recipe": "birdplane_keras.recipe",
    "PRESETS": "birdplane_keras.recipe",
    "build_recipe": "birdplane_keras.recipe",
    "load_data": "birdplane_keras.data",
    "build_model": "birdplane_keras.model",
    "train": "birdplane_keras.training",
    "BirdPlaneClassifier": "birdplane_keras.estimators",
    "KerasDenseClassifier": "birdplane_keras.estimators",
    "KerasDenseRegressor": "birdplane_keras.estimators",
}
_PACKAGES = ("data", "files", "parity", "torch_equivalents", "torch_plugin")
__all__ = [*_PUBLIC, "BirdplaneError"]


class BackendError(BirdplaneError, ImportError):
    """Keras was loaded with a backend other than torch before this package could choose."""


def _choose_backend() -> None:
    if "keras" in sys.modules:
        backend = sys.modules["keras"].config.backend()
        if backend != "torch":
            raise BackendError(
                f"birdplane_keras needs Keras on the torch backend, but keras is already loaded with {backend!r}: "
                "import birdplane_keras before keras, or set KERAS_BACKEND=torch"
            )
    elif os.environ.setdefault("KERAS_BACKEND", "torch") != "torch":
        chosen = os.environ["KERAS_BACKEND"]
        warnings.warn(f"KERAS_BACKEND={chosen} is set; birdplane_keras needs torch and chooses it", stacklevel=3)
        os.environ["KERAS_BACKEND"] = "torch"


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    if name in _PACKAGES:  # so that a fix that the judge prints can be pasted
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


_choose_backend()

"""Trained models as files that other tools open; what is read is data, never code.

`save_keras` and `load_keras` (Keras' own file), `save_state_dict` and `load_state_dict` (safetensors, for PyTorch), and
`export_onnx`.
"""

import importlib
from typing import Any

_PUBLIC = {
    "save_keras": "birdplane_keras.files.keras_archive",
    "load_keras": "birdplane_keras.files.keras_archive",
    "save_state_dict": "birdplane_keras.files.state_dict",
    "load_state_dict": "birdplane_keras.files.state_dict",
    "export_onnx": "birdplane_keras.files.onnx_graph",
}
__all__ = list(_PUBLIC)

MODEL_FILE = "model.keras"  # in the folder of a run


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

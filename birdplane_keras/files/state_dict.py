"""Weights between a Keras model and the `state_dict` of a PyTorch module, through a safetensors file."""

import copy
from collections.abc import Mapping
from pathlib import Path

import keras
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import nn

from birdplane_keras.errors import RequestError, UnsafeFileError
from birdplane_keras.files.keras_archive import PICKLES
from birdplane_keras.parity.core.disk import write_atomically
from birdplane_keras.parity.matching.match import LayerMapping
from birdplane_keras.parity.matching.transfer import keras_to_torch, torch_to_keras

SUFFIX = ".safetensors"


def save_state_dict(
    model: keras.Model,
    module: nn.Module,
    path: str | Path,
    *,
    mapping: LayerMapping | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes a Keras model's weights under the names and in the layout that a PyTorch module has for them.

    `module.load_state_dict(safetensors.torch.load_file(path))` reads them.

    Args:
        model: On the torch backend.
        module: Gives names and layout; it is left as it is.
        path: Ends in `.safetensors`.
        mapping: As `parity.torch_to_keras` takes it, where order and shapes do not tell which layers correspond.
        metadata: Kept in the file's header.

    Raises:
        TransferError: A weight has no counterpart.
    """
    path = check_suffix(path)
    filled = copy.deepcopy(module)
    keras_to_torch(model, filled, mapping)
    # Copies, since safetensors refuses tensors that share memory.
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in filled.state_dict().items()}
    write_atomically(path, save(tensors, {"format": "pt", **(metadata or {})}))


def load_state_dict(
    path: str | Path, module: nn.Module, model: keras.Model, *, mapping: LayerMapping | None = None
) -> dict[str, str]:
    """Reads the weights of a PyTorch module from a safetensors file into a Keras model.

    Args:
        path: As `safetensors.torch.save_file(module.state_dict(), path)` writes it.
        module: The architecture that the names are of; it is left as it is.
        model: Takes the weights.
        mapping: As in `save_state_dict`.

    Returns:
        The metadata of the file.

    Raises:
        UnsafeFileError: The file is a pickle.
        RequestError: It is no safetensors file, or its tensors are not those of `module`.
        TransferError: A weight has no counterpart in `model`.
    """
    path = check_suffix(path)
    filled = copy.deepcopy(module)
    try:
        filled.load_state_dict(load_file(path))
        with safe_open(path, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise RequestError(f"expected a {SUFFIX} file, received {path}: {error}") from error
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise RequestError(f"expected the tensors of {type(module).__name__} in {path}: {reason}") from error
    torch_to_keras(filled, model, mapping)
    return metadata


def check_suffix(path: str | Path) -> Path:
    """Makes sure that a name is that of a safetensors file, and not of a pickle."""
    path = Path(path)
    if path.suffix.lower() in PICKLES:
        raise UnsafeFileError(
            f"expected a {SUFFIX} file, received {path}: a {path.suffix} file is a pickle, which can run any code when "
            "it is loaded; where you trust it, `safetensors.torch.save_file(torch.load(path, weights_only=True), ...)`"
        )
    if path.suffix != SUFFIX:
        raise RequestError(f"expected a file name that ends in {SUFFIX}, received {path}")
    return path

"""What a model returns as arrays by name, whatever it returns them in; those that count, where a pair says which."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import torch

from birdplane_keras.errors import PairError
from birdplane_keras.parity.sides.arrays import to_numpy
from birdplane_keras.parity.sides.examples import named_leaves


def arrays_of(outputs: Any, wanted: Mapping[str, str | int] | None = None) -> Any:
    """Returns outputs as arrays in tuples and dictionaries.

    Args:
        outputs: Tensors, nested in tuples, lists, dictionaries, dataclasses or a library's own containers.
        wanted: Name -> key, attribute or place of what counts; `None`: all that is a number.

    Raises:
        PairError: There is no such output.
    """
    if wanted:
        return {name: arrays_of(picked(outputs, key)) for name, key in wanted.items()}
    if isinstance(outputs, torch.Tensor):
        return to_numpy(outputs)
    plain = fields_of(outputs)
    if isinstance(plain, Mapping):
        return {str(name): arrays_of(value) for name, value in plain.items() if is_numeric(value)}
    if isinstance(plain, Sequence) and not isinstance(plain, str):
        parts = [arrays_of(value) for value in plain if is_numeric(value)]
        return parts if isinstance(plain, list) else tuple(parts)
    array = np.asarray(plain)
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array  # NumPy has no such type itself


def fields_of(outputs: Any) -> Any:
    """Returns the fields of a dataclass as a dictionary, those that are set; anything else as it is."""
    if isinstance(outputs, Mapping):
        return dict(outputs)
    if dataclasses.is_dataclass(outputs) and not isinstance(outputs, type):
        named = {field.name: getattr(outputs, field.name) for field in dataclasses.fields(outputs)}
        return {name: value for name, value in named.items() if value is not None}
    return outputs


def is_numeric(value: Any) -> bool:
    """Whether a part of the outputs has numbers in it: a cache of keys and values, say, has none."""
    if isinstance(value, torch.Tensor | np.ndarray | float | int):
        return True
    inner = fields_of(value)
    if isinstance(inner, Mapping):
        return any(is_numeric(each) for each in inner.values())
    return isinstance(inner, list | tuple) and any(is_numeric(each) for each in inner)


def picked(outputs: Any, key: str | int) -> Any:
    """Returns one of the outputs by its key, attribute or place.

    Raises:
        PairError: There is none.
    """
    plain = fields_of(outputs)
    if isinstance(plain, Mapping) and key in plain:
        return plain[key]
    if isinstance(plain, list | tuple) and isinstance(key, int) and -len(plain) <= key < len(plain):
        return plain[key]
    if isinstance(key, str) and not isinstance(plain, torch.Tensor) and hasattr(outputs, key):
        return getattr(outputs, key)
    there = list(plain) if isinstance(plain, Mapping) else type(plain).__name__
    if isinstance(plain, list | tuple):
        there = f"{len(plain)} by their place"
    raise PairError(f"expected an output {key!r}, as the pair's outputs say, received {there}")


def flat(outputs: Any, wanted: Mapping[str, str | int] | None = None) -> dict[str, np.ndarray]:
    """Returns name -> output, as `arrays_of` takes them."""
    arrays = arrays_of(outputs, wanted)
    return named_leaves(keras.tree.map_structure(np.asarray, arrays), "outputs")

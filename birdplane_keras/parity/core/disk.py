"""Files that are written at once or not at all, and sums of arrays."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np


def sha256_of(arrays: Iterable[np.ndarray]) -> str:
    """Returns the SHA-256 sum, in hexadecimal, over the little-endian bytes of arrays in their order.

    Floating-point numbers are taken as float32, others as int64.
    """
    total = hashlib.sha256()
    for array in arrays:
        kind = "<f4" if np.issubdtype(array.dtype, np.floating) else "<i8"
        total.update(np.ascontiguousarray(array, dtype=kind).reshape(-1).view(np.uint8).data)
    return total.hexdigest()


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a JSON file at once or not at all; a number that JSON lacks (NaN, infinity) becomes null."""
    text = json.dumps(plain(content), indent=2, allow_nan=False) + "\n"
    write_atomically(path, text.encode())


def write_atomically(path: Path, content: bytes) -> None:
    """Writes under a temporary name beside the file, then renames; an interruption leaves the old file or none."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def plain(value: Any) -> Any:
    """Returns the value with NumPy's types replaced by Python's."""
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value

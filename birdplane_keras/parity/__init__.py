"""The judge: whether a Keras model is its PyTorch reference, rung by rung, and why not.

`core` sees NumPy arrays only; no module here knows either side of the flagship pair. The public names load on first
use.
"""

import importlib
from typing import Any

_OWNERS = {
    "Pair": "pair",
    "channels_last": "pair",
    "check_parity": "check",
    "assert_parity": "check",
    "check_forward": "check",
    "torch_to_keras": "matching.transfer",
    "keras_to_torch": "matching.transfer",
    "TransferError": "matching.transfer",
    "TorchTensor": "matching.expressions",
    "suggest_mapping": "sides.suggesting",
    "Result": "core.result",
    "DivergenceError": "core.result",
}

__all__ = sorted(_OWNERS)


def __getattr__(name: str) -> Any:
    if name not in _OWNERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_OWNERS[name]}"), name)

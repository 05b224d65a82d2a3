"""The type that a layer computes in: a setting of every kind."""

from collections.abc import Iterator
from typing import Any

import keras
import torch
from torch import nn

from birdplane_keras.parity.kinds.kind import Edit, Setting
from birdplane_keras.parity.kinds.repairing import attributes_set

HALVES = ("float16", "bfloat16")


def precision(layer: Any, module: Any) -> Iterator[Setting]:
    """Yields the computing type of a layer, if it is a half type and the module's is not."""
    computed = getattr(layer, "compute_dtype", "float32")
    if computed in HALVES and all(weight.dtype == torch.float32 for weight in module.parameters()):
        policy = keras.DTypePolicy("float32")
        yield Setting(
            cause="precision",
            what="the computing type",
            ours=computed,
            theirs="float32",
            fix=f'keras.layers.{type(layer).__name__}(..., dtype="float32")',
            edit=in_half(computed),
            repair=lambda given: attributes_set(given, _dtype_policy=policy),
            coarse=True,
        )


def in_half(dtype: str) -> Edit:
    """Returns a change after which a module computes in a half type: the product is rounded, then the sum."""
    half = getattr(torch, dtype)

    def edit(module: Any) -> None:
        forward = module.forward

        def rounded(*args: Any, **kwargs: Any) -> Any:
            kept = dict(module._parameters)
            for name, weight in kept.items():
                module._parameters[name] = None if weight is None else weight.to(half).to(weight.dtype)
            bias = module._parameters.get("bias") if isinstance(module, nn.Linear) else None
            if bias is not None:
                module._parameters["bias"] = None
            try:
                given = [a.to(half).to(a.dtype) if a.is_floating_point() else a for a in args]
                outputs = forward(*given, **kwargs)
            finally:
                module._parameters.update(kept)
            if not isinstance(outputs, torch.Tensor):
                return outputs
            product = outputs.to(half)
            return (product if bias is None else product + bias.to(half)).to(outputs.dtype)

        module.forward = rounded

    return edit

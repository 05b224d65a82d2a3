"""In which mode, and in which type, a PyTorch module works."""

from typing import Any

import torch

from birdplane_keras.parity.private_keras import layers_of, own_variables


def training_modes(module: torch.nn.Module) -> list[tuple[torch.nn.Module, bool]]:
    """Returns every module with its mode in training: that which it is in, if any part of the root is in training.

    A module that is wholly in evaluation mode is trained as its own `train()` says.
    """
    if not module.training:
        module.train()
    return [(inner, inner.training) for inner in module.modules()]


def modes_as_found(module: torch.nn.Module) -> list[tuple[torch.nn.Module, bool]]:
    """Returns every module with the mode that it is in."""
    return [(inner, inner.training) for inner in module.modules()]


def half_type(module: torch.nn.Module) -> torch.dtype | None:
    """Returns the half type that all floating-point weights of a module have; `None` where they have another, or none.

    Such a module takes its inputs in that type.
    """
    found = {weight.dtype for weight in module.parameters() if weight.is_floating_point()}
    return next(iter(found)) if found in ({torch.float16}, {torch.bfloat16}) else None


def precisions(model: Any, module: torch.nn.Module) -> dict[str, list[str]]:
    """Returns in which types each side computes: Keras' dtype policies, and the types of PyTorch's weights.

    Args:
        model: Of Keras.
        module: Of PyTorch.
    """
    policies = {layer.dtype_policy.name for layer in layers_of(model) if own_variables(layer)}
    types = {str(w.dtype).removeprefix("torch.") for w in module.parameters() if w.is_floating_point()}
    return {"keras": sorted(policies), "torch": sorted(types)}


def half_policy(model: Any, module: torch.nn.Module) -> torch.dtype | None:
    """Returns the half type in which a port computes, by its layers' policies, while its reference has another type."""
    if half_type(module) is not None:
        return None
    types = {layer.compute_dtype for layer in layers_of(model) if own_variables(layer)}
    return next((half for half in (torch.bfloat16, torch.float16) if str(half).removeprefix("torch.") in types), None)


def device_of(module: torch.nn.Module) -> torch.device:
    """Returns the device that a module's weights lie on."""
    return next((tensor.device for tensor in module.parameters()), torch.device("cpu"))

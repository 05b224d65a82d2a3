"""In which mode, and in which type, a PyTorch module works."""

import torch


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


def device_of(module: torch.nn.Module) -> torch.device:
    """Returns the device that a module's weights lie on."""
    return next((tensor.device for tensor in module.parameters()), torch.device("cpu"))

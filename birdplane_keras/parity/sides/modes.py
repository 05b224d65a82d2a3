"""Which parts of a PyTorch module train."""

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

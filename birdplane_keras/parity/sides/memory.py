"""Memory that was freed, given back to the operating system: copies of a large model come and go."""

import ctypes

import torch

LARGE = 2**26  # bytes of weights from which on memory is saved at the cost of time


def is_large(module: torch.nn.Module) -> bool:
    """Whether several copies of a module would fill the memory."""
    return sum(weight.numel() * weight.element_size() for weight in module.parameters()) >= LARGE


def give_back_memory(*, large: bool) -> None:
    """Gives back what was freed, where a large model's memory is at stake; glibc alone has to be asked."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if large else None
    if trim is not None:
        trim(0)

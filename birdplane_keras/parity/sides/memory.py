"""Memory that was freed, given back to the operating system: copies of a large model come and go."""

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from typing import Any

import torch

LARGE = 2**26  # bytes of weights from which on memory is saved at the cost of time
M_MMAP_THRESHOLD = -3  # of glibc's `mallopt`: from how many bytes on an array has memory of its own
OF_ITS_OWN = 2**16  # bytes: such an array leaves no hole among others when it is freed
USUAL = 2**25  # bytes: to what glibc itself comes once large arrays were freed


def is_large(module: torch.nn.Module) -> bool:
    """Whether several copies of a module would fill the memory."""
    return sum(weight.numel() * weight.element_size() for weight in module.parameters()) >= LARGE


def give_back_memory(*, large: bool) -> None:
    """Gives back what was freed, where a large model's memory is at stake; glibc alone has to be asked."""
    trim = of_glibc("malloc_trim") if large else None
    if trim is not None:
        trim(0)


@contextlib.contextmanager
def memory_given_back(module: Any) -> Iterator[None]:
    """Within it, each array of a large model's gives its memory back as it is freed, where glibc has it."""
    mallopt = of_glibc("mallopt") if isinstance(module, torch.nn.Module) and is_large(module) else None
    if mallopt is None:
        yield
        return
    mallopt(M_MMAP_THRESHOLD, OF_ITS_OWN)
    try:
        yield
    finally:
        mallopt(M_MMAP_THRESHOLD, USUAL)


def of_glibc(name: str) -> Callable[..., int] | None:
    """Returns a function of the C library; `None` where it has no such."""
    try:
        return getattr(ctypes.CDLL(None), name, None)
    except (OSError, TypeError):  # Windows has no library of all that is loaded
        return None

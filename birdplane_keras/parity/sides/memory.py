"""Memory that was freed, given back to the operating system: copies of a large model come and go."""

import contextlib
import ctypes
import gc
import os
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.nn.parameter import is_lazy

LARGE = 2**26  # bytes of weights from which on memory is saved at the cost of time
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's `mallopt`
OF_ITS_OWN = 2**16  # bytes from which on what is allocated has memory of its own, and leaves no hole when it is freed
USUAL = 2**25  # bytes: the most that glibc makes of that by itself, as programs free large arrays
GIVEN = "MALLOC_MMAP_THRESHOLD_"  # by which a person sets it


def is_large(module: torch.nn.Module) -> bool:
    """Whether several copies of a module would fill the memory."""
    sizes = (weight.numel() * weight.element_size() for weight in module.parameters() if not is_lazy(weight))
    return sum(sizes) >= LARGE


def make_room(*, large: bool) -> None:
    """Frees what nothing uses any longer, where another copy of a large model is made: runs know their own changes.

    Within `memory_given_back` only what was made since is looked at.
    """
    if large:
        gc.collect()
    give_back_memory(large=large)


def give_back_memory(*, large: bool) -> None:
    """Gives back what was freed, where a large model's memory is at stake; glibc alone has to be asked."""
    trim = of_glibc("malloc_trim") if large else None
    if trim is not None:
        trim(0)


@contextlib.contextmanager
def memory_given_back(module: Any) -> Iterator[None]:
    """Within it, if a module is large, all larger arrays give their memory back as they are freed, where glibc has it.

    Afterwards glibc does as in a program that has freed large arrays; it cannot be asked what it did before.
    """
    if not isinstance(module, torch.nn.Module) or not is_large(module):
        yield
        return
    mallopt = of_glibc("mallopt") if GIVEN not in os.environ else None
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, OF_ITS_OWN)
    try:
        with old_objects_left_alone():
            yield
    finally:
        if mallopt is not None:
            mallopt(M_MMAP_THRESHOLD, USUAL)
            mallopt(M_TRIM_THRESHOLD, 2 * USUAL)


@contextlib.contextmanager
def old_objects_left_alone() -> Iterator[None]:
    """Within it, the garbage collector looks at new objects only: the libraries have a million that stay."""
    if gc.get_freeze_count():  # somebody has said so before, and knows until when
        yield
        return
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def of_glibc(name: str) -> Callable[..., int] | None:
    """Returns a function of the C library; `None` where it has no such."""
    try:
        return getattr(ctypes.CDLL(None), name, None)
    except (OSError, TypeError):  # Windows has no library of all that is loaded
        return None

"""The peak memory of what trains, in a process of its own."""

import multiprocessing
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def peak_memory(build: Callable[..., Callable[[], object]], *arguments: Any, device: str) -> float:
    """Returns the megabytes of resident memory that a fresh process needs at most to train for two epochs.

    On CUDA, the megabytes that PyTorch allocated on the device at most.

    Args:
        build: Can be pickled; returns a function that trains an epoch.
        arguments: Of it.
        device: As PyTorch names it.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_train, args=(build, arguments, device, sender))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    finally:
        process.join()


def _train(build: Callable[..., Callable[[], object]], arguments: tuple, device: str, sender: Any) -> None:
    """Trains and sends the peak."""
    epoch = build(*arguments)
    for _ in range(2):
        epoch()
    sender.send(peak_megabytes(device))


def peak_megabytes(device: str) -> float:
    """Returns the megabytes that this process had at most: of a GPU's memory where it works on one."""
    import torch

    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    return peak_resident() / 1e6


def peak_resident() -> float:
    """Returns the bytes of resident memory that this process had at most.

    Linux counts what its parent had, too, in `getrusage`, and not in `/proc`.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

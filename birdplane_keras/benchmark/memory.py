"""The peak memory of a row, in a process of its own."""

import multiprocessing
import resource
import sys
from pathlib import Path

from birdplane_keras.benchmark.rows import ROWS, Task


def peak_memory(task: Task, name: str) -> float:
    """Returns the megabytes of resident memory that a fresh process needs at most to train a row for two epochs.

    On CUDA, the megabytes that PyTorch allocated on the device at most.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=train_row, args=(task, name, sender))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    finally:
        process.join()


def train_row(task: Task, name: str, sender) -> None:
    """Trains a row and sends its peak."""
    import torch

    row = ROWS[name](task)
    for _ in range(2):
        row.epoch()
    if torch.device(task.device).type == "cuda":
        sender.send(torch.cuda.max_memory_allocated() / 1e6)
        return
    sender.send(peak_resident() / 1e6)


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

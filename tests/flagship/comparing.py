"""Comparisons for the tests that look at what they leave, or run `scripts/compare.py` in a process of its own."""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from birdplane_keras import cli

ROOT = Path(__file__).parents[2]


def start(out: Path, data_dir: Path, *flags: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "scripts/compare.py", "--out", str(out), *flags],
        cwd=ROOT,
        env=os.environ | {"BIRDPLANE_DATA": str(data_dir)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen, out: Path) -> dict:
    """Waits for a comparison that must succeed within modest memory; returns its report."""
    with ThreadPoolExecutor() as pool:
        reading = [pool.submit(pipe.read) for pipe in (process.stdout, process.stderr)]
        peak = 0
        while process.poll() is None:
            peak = max(peak, peak_of(process.pid))
            time.sleep(0.2)
    assert process.returncode == 0, "".join(pipe.result() for pipe in reading)
    assert 1e8 < peak < 2.5e9
    return json.loads((out / "report.json").read_text())


def compare_by_rounding(folder: Path, data_dir: Path, *, epochs: int) -> Path:
    """Compares sides that differ by rounding, so that every chart has something to show; returns the folder."""
    flags = ["compare", "--preset", "small", "--epochs", str(epochs), "--engine", "stock", "--out", str(folder)]
    assert cli.main([*flags, "--data-dir", str(data_dir)]) == 0
    return folder


def peak_of(pid: int) -> int:
    """Returns the most memory that a process on Linux has held so far, in bytes; 0 where it has just ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    kibibytes = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return 1024 * int(kibibytes[0]) if kibibytes else 0

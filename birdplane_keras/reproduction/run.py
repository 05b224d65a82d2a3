"""Runs jobs in processes of their own, as many at a time as there are cores, one thread each."""

import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from birdplane_keras.errors import DataError, RequestError
from birdplane_keras.parity.core.disk import write_json
from birdplane_keras.progress import jobs_bar
from birdplane_keras.reproduction.jobs import Job, estimate_minutes

ACCURACY = re.compile(r"^(Train|Validate) Accuracy: (\d\.\d+)$", re.MULTILINE)  # as the reference prints it
UNUSABLE = 2  # the exit status of a request or data that cannot be used
DIVERGED = 1


class Processes:
    """The processes that are running, so that all can be stopped."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def run(self, command: Sequence[str], log: Path) -> int:
        """Runs a process to its end, with one thread; what it prints goes to a file."""
        with log.open("w") as file:
            with self._lock:
                if self._stopped:
                    return -1
                environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
                process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
                self._running.add(process)
            status = process.wait()
            with self._lock:
                self._running.discard(process)
        return status

    def stop(self) -> None:
        """Ends all, and lets no other begin."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.terminate()


def run_jobs(jobs: Sequence[Job], *, workers: int, data_dir: Path | None, synthetic: bool) -> dict[str, dict[str, Any]]:
    """Runs the jobs that have no result yet.

    Args:
        jobs: In the order in which they begin.
        workers: Processes at a time.
        data_dir: The cache folder; `None` for the default.
        synthetic: Use the generated stand-in for the images.

    Returns:
        the result of every job, by its name.

    Raises:
        DataError, RequestError: A process said that the data or the request is unusable.
        RuntimeError: A process failed otherwise.
    """
    results = {job.name: job.result(synthetic) for job in jobs}
    found = {name: result for name, result in results.items() if result is not None}
    left = [job for job in jobs if job.name not in found]
    processes = Processes()
    with jobs_bar(sum(map(estimate_minutes, jobs))) as bar, ThreadPoolExecutor(workers) as pool:
        bar.done(sum(estimate_minutes(job) for job in jobs if job.name in found), [*found])
        waiting = {pool.submit(run_job, job, processes, data_dir, synthetic, bar.started): job for job in left}
        try:
            for future in as_completed(waiting):
                job = waiting[future]
                found[job.name] = future.result()
                bar.done(estimate_minutes(job), [job.name])
        except BaseException:
            processes.stop()
            raise
    return {job.name: found[job.name] for job in jobs}


def run_job(
    job: Job, processes: Processes, data_dir: Path | None, synthetic: bool, started: Callable[[str], None]
) -> dict[str, Any]:
    """Runs one job and writes its result, at once or not at all."""
    job.folder.mkdir(parents=True, exist_ok=True)
    (job.folder / "result.json").unlink(missing_ok=True)
    log = job.folder / "log.txt"
    started(job.name)
    begun = time.monotonic()
    status = processes.run(job.command(data_dir, synthetic), log)
    printed = log.read_text()
    if status not in (0, DIVERGED) or (status == DIVERGED and not job.compares):
        last = next((line for line in reversed(printed.splitlines()) if line.strip()), "nothing")
        told = f"{job.name} ended with exit status {status}, its last words: «{last}» (all of them: {log})"
        raise (RequestError if status == UNUSABLE else RuntimeError)(told)
    read = read_report if job.compares else read_accuracies
    found = read(job.folder / "report.json", printed) | {"minutes": (time.monotonic() - begun) / 60}
    write_json(job.folder / "result.json", {"setting": job.setting(synthetic), "found": found})
    return found


def read_report(path: Path, printed: str) -> dict[str, Any]:
    """Returns what the table needs of a comparison's report."""
    report = json.loads(path.read_text())
    kept = ("parameter_count", "parameter_counts", "train_accuracy", "validation_accuracy", "weights_sha256")
    sides = {side: {key: report[side][key] for key in kept} for side in ("torch", "keras")}
    failure = report["first_failure"]
    return {
        "verdict": report["verdict"],
        "first_failure": None if failure is None else failure["rung"],
        "epochs": report["epochs"],
        "churn": report["churn"],
        "environment": report["environment"],
        **sides,
    }


def read_accuracies(path: Path, printed: str) -> dict[str, Any]:
    """Returns the accuracies that the reference printed."""
    read = {name: float(value) for name, value in ACCURACY.findall(printed)}
    if set(read) != {"Train", "Validate"}:
        raise DataError(f"expected the accuracies of both splits, received {printed[-200:]!r}")
    return {"train_accuracy": read["Train"], "validation_accuracy": read["Validate"]}

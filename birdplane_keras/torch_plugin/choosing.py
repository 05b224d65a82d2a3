"""Which of two engines makes a step, where only rounding is promised: measured while the steps are used."""

import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

import torch

from birdplane_keras.torch_plugin.entries import Entry
from birdplane_keras.torch_plugin.errors import NotTraceableError, StepMadeError
from birdplane_keras.torch_plugin.steps import Step

TIMED = 10  # steps of each engine, in turns
PAYS = 10.0  # times what tracing took: so long the steps have run before another engine is tried


class Choice:
    """Runs a step on the engine `fused`, tries `compiled` where the steps take long enough, and keeps the faster.

    Args:
        entry: Its trace is of the engine `fused`.
        make: From a batch and its tensors to the step for the engine `compiled`, which makes it once.
    """

    def __init__(self, entry: Entry, make: Callable[[Any, list[torch.Tensor]], Step]) -> None:
        self._entry, self._make = entry, make
        self._wait = PAYS * entry.seconds
        self._seconds, self._compiling = 0.0, 0.0
        self._candidate: Step | None = None
        self._times: list[list[float]] = [[], []]  # of the trace, of the candidate
        self._lock = threading.Lock()
        self.is_open, self._why = True, ""

    def run(self, data: Any, leaves: list[torch.Tensor]) -> Any:
        """Makes a step; returns what it returns."""
        if not self._lock.acquire(blocking=False):  # another thread measures
            return self._step.run(data, leaves)
        try:
            if self._candidate is not None:
                return self._measured(self._candidate, data, leaves)
            if self._seconds >= self._wait:
                made = self._tried(data, leaves)
                if made is not None:
                    return made.take_first_result()
            result, seconds = _timed(self._step, data, leaves)
            self._seconds += seconds
            return result
        finally:
            self._lock.release()

    @property
    def _step(self) -> Step:
        assert self._entry.step is not None
        return self._entry.step

    def _tried(self, data: Any, leaves: list[torch.Tensor]) -> Step | None:
        """Makes the step compiled, and with it the batch; `None` where that cannot be, and nothing was done."""
        started = time.perf_counter()
        try:
            made = self._make(data, leaves)
        except StepMadeError as error:
            raise (error.__cause__ or error) from None
        except Exception as error:  # the user's own, too: the step is made on the trace, and raises it there
            reason = str(error) if isinstance(error, NotTraceableError) else f"{type(error).__name__}: {error}"
            self._end(f"`compiled` was tried and is not used, because {reason}")
            return None
        self._compiling = time.perf_counter() - started
        if made.is_compiled:
            self._candidate = made
        else:
            self._end(f"`compiled` is the same, because {made.compile_refusal or 'there is nothing to compile'}")
        return made

    def _measured(self, candidate: Step, data: Any, leaves: list[torch.Tensor]) -> Any:
        """Makes a step on either, in turns; at the end the faster one stays."""
        if not candidate.holds():
            self._end("what `compiled` was made of has changed before it was timed")
            return self._step.run(data, leaves)
        turn = len(self._times[0]) > len(self._times[1])
        result, seconds = _timed(candidate if turn else self._step, data, leaves)
        self._times[turn].append(seconds)
        if len(self._times[1]) == TIMED:
            fused, compiled = map(statistics.median, self._times)
            told = (
                f"a step took {1e3 * fused:.2f} ms fused, {1e3 * compiled:.2f} ms compiled ({TIMED} of each, in turns)"
            )
            if compiled < fused:
                even = round(self._compiling / (fused - compiled))
                told += f"; compiled in {self._compiling:.1f} s, which {even:,} steps pay back"
                self._entry.step = candidate
            self._end(told)
        return result

    def _end(self, why: str) -> None:
        self._why, self.is_open, self._candidate = why, False, None

    def describe(self) -> str:
        """Returns in words what was measured, or why not."""
        if not self.is_open:
            return f"choice: {self._why}"
        if self._candidate is not None:
            return "choice: `fused` and `compiled` are being timed"
        return (
            f"choice: `fused`, until its steps have taken {self._wait:.1f} s ({self._seconds:.1f} s so far): "
            "then `compiled` is tried"
        )


def _timed(step: Step, data: Any, leaves: list[torch.Tensor]) -> tuple[Any, float]:
    """Makes a step; returns its result, and the seconds until the device had made it."""
    waits = bool(leaves) and leaves[0].is_cuda
    started = time.perf_counter()
    result = step.run(data, leaves)
    if waits:
        torch.cuda.synchronize()
    return result, time.perf_counter() - started

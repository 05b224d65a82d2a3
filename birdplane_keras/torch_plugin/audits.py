"""Audits: a step made both stock and traced from one state, and compared, before the traced one counts.

The guards look at what the step was seen to read. An audit looks at what comes out, whatever it was that changed.
"""

import math
import time
from collections.abc import Callable
from typing import Any

import torch

from birdplane_keras.torch_plugin.entries import Entry
from birdplane_keras.torch_plugin.errors import NotTraceableError, StateChangedError
from birdplane_keras.torch_plugin.journal import TorchRandomState
from birdplane_keras.torch_plugin.noise import Spread, away, nudged, rounding_explains
from birdplane_keras.torch_plugin.outcomes import Outcome, Values, difference, difference_of_update, parts
from birdplane_keras.torch_plugin.places import put_back
from birdplane_keras.torch_plugin.reads import Reads
from birdplane_keras.torch_plugin.steps import Leaves, Step


class AuditRefusedError(Exception):
    """What a step runs in Python cannot be put back, so that it cannot be made twice. Nothing has been changed."""


class AuditFailedError(Exception):
    """A traced step was not what stock Keras does; the stock step has been made.

    Args:
        what: What differs, in words that follow "found that".
        stock_result: What the stock step returned.
    """

    def __init__(self, what: str, stock_result: Any) -> None:
        super().__init__(what)
        self.stock_result = stock_result


def audited(step: Step, entry: Entry, stock: Callable[[], Any], data: Any, leaves: Leaves) -> Any:
    """Makes a step stock and from the trace, and compares, where that can be had; elsewhere from the trace only.

    Arguments, result and errors are those of `compared`.
    """
    if step.can_be_audited:
        try:
            return compared(step, entry, stock, data, leaves)
        except AuditRefusedError:
            step.can_be_audited = False
            step.notes.append("no audits: what runs in Python reads what cannot be put back")
    return step.run(data, leaves)


def proved(step: Step, entry: Entry, stock: Callable[[], Any], data: Any, leaves: Leaves) -> Any:
    """Makes a step as `compared` does; before that, its trace without rewrites must end in stock Keras' bits.

    Arguments, result and errors are those of `compared`; `step` is a trace of free sizes.
    """
    return compared(step, entry, stock, data, leaves, closely=True)


def compared(
    step: Step, entry: Entry, stock: Callable[[], Any], data: Any, leaves: Leaves, *, closely: bool = False
) -> Any:
    """Makes a step stock, takes it back, makes it from the trace, and compares.

    The update is tried on stock Keras' own gradients. Where the trace is further away than rounding as a rule takes it,
    it is made without its rewrites, which must end in stock Keras' bits, and how far rounding takes it is measured.

    Args:
        step: The trace.
        entry: Of the trace; its account is kept.
        stock: Makes Keras' own step on the batch.
        data: The batch.
        leaves: Its tensors.
        closely: Ask for stock Keras' bits without the rewrites in any case.

    Returns:
        What the traced step returned.

    Raises:
        AuditFailedError: They differ by more than rounding. Then the stock step has been made.
        AuditRefusedError: It cannot be told.
    """
    audit = _Audit(step, leaves)
    started = time.perf_counter()
    try:
        result = audit.result_of(stock)
    except (NotTraceableError, StateChangedError):  # stopped before anything was read that cannot be put back
        audit.take_back()
        raise AuditRefusedError from None
    entry.audits += 1
    entry.stock_seconds = time.perf_counter() - started
    rows = len(leaves[0]) if leaves and leaves[0].ndim else 1

    def plain() -> Any:
        return step.run_plain(data, leaves)

    def run() -> Any:
        return step.run(data, leaves)

    gradients, values, what = step.gradients(), audit.values(), audit.written_besides()
    audit.take_back()
    if step.has_plain and all(each is None for each in gradients):  # Keras 3.16 leaves none behind
        with step.gradients_left():
            _guarded(audit, stock, plain)
            gradients = step.gradients()
        audit.take_back()
    theirs = Outcome(result, gradients, values)
    if what is None and step.has_update and step.updates_those_of(gradients):
        step.update_by(gradients)
        what = difference_of_update(step, audit.now(), theirs.values)
        audit.take_back()

    def unlike_plain() -> str | None:
        made = Outcome(_guarded(audit, stock, plain), [], audit.now())
        found = difference(step, made, theirs, rows, bits=True)
        audit.take_back()
        return found

    if what is None and closely:
        what = unlike_plain()
    ours, left = _made(step, audit, stock, data, leaves, entry)
    if what is None:
        what = difference(step, left, theirs, rows)
        if what is not None and step.has_plain and step.rounds:
            left = left.copied()
            audit.take_back()
            if unlike_plain() is None and _is_rounding(step, audit, plain, run, theirs, left, rows):
                what = None
                ours, left = _made(step, audit, stock, data, leaves, entry)
    if what is None:
        step.leave_gradients(left.gradients)
        return ours
    audit.take_back()
    raise AuditFailedError(what, stock())


def _made(
    step: Step, audit: "_Audit", stock: Callable[[], Any], data: Any, leaves: Leaves, entry: Entry
) -> tuple[Any, Outcome]:
    """Makes a step from the trace; returns what it returns, and what it leaves."""
    with step.gradients_left():
        started = time.perf_counter()
        result = _guarded(audit, stock, lambda: step.run(data, leaves))
        entry.traced_seconds = time.perf_counter() - started
        return result, Outcome(result, step.gradients(), audit.now())


def _guarded(audit: "_Audit", stock: Callable[[], Any], run: Callable[[], Any]) -> Any:
    """Returns what a traced step returns; what it raises is a difference from stock Keras, which did not."""
    try:
        return audit.result_of(run, refuses=False)
    except Exception as error:
        audit.take_back()
        raise AuditFailedError(f"it raises {type(error).__name__}", stock()) from error


class _Audit:
    """The state that a step starts from, and how to bring it back.

    Args:
        step: A traced step, which knows what it writes.
        leaves: The tensors of the batch, which a layer may write, too.
    """

    def __init__(self, step: Step, leaves: Leaves) -> None:
        self._step, self._random_state = step, TorchRandomState()
        self._written = {id(tensor): tensor for tensor in [*step.writes(), *leaves]}
        self._others = [(tensor, tensor._version) for tensor in step.reads() if id(tensor) not in self._written]
        self.before = self.values()
        self._python: Reads | None = None

    def result_of(self, run: Callable[[], Any], *, refuses: bool = True) -> Any:
        """Runs a step, and sees what it changes of Python's state where it runs code of the user's own.

        Args:
            run: The step.
            refuses: Stop before anything is read that cannot be put back.

        Raises:
            NotTraceableError: There is something of that kind.
        """
        if not self._step.runs_in_python():
            return run()
        reads = self._python = Reads(self._step.roots(), refuses=refuses)
        try:
            with reads:
                result = run()
        finally:  # also where the code around it caught what was raised, or Keras put it in other words
            reads.check()
        return result

    def values(self) -> Values:
        """Returns copies of what the step writes, as it is now."""
        return {key: tensor.detach().clone() for key, tensor in self._written.items()}

    def now(self) -> Values:
        """Returns what the step writes."""
        return {key: tensor.detach() for key, tensor in self._written.items()}

    def written_besides(self) -> str | None:
        """Tells of a tensor that a step wrote and the trace only reads."""
        if any(tensor._version != version for tensor, version in self._others):
            return "stock Keras writes a tensor that it does not"
        return None

    def take_back(self) -> None:
        """Brings everything back."""
        with torch.no_grad():
            for key, tensor in self._written.items():
                tensor.copy_(self.before[key])
        self._random_state.restore_if_changed()
        if self._python is not None:
            put_back(self._python.to_put_back())


def _is_rounding(
    step: Step,
    audit: _Audit,
    plain: Callable[[], Any],
    run: Callable[[], Any],
    theirs: Outcome,
    ours: Outcome,
    rows: int,
) -> bool:
    """Tells whether rounding takes the step as far from itself as the trace is from stock Keras.

    Args:
        step: The traced step.
        audit: Of it.
        plain: Makes it without its rewrites, which is stock Keras to the last bit.
        run: Makes it.
        theirs: What stock Keras left.
        ours: What the step left.
        rows: Of the batch.
    """

    def outcome(make: Callable[[], Any], draw: int) -> Outcome:
        with step.gradients_left(), nudged(step.values, draw):
            result = audit.result_of(make, refuses=False)
            left = Outcome(result, step.gradients(), audit.values())
        audit.take_back()
        return left

    def agree(right: Outcome, other: Outcome) -> bool:
        return difference(step, other, right, rows) is None

    def spans(draws: list[Outcome]) -> bool:
        of_draws = [parts(step, draw) for draw in draws]
        spreads = [
            Spread(part.tensors, [draw[number].tensors for draw in of_draws])
            for number, part in enumerate(parts(step, theirs))
        ]
        return difference(step, ours, theirs, rows, spreads) is None

    pairs = zip(parts(step, ours), parts(step, theirs), strict=True)
    if any(
        not math.isfinite(away(*pair)) for one, other in pairs for pair in zip(one.tensors, other.tensors, strict=True)
    ):
        return False  # rounding makes no number of what is none
    return rounding_explains(lambda draw: (outcome(plain, draw), outcome(run, draw)), agree, spans)

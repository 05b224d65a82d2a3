"""Audits: a step made both stock and traced from one state, and compared, before the traced one counts.

The guards look at what the step was seen to read. An audit looks at what comes out, whatever it was that changed.
"""

import time
from collections.abc import Callable
from typing import Any

import torch
from keras import tree

from birdplane_keras.torch_plugin.agreement import (
    NOISE_ULPS,
    REWRITTEN_ULPS,
    UNORDERED_TOLERANCE,
    further_apart,
    is_float,
    largest_of,
)
from birdplane_keras.torch_plugin.entries import Entry
from birdplane_keras.torch_plugin.errors import NotTraceableError, StateChangedError
from birdplane_keras.torch_plugin.journal import TorchRandomState
from birdplane_keras.torch_plugin.places import put_back
from birdplane_keras.torch_plugin.reads import Reads
from birdplane_keras.torch_plugin.steps import Leaves, Step

HALF_PRECISION = 5e-4  # the relative step between numbers of it is larger
Values = dict[int, torch.Tensor]  # id of a tensor -> a copy of what it held


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

    Args:
        step: The trace.
        entry: Of the trace; its account is kept.
        stock: Makes Keras' own step on the batch.
        data: The batch.
        leaves: Its tensors.
        closely: Make it from the trace without rewrites, too, which must not differ in any bit.

    Returns:
        What the traced step returned.

    Raises:
        AuditFailedError: They differ by more than rounding. Then the stock step has been made.
        AuditRefusedError: It cannot be told.
    """
    audit = _Audit(step, leaves)
    started = time.perf_counter()
    try:
        theirs = audit.result_of(stock)
    except (NotTraceableError, StateChangedError):  # stopped before anything was read that cannot be put back
        audit.take_back()
        raise AuditRefusedError from None
    entry.audits += 1
    entry.stock_seconds = time.perf_counter() - started
    their_gradients, their_values = _compared(step, step.gradients()), audit.values()
    rows = len(leaves[0]) if leaves and leaves[0].ndim else 1
    unexpected = audit.written_besides()
    audit.take_back()
    if closely and unexpected is None:
        plain = _outcome(audit, stock, lambda: step.run_plain(data, leaves))
        unexpected = _difference(step, (plain, [], audit.now()), (theirs, [], their_values), rows, bits=True)
        audit.take_back()
    with step.gradients_left():
        started = time.perf_counter()
        ours = _outcome(audit, stock, lambda: step.run(data, leaves))
        entry.traced_seconds = time.perf_counter() - started
        our_gradients = step.gradients()
    left = (ours, _compared(step, our_gradients), audit.now())
    what = unexpected or _difference(step, left, (theirs, their_gradients, their_values), rows)
    if what is None:
        step.leave_gradients(our_gradients)
        return ours
    audit.take_back()
    raise AuditFailedError(what, stock())


def _outcome(audit: "_Audit", stock: Callable[[], Any], run: Callable[[], Any]) -> Any:
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


def _difference(step: Step, ours: tuple, theirs: tuple, rows: int, *, bits: bool = False) -> str | None:
    """Returns what differs by more than rounding, in words; `None` where nothing does.

    Args:
        step: The traced step.
        ours: What it returned, its gradients, what it wrote.
        theirs: The same of the stock step.
        rows: Of the batch.
        bits: Whether a difference in any bit counts.
    """
    returned, expected = tree.flatten(ours[0]), tree.flatten(theirs[0])
    if len(returned) != len(expected):
        return "it returns something else"
    weights = {id(value) for value in [*step.values, *step.update_state()]}
    trained = [(value, theirs[2][key]) for key, value in ours[2].items() if key in weights]
    others = [(value, theirs[2][key]) for key, value in ours[2].items() if key not in weights]
    compared = [
        ("what it returns", list(zip(returned, expected, strict=True)), REWRITTEN_ULPS, False),
        ("another tensor that it writes", others, REWRITTEN_ULPS, False),
    ]
    if bits or _compares_weights(step):
        compared.append(("a weight", trained, NOISE_ULPS, True))
    else:
        compared.append(("a gradient", list(zip(ours[1], theirs[1], strict=True)), REWRITTEN_ULPS, True))
    for what, pairs, units, alike in compared:
        found = _apart(pairs, 0 if bits else units, step, alike, rows)
        if found is not None:
            return f"{what} is {found} what stock Keras makes"
    return None


def _compares_weights(step: Step) -> bool:
    """Tells whether the weights are compared after a step, or else their gradients.

    An update is small beside a weight, so a tighter bound on it is as good as one on the gradient. An adaptive update
    may make much of a rounding.
    """
    return step.is_plain_sgd or not step.rounds


def _compared(step: Step, gradients: list) -> list:
    """Returns the gradients, where they are compared; elsewhere their memory is free at once."""
    return [] if _compares_weights(step) else gradients


def _apart(pairs: list[tuple], units: int, step: Step, alike: bool, rows: int) -> str | None:
    """Returns how far a pair of values is apart, in words, where that is more than rounding.

    Args:
        pairs: Tensors, numbers or `None`.
        units: In the last place of the coarsest type of the step, relative to the largest value of a tensor; with 0, a
            difference in any bit counts.
        step: The traced step.
        alike: Whether they are of one kind. What is zero but for rounding, as a bias's gradient before a normalisation
            is, is then held against the largest of all; elsewhere against one, and a row may be counted otherwise.
        rows: Of the batch.
    """
    ulp = step.ulp if step.rounds and units else 0.0
    noise = 0.0 if alike else ulp
    for one, other in pairs:
        if not isinstance(one, torch.Tensor) or not isinstance(other, torch.Tensor):
            both_nan = one != one and other != other
            if one is not other and not both_nan and one != other:
                return "another one than"
            continue
        allowed = max(min(units * ulp, 0.1), UNORDERED_TOLERANCE if one.is_cuda else 0.0)
        row = 0.0 if alike or ulp < HALF_PRECISION or one.numel() > 1 else _share_of_a_row(one, other, rows)
        found = further_apart(one, other, allowed, max(NOISE_ULPS * noise, row))
        if found and alike and not noise:  # which takes a look at all of them
            noise = ulp * max((largest_of(each) for each, _ in pairs if is_number(each)), default=0.0)
            found = further_apart(one, other, allowed, NOISE_ULPS * noise)
        if found:
            return f"{found:.1e} away from"
    return None


def _share_of_a_row(one: torch.Tensor, other: torch.Tensor, rows: int) -> float:
    """Returns by how much a count, or a share, moves with one row.

    Numbers of half precision are often equal; which one is the largest is then decided by a rounding, and so is whether
    an accuracy counts the row.
    """
    return 1.0 if float(one).is_integer() and float(other).is_integer() else 1.0 / rows


def is_number(value: Any) -> bool:
    """Tells whether a value is a tensor of floating-point numbers, and has any."""
    return isinstance(value, torch.Tensor) and is_float(value)

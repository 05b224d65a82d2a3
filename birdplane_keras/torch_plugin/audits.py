"""Audits: a step made both stock and traced from one state, and compared, before the traced one counts.

The guards look at what the step was seen to read. An audit looks at what comes out, whatever it was that changed.
"""

import time
from collections.abc import Callable
from typing import Any

import torch
from keras import tree

from birdplane_keras.torch_plugin.agreement import NOISE_ULPS, REWRITTEN_ULPS, UNORDERED_TOLERANCE, further_apart
from birdplane_keras.torch_plugin.entries import Entry
from birdplane_keras.torch_plugin.errors import NotTraceableError, StateChangedError
from birdplane_keras.torch_plugin.journal import TorchRandomState
from birdplane_keras.torch_plugin.places import put_back
from birdplane_keras.torch_plugin.reads import Reads
from birdplane_keras.torch_plugin.steps import Leaves, Step

Values = dict[int, torch.Tensor]  # id of a tensor -> a copy of what it held


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
    """Makes a step stock, takes it back, makes it from the trace, and compares.

    Args:
        step: The trace.
        entry: Of the trace; its account is kept.
        stock: Makes Keras' own step on the batch.
        data: The batch.
        leaves: Its tensors.

    Returns:
        What the traced step returned.

    Raises:
        AuditFailedError: They differ by more than rounding. Then the stock step has been made.
    """
    if not step.can_be_audited:
        return step.run(data, leaves)
    audit = _Audit(step)
    started = time.perf_counter()
    try:
        theirs = audit.result_of(stock)
    except (NotTraceableError, StateChangedError):  # stopped before anything was read that cannot be put back
        audit.take_back()
        step.can_be_audited = False
        step.notes.append("no audits: what runs in Python reads what cannot be put back")
        return step.run(data, leaves)
    entry.audits += 1
    entry.stock_seconds = time.perf_counter() - started
    their_gradients, their_values = step.gradients(), audit.values()
    unexpected = audit.written_besides()
    audit.take_back()
    with step.gradients_left():
        started = time.perf_counter()
        ours = audit.result_of(lambda: step.run(data, leaves), refuses=False)
        entry.traced_seconds = time.perf_counter() - started
        our_gradients = step.gradients()
    what = unexpected or _difference(
        step, (ours, our_gradients, audit.now()), (theirs, their_gradients, their_values), audit.before
    )
    if what is None:
        step.leave_gradients(our_gradients)
        return ours
    audit.take_back()
    raise AuditFailedError(what, stock())


class _Audit:
    """The state that a step starts from, and how to bring it back.

    Args:
        step: A traced step, which knows what it writes.
    """

    def __init__(self, step: Step) -> None:
        self._step, self._random_state = step, TorchRandomState()
        self._written = {id(tensor): tensor for tensor in step.writes()}
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


def _difference(step: Step, ours: tuple, theirs: tuple, before: Values) -> str | None:
    """Returns what differs by more than rounding, in words; `None` where nothing does.

    Args:
        step: The traced step.
        ours: What it returned, its gradients, what it wrote.
        theirs: The same of the stock step.
        before: What was there before.
    """
    returned, expected = tree.flatten(ours[0]), tree.flatten(theirs[0])
    if len(returned) != len(expected):
        return "it returns something else"
    ulp = step.ulp if step.rounds else 0.0
    weights = {id(value) for value in [*step.values, *step.update_state()]}
    pairs = [(one, other, REWRITTEN_ULPS, "what it returns") for one, other in zip(returned, expected, strict=True)]
    if not step.is_plain_sgd:
        gradients = zip(ours[1], theirs[1], strict=True)
        pairs += [(one, other, REWRITTEN_ULPS, "a gradient") for one, other in gradients if None not in (one, other)]
    for key, value in ours[2].items():
        # A weight's update is small beside it. An adaptive one may make much of a rounding: gradients are compared.
        if key not in weights or step.is_plain_sgd or not ulp:
            units = NOISE_ULPS if key in weights else REWRITTEN_ULPS
            pairs.append(
                (value, theirs[2][key], units, "a weight" if key in weights else "another tensor that it writes")
            )
    largest = max(
        (float(one.abs().max()) for one, _, _, what in pairs if what == "a gradient" and one.numel()), default=0.0
    )
    for one, other, units, what in pairs:
        if not isinstance(one, torch.Tensor):
            if one != other and one == one:
                return f"{what} is not what stock Keras makes"
            continue
        noise = NOISE_ULPS * ulp * (largest if what == "a gradient" else 1.0)
        allowed = max(min(units * ulp, 0.1), UNORDERED_TOLERANCE if one.is_cuda else 0.0)
        found = further_apart(one, other, allowed, noise)
        if found:
            return f"{what} is {found:.1e} away from what stock Keras makes"
    return None

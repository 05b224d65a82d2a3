"""A recurrent layer of PyTorch as one operation of a graph, and its gradients as another.

PyTorch runs such a layer as a loop in C++; a graph would hold each of its steps. As one operation it stays one call.
Where a replay makes the forward pass, the results keep PyTorch's record of it, by which the second operation finds the
gradients as `backward()` does; elsewhere that one makes the forward pass again.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from birdplane_keras.torch_plugin.native import gru_in_order, lstm_in_calls, recurrent_steps
from birdplane_keras.torch_plugin.native.comparisons import Comparisons, alike, drawn_like, key_of

_LIBRARY = torch.library.Library("birdplane", "FRAGMENT")
_FUNCTIONS = {"gru": torch._VF.gru, "tanh": torch._VF.rnn_tanh, "relu": torch._VF.rnn_relu}
_RECORD = "_birdplane_record"  # of a result: what it was made of, and how
_ORDERED = "_birdplane_ordered"  # the same, of what was made in another way
FASTER: dict[str, Any] = {"gru": gru_in_order, "lstm": lstm_in_calls}
COMPARISONS = Comparisons()
Tensors = Sequence[torch.Tensor]


def run(kind: str, inputs: torch.Tensor, states: Tensors, weights: Tensors, *, trains: bool) -> tuple:
    """Returns all outputs, (N, T, units), the last state, (1, N, units), and an LSTM's last cell, the same or empty."""
    settings = (len(weights) > 2, 1, 0.0, trains, False, True)
    if kind == "lstm":
        return torch._VF.lstm(inputs, list(states), list(weights), *settings)
    outputs, last = _FUNCTIONS[kind](inputs, states[0], list(weights), *settings)
    return outputs, last, last.new_empty(0)


def recorded(kind: str, inputs: torch.Tensor, states: Tensors, weights: Tensors) -> tuple:
    """Returns the same, with a record of how it was made."""
    leaves = [tensor.detach().requires_grad_() for tensor in (inputs, *states, *weights)]
    count = 1 + len(states)
    with torch.enable_grad():
        made = run(kind, leaves[0], leaves[1:count], leaves[count:], trains=True)
    results = tuple([each.detach() for each in made])
    setattr(results[0], _RECORD, (leaves, made))
    return results


def plainly(kind: str, inputs: torch.Tensor, states: Tensors, weights: Tensors) -> tuple:
    """Returns the same as a prediction makes it."""
    with torch.no_grad():
        return run(kind, inputs, states, weights, trains=False)


def gradients(
    kind: str,
    given: Sequence[torch.Tensor | None],
    outputs: torch.Tensor,
    inputs: torch.Tensor,
    states: Tensors,
    weights: Tensors,
    needed: Sequence[bool],
) -> list[torch.Tensor]:
    """Returns the gradients of the inputs, the states and the weights; an empty tensor for what needs none.

    Args:
        kind: `lstm`, `gru`, `tanh` or `relu`.
        given: The gradients of the three results of `recorded`; `None` is zero.
        outputs: The first of them.
        inputs: (N, T, features).
        states: (1, N, units), of an LSTM two.
        weights: As in `torch.nn.LSTM`, `torch.nn.GRU` and `torch.nn.RNN`.
        needed: Which of inputs, states and weights need a gradient.
    """
    record = vars(outputs).pop(_RECORD, None) or vars(recorded(kind, inputs, states, weights)[0])[_RECORD]
    leaves, made = record
    pairs = [(one, other) for one, other in zip(made, given, strict=True) if other is not None and one.numel()]
    results, from_above = zip(*pairs, strict=True)
    wanted = [leaf for leaf, needs in zip(leaves, needed, strict=True) if needs]
    found = iter(torch.autograd.grad(results, wanted, from_above, allow_unused=True))
    return [
        _gradient(leaf, next(found)) if needs else leaf.new_empty(0) for leaf, needs in zip(leaves, needed, strict=True)
    ]


def _gradient(leaf: torch.Tensor, found: torch.Tensor | None) -> torch.Tensor:
    return torch.zeros_like(leaf) if found is None else found


def made(kind: str, inputs: torch.Tensor, states: Tensors, weights: Tensors) -> tuple:
    """Returns the same as `recorded`, bit for bit; in another way where that was seen to be so."""
    faster = FASTER.get(kind)
    if faster is None or not faster.fits(inputs, weights):
        return recorded(kind, inputs, states, weights)
    layer = inputs, states, weights
    key = key_of(kind, (inputs, *states, *weights))
    if not COMPARISONS.agree(key, lambda: _both_ways(kind, layer)):
        return recorded(kind, *layer)
    results, record = faster.forward(*layer)
    setattr(results[0], _ORDERED, (key, record))
    return results


def gradients_made(kind: str, given: Sequence[torch.Tensor | None], outputs: torch.Tensor, *layer: Any) -> list:
    """Returns the same as `gradients`, bit for bit, of the results of `made`; takes the same."""
    ordered = vars(outputs).pop(_ORDERED, None)
    if ordered is not None:
        key, record = ordered
        *parts, needed = layer
        looks = (key, tuple(needed), *[None if each is None else each.stride() for each in given])
        if COMPARISONS.agree(looks, lambda: _both_ways(kind, parts, given, needed)):
            return FASTER[kind].backward(given, record, parts[-1], needed)
        COMPARISONS.refuse(key)  # or the forward pass would be made twice
    return gradients(kind, given, outputs, *layer)


def _both_ways(
    kind: str, layer: Sequence[Any], given: Sequence[torch.Tensor | None] = (), needed: Sequence[bool] = ()
) -> bool:
    """Tells whether a layer's results, or its gradients where some are needed, agree on drawn numbers."""
    inputs, states, weights = layer
    drawn: list = drawn_like([inputs, *states, *weights, *given])
    parts = drawn[0], drawn[1 : 1 + len(states)], drawn[1 + len(states) : 1 + len(states) + len(weights)]
    ours, record = FASTER[kind].forward(*parts)
    theirs = recorded(kind, *parts)
    if not needed:
        return alike(ours, theirs)
    above = drawn[len(drawn) - len(given) :]
    found = FASTER[kind].backward(above, record, parts[2], needed)
    return alike(found, gradients(kind, above, theirs[0], *parts, needed))


@contextmanager
def _with_autograd() -> Iterator[None]:
    """Within an operation's implementation PyTorch records nothing; within this it does."""
    excluded = torch._C._dispatch_tls_local_exclude_set()
    for key in (
        torch._C.DispatchKey.AutogradCPU,
        torch._C.DispatchKey.AutogradCUDA,
        torch._C.DispatchKey.ADInplaceOrView,
    ):
        excluded = excluded.remove(key)
    with torch._C._ForceDispatchKeyGuard(torch._C._dispatch_tls_local_include_set(), excluded), torch.enable_grad():
        yield


def _recorded_in_graph(kind: str, inputs: torch.Tensor, states: Tensors, weights: Tensors) -> tuple:
    with _with_autograd():
        return tuple([each.detach().clone() for each in recorded(kind, inputs, states, weights)])


def _steps_in_graph(kind: str, inputs: torch.Tensor, states: Tensors, weights: Tensors) -> tuple:
    return tuple([each.clone() for each in recurrent_steps.forward(kind, inputs, states, weights)])


def _gradients_in_graph(*arguments: Any) -> list[torch.Tensor]:
    with _with_autograd():
        return gradients(*arguments)


_ARGUMENTS = "Tensor inputs, Tensor[] states, Tensor[] weights"
PYTHON = {
    "recurrent": made,
    "recurrent_plain": plainly,
    "recurrent_backward": gradients_made,
    "recurrent_by_step": recurrent_steps.forward,
    "recurrent_by_step_backward": recurrent_steps.backward,
}
for _name, _forward in (
    ("recurrent", _recorded_in_graph),
    ("recurrent_plain", plainly),
    ("recurrent_by_step", _steps_in_graph),
):
    _LIBRARY.define(f"{_name}(str kind, {_ARGUMENTS}) -> (Tensor, Tensor, Tensor)")
    _LIBRARY.impl(_name, _forward, "CompositeExplicitAutograd")
for _name, _function in (
    ("recurrent_backward", _gradients_in_graph),
    ("recurrent_by_step_backward", recurrent_steps.backward),
):
    _LIBRARY.define(f"{_name}(str kind, Tensor?[] given, Tensor outputs, {_ARGUMENTS}, bool[] needed) -> Tensor[]")
    _LIBRARY.impl(_name, _function, "CompositeExplicitAutograd")


OPERATIONS = torch.ops.birdplane
BY_STEP = {  # PyTorch's loop, and the gradients of it -> the same by step
    OPERATIONS.recurrent.default: OPERATIONS.recurrent_by_step.default,
    OPERATIONS.recurrent_backward.default: OPERATIONS.recurrent_by_step_backward.default,
}


def _setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:
    ctx.kind, sequence, states, weights = inputs
    ctx.states = len(states)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(output[0], sequence, *states, *weights)


def _backward(ctx: Any, *given: torch.Tensor | None) -> tuple:
    outputs, inputs, *rest = ctx.saved_tensors
    states, weights = rest[: ctx.states], rest[ctx.states :]
    _, of_inputs, of_states, of_weights = ctx.needs_input_grad
    needed = [of_inputs, *of_states, *of_weights]
    made = torch.ops.birdplane.recurrent_backward(ctx.kind, list(given), outputs, inputs, states, weights, needed)
    found = [each if needs else None for each, needs in zip(made, needed, strict=True)]
    return None, found[0], found[1 : 1 + ctx.states], found[1 + ctx.states :]


torch.library.register_autograd("birdplane::recurrent", _backward, setup_context=_setup_context, lib=_LIBRARY)


# What they make, without its numbers.
def _made(kind, inputs, states, weights):
    last = torch.empty_like(states[0])
    cell = torch.empty_like(states[0]) if kind == "lstm" else last.new_empty(0)
    return inputs.new_empty((*inputs.shape[:2], last.shape[-1])), last, cell


def _gradients_made(kind, given, outputs, inputs, states, weights, needed):
    leaves = (inputs, *states, *weights)
    return [torch.empty_like(leaf) if needs else leaf.new_empty(0) for leaf, needs in zip(leaves, needed, strict=True)]


for _name in ("recurrent", "recurrent_plain", "recurrent_by_step"):
    torch.library.register_fake(f"birdplane::{_name}", _made, lib=_LIBRARY)
for _name in ("recurrent_backward", "recurrent_by_step_backward"):
    torch.library.register_fake(f"birdplane::{_name}", _gradients_made, lib=_LIBRARY)

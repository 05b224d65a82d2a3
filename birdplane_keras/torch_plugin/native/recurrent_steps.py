"""GRU and SimpleRNN step by step, with one product for the gradients of all steps' weights: it rounds otherwise.

PyTorch's loop records each of its small operations, and `backward()` goes through them one by one and adds a product to
the weights' gradients at each step. Here a step of the backward pass is four operations. What they multiply by follows
from the forward pass alone and is computed for all steps at once.

The notation is PyTorch's (`torch.nn.GRU`): reset, update and new gate; T steps of N sequences, each of U units.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

KINDS = ("gru", "tanh", "relu")
_RECORD = "_birdplane_steps"  # of a result: what its gradients are made from
Tensors = Sequence[torch.Tensor]


@dataclass(frozen=True)
class Record:
    """What the backward pass needs of the forward pass.

    Args:
        x: (T x N, features), the inputs, step by step.
        states: (T + 1, N, U), the first state and that after each step.
        gates: (T, N, gates x U): of a GRU, the reset and the update gate, and the state's part in the new gate.
        new: (T, N, U), a GRU's new gate; empty for others.
    """

    x: torch.Tensor
    states: torch.Tensor
    gates: torch.Tensor
    new: torch.Tensor


def forward(kind: str, inputs: torch.Tensor, states: Tensors, weights: Tensors) -> tuple:
    """Returns all outputs, (N, T, U), the last state, (1, N, U), and an empty tensor, with a record of how.

    Args:
        kind: One of `KINDS`.
        inputs: (N, T, features).
        states: (1, N, U).
        weights: As in `torch.nn.GRU` and `torch.nn.RNN`, with biases or without.
    """
    with torch.no_grad():
        record = make_record(kind, inputs, states[0], weights)
        outputs = record.states[1:].transpose(0, 1)
        setattr(outputs, _RECORD, record)
        return outputs, record.states[-1:].clone(), outputs.new_empty(0)


def make_record(kind: str, inputs: torch.Tensor, first: torch.Tensor, weights: Tensors) -> Record:
    """Makes the forward pass; arguments as of `forward`."""
    of_inputs, of_state, *biases = weights
    sequences, steps, features = inputs.shape
    x = inputs.transpose(0, 1).reshape(-1, features)
    given = torch.addmm(biases[0], x, of_inputs.t()) if biases else x @ of_inputs.t()
    given = given.view(steps, sequences, -1)
    states = given.new_empty(steps + 1, *first.shape[1:])
    states[0] = first[0]
    kernel, units = of_state.t(), first.shape[-1]
    after = states.unbind(0)
    if kind != "gru":
        given = given + biases[1] if biases else given
        for part, before, state in zip(given.unbind(0), after, after[1:], strict=False):
            torch.addmm(part, before, kernel, out=state)
            state.tanh_() if kind == "tanh" else state.relu_()
        return Record(x, states, given.new_empty(0), given.new_empty(0))
    gates, new = torch.empty_like(given), given.new_empty(steps, sequences, units)
    bias = biases[1] if biases else given.new_zeros(1)
    parts = zip(
        gates.unbind(0),
        gates[..., : 2 * units].unbind(0),
        given[..., : 2 * units].unbind(0),
        gates[..., :units].unbind(0),
        gates[..., units : 2 * units].unbind(0),
        gates[..., 2 * units :].unbind(0),
        given[..., 2 * units :].unbind(0),
        new.unbind(0),
        after,
        after[1:],
        strict=False,  # there is a state before the first step
    )
    for all_gates, both, both_given, reset, update, of_new, new_given, made, before, state in parts:
        torch.addmm(bias, before, kernel, out=all_gates)
        both.add_(both_given).sigmoid_()
        torch.addcmul(new_given, reset, of_new, out=made)
        made.tanh_()
        torch.lerp(made, before, update, out=state)
    return Record(x, states, gates, new)


def backward(
    kind: str,
    given: Sequence[torch.Tensor | None],
    outputs: torch.Tensor,
    inputs: torch.Tensor,
    states: Tensors,
    weights: Tensors,
    needed: Sequence[bool],
) -> list[torch.Tensor]:
    """Returns the gradients of the inputs, the state and the weights; an empty tensor for what needs none.

    Args:
        kind: One of `KINDS`.
        given: The gradients of the three results of `forward`; `None` is zero.
        outputs: The first of them.
        inputs: As of `forward`, as are `states` and `weights`.
        states: The first state.
        weights: Of the layer.
        needed: Which of inputs, state and weights need a gradient.
    """
    with torch.no_grad():
        record = vars(outputs).pop(_RECORD, None) or make_record(kind, inputs, states[0], weights)
        of_inputs, of_state = weights[:2]
        before, units = record.states[:-1], record.states.shape[-1]
        keeps, factors, of_new = _factors(kind, record)
        of_gates = torch.empty_like(factors)
        at_steps = torch.empty_like(before)
        left = torch.zeros_like(before[0]) if given[1] is None else given[1][0].clone()
        above = None if given[0] is None else given[0].unbind(1)
        kept = torch.empty_like(left)
        numbered = zip(
            at_steps.unbind(0),
            at_steps.unsqueeze(2).unbind(0),
            factors.unbind(0),
            of_gates.unbind(0),
            of_gates.flatten(2).unbind(0),
            above or [None] * len(before),
            keeps.unbind(0) if keeps is not None else [None] * len(before),
            strict=True,
        )
        for here, wide, factor, of_gate, flat, more, keep in reversed(list(numbered)):
            here.copy_(left) if more is None else torch.add(left, more, out=here)
            torch.mul(wide, factor, out=of_gate)
            if keep is None:
                torch.mm(flat, of_state, out=left)
            else:
                torch.mul(here, keep, out=kept)
                torch.addmm(kept, flat, of_state, out=left)
        of_hidden = of_gates.view(len(record.x), -1)
        of_given = of_hidden
        if of_new is not None:
            of_given = of_gates.clone()
            torch.mul(at_steps, of_new, out=of_given[:, :, 2])
            of_given = of_given.view(len(record.x), -1)
        found = {
            0: lambda: (of_given @ of_inputs).view(*before.shape[:2], -1).transpose(0, 1),
            1: lambda: left.unsqueeze(0),
            2: lambda: of_given.t() @ record.x,
            3: lambda: of_hidden.t() @ before.reshape(-1, units),
            4: lambda: of_given.sum(0),
            5: lambda: of_hidden.sum(0),
        }
        return [found[number]() if needs else inputs.new_empty(0) for number, needs in enumerate(needed)]


def _factors(kind: str, record: Record) -> tuple[torch.Tensor | None, torch.Tensor, torch.Tensor | None]:
    """Returns what a state's gradient is multiplied by, for all steps.

    Returns:
        (T, N, U), for what reaches the state before directly, `None` where nothing does; (T, N, gates, U), for the sums
        that go into the gates, the state's part of the new one; (T, N, U), for the inputs' part of the new gate, `None`
        where it is the same.
    """
    if kind != "gru":
        after = record.states[1:]
        factor = 1 - after.square() if kind == "tanh" else (after > 0).to(after.dtype)
        return None, factor.unsqueeze(2), None
    before, new = record.states[:-1], record.new
    reset, update, of_state = record.gates.chunk(3, -1)
    of_new = (1 - update) * (1 - new.square())
    of_sum = of_new * reset
    factors = torch.stack([of_sum * of_state * (1 - reset), (before - new) * update * (1 - update), of_sum], 2)
    return update, factors, of_new

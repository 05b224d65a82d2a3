"""PyTorch's GRU on a CPU in fewer operations, in PyTorch's own order, so that every bit stays.

PyTorch's loop makes some twelve operations at each step and records them; `backward()` makes some thirty. What is here
makes the same sums and products of the same numbers, in buffers that lie ready, and leaves out the copies between them.

Whether the bits agree depends on how PyTorch's kernels and the BLAS split their work: `comparisons.py` sees to that.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

ALIGNED = 64  # bytes, as PyTorch's own memory begins: a BLAS may round otherwise elsewhere
Tensors = Sequence[torch.Tensor]


@dataclass(frozen=True)
class Record:
    """What the backward pass needs of the forward pass; T steps of N sequences, U units.

    Args:
        leaves: The inputs, their kernel and their bias, from which `given` was made while PyTorch recorded.
        given: (T, N, 3 U), the inputs' part of the gates.
        states: (T + 1, N, U), the first state and that after each step.
        gates: (T, N, 3 U): reset and update gate, and the state's part in the new gate.
        new: (T, N, U), the new gate.
        apart: (T, N, U), the state before less the new gate.
    """

    leaves: Tensors
    given: torch.Tensor
    states: torch.Tensor
    gates: torch.Tensor
    new: torch.Tensor
    apart: torch.Tensor


def fits(inputs: torch.Tensor, weights: Tensors) -> bool:
    """Tells whether a layer can be made here."""
    return inputs.device.type == "cpu" and inputs.dtype in (torch.float32, torch.float64)


def forward(inputs: torch.Tensor, states: Tensors, weights: Tensors) -> tuple[tuple, Record]:
    """Returns all outputs, (N, T, U), the last state, (1, N, U), and an empty tensor; and how they were made.

    Args:
        inputs: (N, T, features).
        states: (1, N, U), the first state.
        weights: As in `torch.nn.GRU`, with biases or without.
    """
    (first,) = states
    of_inputs, of_state, *biases = weights
    leaves = [tensor.detach().requires_grad_() for tensor in (inputs, of_inputs, *biases[:1])]
    with torch.enable_grad():
        made = functional.linear(leaves[0].transpose(0, 1), *leaves[1:])
    given = made.detach()
    steps, (_, sequences, units) = len(given), first.shape
    gates = buffer(given, steps, sequences, 3 * units)
    after = buffer(given, steps + 1, sequences, units)
    new, apart = (buffer(given, steps, sequences, units) for _ in range(2))
    after[0] = first[0]
    kernel = of_state.t()
    of_step = zip(
        gates.unbind(0),
        *(part.unbind(0) for part in gates.chunk(3, -1)),
        *(part.unbind(0) for part in given.chunk(3, -1)),
        new.unbind(0),
        apart.unbind(0),
        after[:-1].unbind(0),
        after[1:].unbind(0),
        strict=True,
    )
    for whole, reset, update, of_new, of_reset, of_update, new_given, gate, difference, before, state in of_step:
        if biases:
            torch.addmm(biases[1], before, kernel, out=whole)
        else:
            torch.mm(before, kernel, out=whole)
        reset.add_(of_reset).sigmoid_()
        update.add_(of_update).sigmoid_()
        torch.mul(of_new, reset, out=gate)
        gate.add_(new_given).tanh_()
        torch.sub(before, gate, out=difference)
        torch.mul(difference, update, out=state)
        state.add_(gate)
    outputs = after[1:].contiguous().transpose(0, 1)
    last = after[-1].clone().unsqueeze(0)
    return (outputs, last, outputs.new_empty(0)), Record(leaves, made, after, gates, new, apart)


def backward(
    given: Sequence[torch.Tensor | None], record: Record, weights: Tensors, needed: Sequence[bool]
) -> list[torch.Tensor]:
    """Returns the gradients of the inputs, the state and the weights; an empty tensor for what needs none.

    Args:
        given: The gradients of the three results of `forward`; `None` is zero.
        record: Of it.
        weights: Of the layer.
        needed: Which of inputs, state and weights need a gradient.
    """
    of_state = weights[1]
    states, new = record.states, record.new
    steps, sequences, units = new.shape
    of_gates = buffer(new, steps, sequences, 3 * units)
    of_given = torch.empty_like(record.given)
    both = new.new_empty(sequences, 2 * units)
    of_reset, of_update = both.chunk(2, -1)
    direct, of_gate, through = (new.new_empty(sequences, units) for _ in range(3))
    above = [None] * steps if given[0] is None else list(given[0].unbind(1))
    left = torch.zeros_like(direct) if given[1] is None else given[1][0].clone()
    if above[-1] is not None:
        left = above[-1].clone() if given[1] is None else left + above[-1]
    product, total = torch.empty_like(of_state), new.new_empty(3 * units)
    of_kernel, of_bias = torch.empty_like(of_state), torch.empty_like(total)
    reset, update, of_new = record.gates.chunk(3, -1)
    of_step = zip(
        of_gates.unbind(0),
        of_gates[..., : 2 * units].unbind(0),
        of_gates[..., 2 * units :].unbind(0),
        of_given[..., 2 * units :].unbind(0),
        record.gates[..., : 2 * units].unbind(0),
        *(each.unbind(0) for each in (reset, update, of_new, new, record.apart)),
        states[:-1].unbind(0),
        [None, *above[:-1]],
        strict=True,
    )
    for number, each in enumerate(reversed(list(of_step))):
        whole, of_both, of_part, of_new_given, sigmoids, r, z, part, gate, difference, before, more = each
        torch.mul(left, z, out=direct)
        torch.mul(left, difference, out=of_update)
        torch.sub(left, direct, out=of_gate)
        torch.ops.aten.tanh_backward.grad_input(of_gate, gate, grad_input=of_new_given)
        torch.mul(of_new_given, r, out=of_part)
        torch.mul(of_new_given, part, out=of_reset)
        torch.ops.aten.sigmoid_backward.grad_input(both, sigmoids, grad_input=of_both)
        torch.mm(whole, of_state, out=through)
        if more is None:
            torch.add(direct, through, out=left)
        else:
            torch.add(more, direct, out=left)
            left.add_(through)
        torch.mm(whole.t(), before, out=product if number else of_kernel)
        torch.sum(whole, 0, out=total if number else of_bias)
        if number:
            of_kernel.add_(product)
            of_bias.add_(total)
    of_given[..., : 2 * units] = of_gates[..., : 2 * units]
    places = [0, 2, 4][: len(record.leaves)]  # of inputs, kernel and bias among inputs, state and weights
    wanted = [leaf for leaf, place in zip(record.leaves, places, strict=True) if needed[place]]
    found = iter(torch.autograd.grad(record.given, wanted, of_given)) if wanted else iter(())
    made = {place: next(found) for place in places if needed[place]}
    made |= {1: left.unsqueeze(0), 3: of_kernel, 5: of_bias}
    return [made[place] if needs else new.new_empty(0) for place, needs in enumerate(needed)]


def buffer(like: torch.Tensor, steps: int, rows: int, columns: int) -> torch.Tensor:
    """Returns memory for (steps, rows, columns), in which each step begins where PyTorch's own memory would."""
    unit = ALIGNED // like.element_size()
    stride = -(-rows * columns // unit) * unit
    return like.new_empty(steps, stride)[:, : rows * columns].view(steps, rows, columns)

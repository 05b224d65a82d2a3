"""PyTorch's LSTM on a CPU as the two calls of oneDNN that it ends in, without what PyTorch records between them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

Tensors = Sequence[torch.Tensor]
_LSTM = 2  # the number of its kind in the signature of these calls
_WEIGHTS = 4


@dataclass(frozen=True)
class Record:
    """What the backward pass needs of the forward pass; T steps of N sequences, U units.

    Args:
        inputs: (T, N, features).
        states: (N, U), the first state and the first cell.
        made: (T, N, U), all outputs; (N, U), the last state and the last cell; and what oneDNN keeps.
    """

    inputs: torch.Tensor
    states: Tensors
    made: Tensors


def fits(inputs: torch.Tensor, weights: Tensors) -> bool:
    """Tells whether PyTorch hands a layer to oneDNN in this form."""
    on_cpu = inputs.device.type == "cpu" and inputs.dtype == torch.float32 and len(weights) == _WEIGHTS
    return on_cpu and torch.backends.mkldnn.is_available() and torch._C._get_mkldnn_enabled()


def forward(inputs: torch.Tensor, states: Tensors, weights: Tensors) -> tuple[tuple, Record]:
    """Returns all outputs, (N, T, U), the last state and the last cell, (1, N, U); and how they were made.

    Args:
        inputs: (N, T, features).
        states: (1, N, U), the first state and the first cell.
        weights: As in `torch.nn.LSTM`, with biases.
    """
    x = inputs.transpose(0, 1).contiguous()
    first, cell = (state[0] for state in states)
    settings: tuple = (False, [], _LSTM, first.shape[-1], 1, True, False, True, True)
    with torch.enable_grad():  # elsewhere oneDNN keeps nothing for the backward pass
        plain = [tensor.detach() for tensor in (x, *weights, first, cell)]
        made = torch.ops.aten.mkldnn_rnn_layer.default(*plain, *settings)
    results = made[0].transpose(0, 1), made[1].unsqueeze(0), made[2].unsqueeze(0)
    return results, Record(x, (first, cell), made)


def backward(
    given: Sequence[torch.Tensor | None], record: Record, weights: Tensors, needed: Sequence[bool]
) -> list[torch.Tensor]:
    """Returns the gradients of the inputs, the states and the weights; an empty tensor for what needs none.

    Args:
        given: The gradients of the three results of `forward`; `None` is zero.
        record: Of it.
        weights: Of the layer.
        needed: Which of inputs, states and weights need a gradient.
    """
    outputs, last, cell = given
    above = (
        None if outputs is None else outputs.transpose(0, 1),
        None if last is None else last[0],
        None if cell is None else cell[0],
    )
    settings: tuple = (False, _LSTM, record.states[0].shape[-1], 1, True, True, False, [], True)
    *results, kept = record.made
    found = torch.ops.aten.mkldnn_rnn_layer_backward.default(
        record.inputs, *weights, *record.states, *results, *above, *settings, kept
    )
    of_inputs, *of_weights = found[: 1 + _WEIGHTS]
    of_states = [state.unsqueeze(0) for state in found[1 + _WEIGHTS :]]
    made = [of_inputs.transpose(0, 1), *of_states, *of_weights]
    return [each if needs else of_inputs.new_empty(0) for each, needs in zip(made, needed, strict=True)]

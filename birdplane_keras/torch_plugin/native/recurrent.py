"""LSTM, GRU and SimpleRNN as PyTorch's own layers: one call in the place of one for each step."""

from typing import Any

import keras
import torch
from keras import tree

from birdplane_keras.torch_plugin.native.forms import NativeForm
from birdplane_keras.torch_plugin.native.recurrent_ops import OPERATIONS


def inputs_of(layer: Any, sequences: Any, mask: Any, training: bool) -> tuple[torch.Tensor, torch.Tensor | None] | None:
    """Returns the sequence, first step first, and its mask; `None` where PyTorch's layers cannot take it."""
    mask = mask[0] if tree.is_nested(mask) else mask
    cell = layer.cell
    drops = training and any(getattr(cell, name, 0) for name in ("dropout", "recurrent_dropout"))
    if drops or not torch.is_tensor(sequences) or sequences.ndim != 3 or not sequences.numel():
        return None
    if not isinstance(sequences.shape[1], int) or sequences.dtype != tensor_of(cell.kernel).dtype:
        return None
    if mask is not None:
        # Of the steps before the last one PyTorch returns no cell.
        shows_cell = isinstance(layer, keras.layers.LSTM) and (layer.return_state or layer.stateful)
        if shows_cell or layer.unroll or mask.dtype != torch.bool or mask.ndim != 2:
            return None
    if layer.go_backwards:
        return sequences.flip(1), None if mask is None else mask.flip(1)
    return sequences, mask


def tensor_of(variable: Any) -> torch.Tensor:
    """Returns a variable's tensor, in the type that its layer computes in."""
    result: Any = keras.ops.convert_to_tensor(variable)
    return result


def lstm(layer: Any, sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> Any:
    """`torch.lstm` in the place of `keras.layers.LSTM.inner_loop`."""
    cell = layer.cell
    inputs = inputs_of(layer, sequences, mask, training)
    own = cell.activation is keras.activations.tanh and cell.recurrent_activation is keras.activations.sigmoid
    if inputs is None or not own:
        return NotImplemented
    weights = [tensor_of(cell.kernel).t().contiguous(), tensor_of(cell.recurrent_kernel).t().contiguous()]
    if cell.bias is not None:
        bias = tensor_of(cell.bias)
        weights += [bias, torch.zeros_like(bias)]
    return _in_one_call(layer, "lstm", *inputs, initial_state, weights)


def gru(layer: Any, sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> Any:
    """`torch.gru` in the place of `keras.layers.GRU.inner_loop`.

    Keras has the gates in the order update, reset, new; PyTorch in the order reset, update, new.
    """
    cell = layer.cell
    inputs = inputs_of(layer, sequences, mask, training)
    own = cell.activation is keras.activations.tanh and cell.recurrent_activation is keras.activations.sigmoid
    if inputs is None or not own or not cell.reset_after:
        return NotImplemented

    def in_order(matrix: torch.Tensor) -> torch.Tensor:
        update, reset, new = matrix.chunk(3)
        return torch.cat([reset, update, new])

    weights = [in_order(tensor_of(each).t()) for each in (cell.kernel, cell.recurrent_kernel)]
    if cell.bias is not None:
        weights += [in_order(row) for row in tensor_of(cell.bias)]
    return _in_one_call(layer, "gru", *inputs, initial_state, weights)


def simple(layer: Any, sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> Any:
    """`torch.rnn_tanh` or `torch.rnn_relu` in the place of `keras.layers.RNN.inner_loop`, for a simple cell."""
    cell = layer.cell
    if type(cell) is not keras.layers.SimpleRNNCell:
        return NotImplemented
    inputs = inputs_of(layer, sequences, mask, training)
    kind = {keras.activations.tanh: "tanh", keras.activations.relu: "relu"}.get(cell.activation)
    if inputs is None or kind is None:
        return NotImplemented
    weights = [tensor_of(cell.kernel).t().contiguous(), tensor_of(cell.recurrent_kernel).t().contiguous()]
    if cell.bias is not None:
        bias = tensor_of(cell.bias)
        weights += [bias, torch.zeros_like(bias)]
    return _in_one_call(layer, kind, *inputs, initial_state, weights)


def _in_one_call(
    layer: Any,
    kind: str,
    inputs: torch.Tensor,
    mask: torch.Tensor | None,
    initial_state: Any,
    weights: list[torch.Tensor],
) -> tuple:
    """Returns what `inner_loop` returns: the last output, all or the last of them, the states."""
    given = initial_state if tree.is_nested(initial_state) else [initial_state]
    states = [tensor_of(state).unsqueeze(0) for state in given]
    recurrent = OPERATIONS.recurrent if torch.is_grad_enabled() else OPERATIONS.recurrent_plain
    outputs, *left = recurrent(kind, inputs if mask is None else kept_first(inputs, mask), states, weights)
    left = [state.squeeze(0) for state in left[: len(given)]]
    if mask is not None:
        outputs, left[0] = put_back(outputs, mask, tensor_of(given[0]), shows_zeros=layer.zero_output_for_mask)
    last = outputs[:, -1]
    return last, outputs if layer.return_sequences else last.unsqueeze(1), left


def kept_first(inputs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Returns the steps that a mask keeps, in their order, and behind them the others: a state passes those by."""
    order = torch.argsort(mask.logical_not().to(torch.uint8), dim=1, stable=True)
    return inputs.gather(1, order.unsqueeze(-1).expand_as(inputs))


def put_back(
    outputs: torch.Tensor, mask: torch.Tensor, initial: torch.Tensor, *, shows_zeros: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the outputs at their steps, and the last state.

    Args:
        outputs: (N, T, units), of the steps that were kept, in their order.
        mask: (N, T), which were.
        initial: (N, units), the first state.
        shows_zeros: Whether another step's output is zero; elsewhere it is the output before it, at the start zero.
    """
    count = mask.cumsum(1)
    steps = (count - 1).clamp(min=0).unsqueeze(-1)
    placed = outputs.gather(1, steps.expand_as(outputs))
    shown = mask if shows_zeros else count > 0
    state = torch.where(count[:, -1:] > 0, placed[:, -1], initial)
    return torch.where(shown.unsqueeze(-1), placed, torch.zeros_like(placed)), state


FORMS = (
    NativeForm(name="lstm", owner=keras.layers.LSTM, attribute="inner_loop", make=lstm),
    NativeForm(name="gru", owner=keras.layers.GRU, attribute="inner_loop", make=gru),
    NativeForm(name="rnn", owner=keras.layers.RNN, attribute="inner_loop", make=simple),
)

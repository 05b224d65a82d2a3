"""LSTM, GRU and SimpleRNN as PyTorch's own layers: one call in the place of one for each step."""

from typing import Any

import keras
import torch
from keras import tree

from birdplane_keras.torch_plugin.native.forms import NativeForm
from birdplane_keras.torch_plugin.native.recurrent_ops import OPERATIONS


def plain_inputs(layer: Any, sequences: Any, mask: Any, training: bool) -> torch.Tensor | None:
    """Returns the sequence as the layer takes it, first step first; `None` where PyTorch's layers cannot take it."""
    mask = mask[0] if tree.is_nested(mask) else mask
    cell = layer.cell
    drops = training and any(getattr(cell, name, 0) for name in ("dropout", "recurrent_dropout"))
    if mask is not None or drops or not torch.is_tensor(sequences) or sequences.ndim != 3 or not sequences.numel():
        return None
    if not isinstance(sequences.shape[1], int) or sequences.dtype != tensor_of(cell.kernel).dtype:
        return None
    return sequences.flip(1) if layer.go_backwards else sequences


def tensor_of(variable: Any) -> torch.Tensor:
    """Returns a variable's tensor, in the type that its layer computes in."""
    result: Any = keras.ops.convert_to_tensor(variable)
    return result


def finished(layer: Any, outputs: torch.Tensor, states: list[torch.Tensor]) -> tuple:
    """Returns what `inner_loop` returns: the last output, all or the last of them, the states."""
    last = outputs[:, -1]
    return last, outputs if layer.return_sequences else last.unsqueeze(1), states


def lstm(layer: Any, sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> Any:
    """`torch.lstm` in the place of `keras.layers.LSTM.inner_loop`."""
    cell = layer.cell
    inputs = plain_inputs(layer, sequences, mask, training)
    own = cell.activation is keras.activations.tanh and cell.recurrent_activation is keras.activations.sigmoid
    if inputs is None or not own:
        return NotImplemented
    weights = [tensor_of(cell.kernel).t().contiguous(), tensor_of(cell.recurrent_kernel).t().contiguous()]
    if cell.bias is not None:
        bias = tensor_of(cell.bias)
        weights += [bias, torch.zeros_like(bias)]
    return _in_one_call(layer, "lstm", inputs, initial_state, weights)


def gru(layer: Any, sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> Any:
    """`torch.gru` in the place of `keras.layers.GRU.inner_loop`.

    Keras has the gates in the order update, reset, new; PyTorch in the order reset, update, new.
    """
    cell = layer.cell
    inputs = plain_inputs(layer, sequences, mask, training)
    own = cell.activation is keras.activations.tanh and cell.recurrent_activation is keras.activations.sigmoid
    if inputs is None or not own or not cell.reset_after:
        return NotImplemented

    def in_order(matrix: torch.Tensor) -> torch.Tensor:
        update, reset, new = matrix.chunk(3)
        return torch.cat([reset, update, new])

    weights = [in_order(tensor_of(each).t()) for each in (cell.kernel, cell.recurrent_kernel)]
    if cell.bias is not None:
        weights += [in_order(row) for row in tensor_of(cell.bias)]
    return _in_one_call(layer, "gru", inputs, initial_state, weights)


def simple(layer: Any, sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> Any:
    """`torch.rnn_tanh` or `torch.rnn_relu` in the place of `keras.layers.RNN.inner_loop`, for a simple cell."""
    cell = layer.cell
    if type(cell) is not keras.layers.SimpleRNNCell:
        return NotImplemented
    inputs = plain_inputs(layer, sequences, mask, training)
    kind = {keras.activations.tanh: "tanh", keras.activations.relu: "relu"}.get(cell.activation)
    if inputs is None or kind is None:
        return NotImplemented
    weights = [tensor_of(cell.kernel).t().contiguous(), tensor_of(cell.recurrent_kernel).t().contiguous()]
    if cell.bias is not None:
        bias = tensor_of(cell.bias)
        weights += [bias, torch.zeros_like(bias)]
    return _in_one_call(layer, kind, inputs, initial_state, weights)


def _in_one_call(layer: Any, kind: str, inputs: torch.Tensor, initial_state: Any, weights: list[torch.Tensor]) -> tuple:
    given = initial_state if tree.is_nested(initial_state) else [initial_state]
    states = [tensor_of(state).unsqueeze(0) for state in given]
    recurrent = OPERATIONS.recurrent if torch.is_grad_enabled() else OPERATIONS.recurrent_plain
    outputs, *states = recurrent(kind, inputs, states, weights)
    return finished(layer, outputs, [state.squeeze(0) for state in states[: len(given)]])


FORMS = (
    NativeForm(name="lstm", owner=keras.layers.LSTM, attribute="inner_loop", make=lstm),
    NativeForm(name="gru", owner=keras.layers.GRU, attribute="inner_loop", make=gru),
    NativeForm(name="rnn", owner=keras.layers.RNN, attribute="inner_loop", make=simple),
)

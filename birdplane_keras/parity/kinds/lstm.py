"""`nn.LSTM` and `keras.layers.LSTM`, and their cells: gates i, f, g, o in both, two biases in PyTorch."""

from collections.abc import Iterator
from typing import Any

import keras
import torch
from torch import nn
from torch.nn import functional

from birdplane_keras.parity.kinds import layouts, recurrent
from birdplane_keras.parity.kinds.kind import Edit, Setting, of
from birdplane_keras.parity.kinds.repairing import attributes_set


def settings(layer: Any, module: Any) -> Iterator[Setting]:
    """Yields the activations, if they are not PyTorch's."""
    if not isinstance(module, nn.LSTM) or module.num_layers > 1 or module.bidirectional:
        return
    ours = [getattr(function, "__name__", "?") for function in (layer.recurrent_activation, layer.activation)]
    if ours != ["sigmoid", "tanh"]:
        yield Setting(
            cause="activation",
            what="gates and activation",
            ours=", ".join(ours),
            theirs="sigmoid, tanh",
            fix='keras.layers.LSTM(recurrent_activation="sigmoid", activation="tanh"), Keras\' default',
            edit=recurrent_activations(layer),
            repair=lambda given: attributes_set(
                getattr(given, "cell", given),
                recurrent_activation=keras.activations.sigmoid,
                activation=keras.activations.tanh,
            ),
        )


def recurrent_activations(layer: Any) -> Edit:
    """Returns a change after which an LSTM of one layer has the activations of a Keras layer."""
    gate, activation = layer.recurrent_activation, layer.activation

    def edit(module: Any) -> None:
        def forward(x: torch.Tensor, state: Any = None) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
            steps = x.transpose(0, 1) if module.batch_first else x
            h = c = x.new_zeros(steps.shape[1], module.hidden_size)
            outputs = []
            for step in steps:
                sums = functional.linear(step, module.weight_ih_l0, module.bias_ih_l0)
                sums = sums + functional.linear(h, module.weight_hh_l0, module.bias_hh_l0)
                given, forget, new, out = sums.chunk(4, 1)
                c = gate(forget) * c + gate(given) * activation(new)
                h = gate(out) * activation(c)
                outputs.append(h)
            result = torch.stack(outputs)
            return (result.transpose(0, 1) if module.batch_first else result), (h[None], c[None])

        module.forward = forward

    return edit


KINDS = recurrent.both_ways(
    of(keras.layers.LSTM, keras.layers.LSTMCell),
    of(nn.LSTM, nn.LSTMCell),
    name="LSTM",
    rules=recurrent.rules_with(lambda axis: layouts.as_is(), layouts.summed, layouts.as_is()),
    settings=settings,
)

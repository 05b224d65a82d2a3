"""What numbers cannot show of either side: the names and shapes of the outputs, and the calls of Dropout."""

import contextlib
import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import torch

from birdplane_keras.parity.core.records import Dropped, Outline
from birdplane_keras.parity.kinds.repairing import calling
from birdplane_keras.parity.private_keras import layers_of
from birdplane_keras.parity.sides.calls import Dropouts
from birdplane_keras.parity.sides.keras_run import KerasRun, call
from birdplane_keras.parity.sides.torch_run import TorchRun


def outline_of_reference(run: TorchRun, rows: np.ndarray) -> Outline:
    """Calls the reference on a batch in training mode, with Dropout on, and notes what it does."""
    noted = Dropouts()
    run.rewrites = [noted]
    run.set_training()
    recurrent = [module for module in run.module.modules() if isinstance(module, torch.nn.RNNBase)]
    hooks = [m.register_forward_hook(between_layers(noted, m.dropout)) for m in recurrent if m.training and m.dropout]
    try:
        with torch.no_grad(), run.patched():
            outputs = run.to_port(run.forward(rows))
    finally:
        for hook in hooks:
            hook.remove()
    return Outline(outputs={name: value.shape for name, value in outputs.items()}, dropouts=noted.calls)


def between_layers(noted: Dropouts, rate: float) -> Any:
    """Returns a hook of a recurrent module that notes the Dropout between its layers, of whole sequences (T, H)."""

    def hook(module: Any, args: Any, output: Any) -> None:
        steps = output[0]
        if isinstance(steps, torch.Tensor) and steps.ndim == 3:
            axis = 1 if module.batch_first else 0
            entries = int(steps.shape[axis] * module.hidden_size * (2 if module.bidirectional else 1))
            noted.calls += [Dropped(rate=rate, entries=entries)] * (module.num_layers - 1)

    return hook


def outline_of_port(run: KerasRun, rows: np.ndarray) -> Outline:
    """Calls the port on a batch in training mode, with Dropout on, and notes what it does."""
    host = run.host
    host.activate(run)
    before = host.save()
    calls: list[Dropped] = []

    def note(inputs: Any, rate: float, noise_shape: Sequence[int | None] | None = None, seed: Any = None) -> Any:
        if rate:
            shape = list(inputs.shape) if noise_shape is None else list(noise_shape)
            sizes = [inputs.shape[axis] if size is None else size for axis, size in enumerate(shape)]
            calls.append(Dropped(rate=float(rate), entries=math.prod(int(size) for size in sizes[1:])))
        return inputs

    def alpha(layer: Any, inputs: Any, training: bool = False) -> Any:  # it draws its mask by itself
        return note(inputs, layer.rate, layer.noise_shape)

    try:
        with torch.no_grad(), contextlib.ExitStack() as stack:
            stack.enter_context(host.dropping(note))
            for layer in layers_of(host.model):
                if isinstance(layer, keras.layers.AlphaDropout):
                    stack.enter_context(calling(alpha)(layer))
            outputs = host.named(call(host.model, host.examples.take(rows)[0], host.training), rows)
    finally:
        host.restore(before)
    return Outline(outputs={name: value.shape for name, value in outputs.items()}, dropouts=calls)

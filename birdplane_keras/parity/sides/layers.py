"""The forward pass layer by layer: what each layer receives, and what it makes of the reference's own activations."""

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import torch
from torch import nn

from birdplane_keras.parity.core.tolerances import TOLERANCES
from birdplane_keras.parity.pair import flatten
from birdplane_keras.parity.sides.arrays import to_numpy
from birdplane_keras.parity.sides.nudging import Nudge
from birdplane_keras.parity.sides.torch_run import TorchRun

Call = tuple[tuple[Any, ...], Any]  # what a layer was given, by position, and what it returned
CHANNELS_FIRST = (nn.modules.conv._ConvNd, nn.modules.batchnorm._BatchNorm, nn.GroupNorm)


def compare_layers(bench: Any, rows: np.ndarray) -> list[dict[str, Any]]:
    """Compares every matched layer, in the order in which the reference calls them.

    Each gets a row for what it receives in its own model, and one for what it returns, in isolation, when it is given
    what the reference's layer received. The first row that has failed is where the models part.

    Args:
        bench: A `PairBench`.
        rows: (B,) row numbers of the batch.

    Returns:
        rows with `name`, `passed`, `max_abs_difference`, `tolerance` and `text`.
    """
    bench.keras.reset()
    theirs = record_torch(bench.reference(), bench, rows)
    draws = [record_torch(bench.reference(nudge=draw, throughout=True), bench, rows) for draw in range(2)]
    with contextlib.suppress(RuntimeError):  # a module with constants of a type of its own cannot run in float64
        draws.append(record_torch(bench.double(), bench, rows))
    ours = record_keras(bench, rows)
    compared: list[dict[str, Any]] = []
    before = "the inputs"
    for match in sorted(
        (m for m in bench.matching.layers if m.name in theirs), key=lambda m: list(theirs).index(m.name)
    ):
        label = f"{match.name} ({type(match.module).__name__}, {match.layer.name} in Keras)"
        if match.name in ours:
            received = [to_port(match, calls[match.name][0][0]) for calls in (theirs, *draws)]
            row = compare_activations(
                label, to_array(ours[match.name][0][0]), received, f"what {label} receives, made after {before}"
            )
            compared += [] if row is None else [row | {"name": before, "kind": "between"}]
        row = compare_in_isolation(bench, match, theirs[match.name], label)
        compared += [] if row is None else [row | {"name": match.name, "kind": "isolated"}]
        before = match.name
    compared.append(
        {
            "name": before,
            "kind": "after",
            "passed": False,  # reached only where the outputs have failed and every layer has passed
            "max_abs_difference": None,
            "tolerance": None,
            "text": f"what comes after {before}: every layer up to it is right",
        }
    )
    bench.keras.reset()
    return compared


def record_torch(run: TorchRun, bench: Any, rows: np.ndarray) -> dict[str, Call]:
    """Returns module name -> its first call in a training-mode forward pass, in the order of the calls."""
    run.module.train(run.training)
    modules = dict(run.module.named_modules())
    calls: dict[str, Call] = {}
    hooks = [
        modules["" if match.name == "module" else match.name].register_forward_hook(hear(calls, match.name))
        for match in bench.matching.layers
        if match.name in modules or match.name == "module"
    ]
    try:
        with torch.no_grad(), run.rounded(), run.patched():
            run.forward(rows)
    finally:
        for hook in hooks:
            hook.remove()
    return calls


def record_keras(bench: Any, rows: np.ndarray) -> dict[str, Call]:
    """Returns the name of the matched module -> its Keras layer's first call in a training-mode forward pass."""
    model = bench.pair.keras_model
    calls: dict[str, Call] = {}
    hooks = [match.layer.register_forward_hook(hear(calls, match.name)) for match in bench.matching.layers]
    try:
        with torch.no_grad():
            model(bench.keras.examples.take(rows)[0], training=True)
    finally:
        for hook in hooks:
            hook.remove()
        bench.keras.reset()
    return calls


def hear(calls: dict[str, Call], name: str) -> Callable[..., None]:
    """Returns a forward hook that notes the first call."""

    def hook(module: Any, args: tuple[Any, ...], output: Any) -> None:
        if name not in calls and args:
            calls[name] = (args, output)

    return hook


def compare_in_isolation(bench: Any, match: Any, call: Call, label: str) -> dict[str, Any] | None:
    """Compares what the two layers make of the reference's activations; `None` for a layer that stands for several."""
    args, output = call
    module, layer = match.module, match.layer
    if isinstance(module, nn.RNNBase) and (module.num_layers > 1 or module.bidirectional):
        return None
    draws = []
    for rounded, given in round_otherwise(module, args, bench.seed):
        with torch.no_grad(), contextlib.suppress(RuntimeError):  # a module that cannot run in float64
            draws.append(main_output(module, layer, rounded.train()(*given)))
    activation = getattr(layer, "activation", None)
    plain = isinstance(module, nn.Linear | nn.modules.conv._ConvNd) and activation is not None
    try:
        if plain:
            layer.activation = keras.activations.linear
        with torch.no_grad():
            ours = call_keras_layer(match, args)
    except Exception as error:  # a layer with a call of its own
        text = f"{label} could not be called in isolation: {error}".splitlines()[0]
        return {"passed": True, "max_abs_difference": None, "tolerance": None, "text": text}
    finally:
        if plain:
            layer.activation = activation
    expected = [output_to_port(match, value) for value in (main_output(module, layer, output), *draws)]
    return compare_activations(label, to_array(ours), expected, f"{label} in isolation, on the reference's activations")


def round_otherwise(module: nn.Module, args: Sequence[Any], seed: int) -> Iterator[tuple[nn.Module, list[Any]]]:
    """Yields copies of a layer, with what it is given: every number moved by one ULP, and all in float64."""
    given = [a for a in args if isinstance(a, torch.Tensor)]
    nudge = Nudge(seed, max(a.numel() for a in given), given[0].device)
    moved = copy.deepcopy(module)
    with torch.no_grad():
        for weight in moved.parameters():
            if weight.is_floating_point():
                weight.copy_(nudge(weight))
    yield moved, [nudge_input(a, nudge) for a in args]
    yield copy.deepcopy(module).double(), to_double(args)


def call_keras_layer(match: Any, args: tuple[Any, ...]) -> Any:
    """Calls the port's layer on what the reference's received."""
    if isinstance(match.module, nn.MultiheadAttention):
        query, key, value = args[:3]
        return match.layer(query, value, key=key)
    given = torch.as_tensor(np.ascontiguousarray(to_port(match, args[0]))).to(args[0].device)
    try:
        return match.layer(given, training=True)
    except TypeError:
        return match.layer(given)


def to_port(match: Any, tensor: Any) -> np.ndarray:
    """Returns what a PyTorch layer receives in the layout that the Keras layer takes."""
    value = to_array(tensor)
    if match.order is not None and match.order.inputs is not None and value.ndim == 2:
        return value[:, match.order.inputs]  # features in the order in which Keras flattens
    if isinstance(match.module, nn.RNNBase) and not match.module.batch_first and value.ndim == 3:
        return np.swapaxes(value, 0, 1)
    return channels_to_port(match, value)


def output_to_port(match: Any, value: np.ndarray) -> np.ndarray:
    """Returns what a PyTorch layer returns in the layout of the Keras layer."""
    if match.order is not None and match.order.outputs is not None and value.ndim == 2:
        return value[:, match.order.outputs]
    return channels_to_port(match, value)


def channels_to_port(match: Any, value: np.ndarray) -> np.ndarray:
    """Returns a feature map with its channels where the Keras layer has them."""
    if isinstance(match.module, CHANNELS_FIRST) and value.ndim > 2 and channels_are_last(match.layer):
        return np.moveaxis(value, 1, -1)
    return value


def channels_are_last(layer: Any) -> bool:
    """Whether a Keras layer takes its channels at the end."""
    axis = getattr(layer, "axis", -1)
    axis = axis[0] if isinstance(axis, list | tuple) else axis
    return getattr(layer, "data_format", "channels_last") == "channels_last" and axis != 1


def main_output(module: nn.Module, layer: Any, output: Any) -> np.ndarray:
    """Returns the output that the Keras layer returns, too: of a recurrent layer all steps, or the last."""
    first = to_array(flatten(output)[0])
    if isinstance(module, nn.RNNBase):
        first = first if module.batch_first else np.swapaxes(first, 0, 1)
        return first if getattr(layer, "return_sequences", True) else first[:, -1]
    return first


def nudge_input(value: Any, nudge: Nudge) -> Any:
    """Returns a floating-point tensor with every entry moved by one ULP."""
    return nudge(value) if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def to_double(args: Sequence[Any]) -> list[Any]:
    """Returns floating-point tensors in float64."""
    return [a.double() if isinstance(a, torch.Tensor) and a.is_floating_point() else a for a in args]


def to_array(value: Any) -> np.ndarray:
    """Returns the first leaf of a structure as an array on the CPU."""
    leaf = flatten(value)[0]
    return to_numpy(leaf) if isinstance(leaf, torch.Tensor) else np.asarray(leaf)


def compare_activations(
    label: str, ours: np.ndarray, theirs: Sequence[np.ndarray], subject: str
) -> dict[str, Any] | None:
    """Compares activations with the reference's, allowing a multiple of its own rounding; `None` for other shapes."""
    expected = theirs[0]
    if ours.shape != expected.shape:
        return None
    row: Mapping[str, Any] = {"name": label}
    wide = expected.astype(np.float64)
    floor = float(np.abs(wide).max(initial=0.0)) * float(np.finfo(np.float32).eps)
    noise = max([floor, *(float(np.abs(wide - draw).max(initial=0.0)) for draw in theirs[1:])])
    tolerance = TOLERANCES["forward"].factor * noise
    difference = float(np.abs(wide - ours).max(initial=0.0))
    return {
        **row,
        "passed": bool(difference <= tolerance),
        "max_abs_difference": difference,
        "tolerance": tolerance,
        "text": f"{subject}: {difference:.2g} apart, {tolerance:.2g} allowed",
    }

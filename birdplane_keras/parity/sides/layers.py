"""The forward pass layer by layer: what each layer receives, and what it makes of the reference's own activations."""

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from birdplane_keras.parity.core.records import Layers
from birdplane_keras.parity.core.tolerances import ROUNDING
from birdplane_keras.parity.matching.ledger import ROOT, LayerMatch
from birdplane_keras.parity.sides.arrays import to_numpy
from birdplane_keras.parity.sides.keras_run import KerasRun, call
from birdplane_keras.parity.sides.nudging import Nudge, RoundOtherwise, through
from birdplane_keras.parity.sides.torch_run import TorchRun

Heard = tuple[tuple[Any, ...], Any]  # what a layer was given, by position, and what it returned


def compare_layers(
    matches: Sequence[LayerMatch],
    port: KerasRun,
    reference: TorchRun,
    copies: Sequence[Callable[[], TorchRun]],
    rows: np.ndarray,
    half: torch.dtype | None = None,
) -> Layers:
    """Compares every matched layer, in the order in which the reference calls them.

    Each gets a row for what it receives in its own model, and one for what it returns alone, when it is given what the
    reference's layer received. A layer that takes or returns something else than tensors is left to those around it.

    Args:
        matches: Which layer is which.
        port: A run at its start.
        reference: Likewise.
        copies: Make copies of the reference, which round otherwise; one after the other, as each has all its weights.
        rows: (B,) numbers of the batch's examples.
        half: The half type in which the port computes, beside a reference that does not.
    """
    theirs = record_torch(reference, matches, rows)
    draws = []
    for make in copies:
        with contextlib.suppress(Exception):  # whatever a module raises that cannot run in float64
            draws.append(record_torch(make(), matches, rows))
    ours = record_keras(port, {match.name: match.layer for match in matches}, rows)
    compared: list[dict[str, Any]] = []
    before = "the inputs"
    order = list(theirs)
    for match in sorted((m for m in matches if m.name in theirs), key=lambda m: order.index(m.name)):
        label = f"{match.name} ({type(match.module).__name__}, {match.layer.name} in Keras)"
        received = [received_by(match, heard.get(match.name)) for heard in (theirs, *draws)]
        mine = first_array(ours.get(match.name, ((), None))[0])
        between = None
        if mine is not None and received[0] is not None:
            between = compare_activations(mine, received, f"what {label} receives, made after {before}")
            compared += [] if between is None else [between | {"name": before, "at": match.name, "kind": "between"}]
        row = compare_alone(match, theirs[match.name], label, half)
        compared += [] if row is None else [row | {"name": match.name, "at": match.name, "kind": "alone"}]
        if between is not None:  # else what lies before this layer was not seen, and may be what differs
            before = match.name
    wrong = next((row for row in compared if not row["passed"]), None)
    if wrong is None:
        return Layers(rows=compared, first=before, text=f"what comes after {before}: every layer up to it is right")
    return Layers(rows=compared, first=wrong["name"], text=wrong["text"])


def record_torch(run: TorchRun, matches: Sequence[LayerMatch], rows: np.ndarray) -> dict[str, Heard]:
    """Returns module name -> its first call in a training-mode forward pass, in the order of the calls."""
    run.set_training()
    calls: dict[str, Heard] = {}
    modules = {match.name: run.module.get_submodule("" if match.name == ROOT else match.name) for match in matches}
    hooks = [module.register_forward_hook(hear(calls, name)) for name, module in modules.items()]
    try:
        with torch.no_grad(), run.rounded(), run.patched():
            run.forward(rows)
    finally:
        for hook in hooks:
            hook.remove()
    return calls


def record_keras(run: KerasRun, layers: Mapping[str, Any], rows: np.ndarray) -> dict[str, Heard]:
    """Returns name -> that Keras layer's first call in a training-mode forward pass, in the order of the calls."""
    host = run.host
    host.activate(run)
    before = host.save()
    calls: dict[str, Heard] = {}
    hooks = [layer.register_forward_hook(hear(calls, name)) for name, layer in layers.items()]
    try:
        with torch.no_grad():
            call(host.model, host.examples.take(rows)[0], host.training)
    finally:
        for hook in hooks:
            hook.remove()
        host.restore(before)
    return calls


def hear(calls: dict[str, Heard], name: str) -> Callable[..., None]:
    """Returns a forward hook that notes the first call."""

    def hook(module: Any, args: tuple[Any, ...], output: Any) -> None:
        if name not in calls and args:
            calls[name] = (args, output)

    return hook


def first_array(args: tuple[Any, ...]) -> np.ndarray | None:
    """Returns the first argument of a call as an array, if it is a tensor or an array."""
    if not args:
        return None
    if isinstance(args[0], torch.Tensor):
        return to_numpy(args[0])
    return args[0] if isinstance(args[0], np.ndarray) else None


def received_by(match: LayerMatch, heard: Heard | None) -> np.ndarray | None:
    """Returns what a PyTorch layer received, in the layout of the Keras layer; `None` for what is no tensor."""
    value = None if heard is None else first_array(heard[0])
    return value if value is None or match.kind is None else match.kind.received(match.placed, value)


def compare_alone(match: LayerMatch, heard: Heard, label: str, half: torch.dtype | None) -> dict[str, Any] | None:
    """Compares what the two layers make of the reference's activations; `None` where they cannot be called alone."""
    args, output = heard
    kind, module, placed = match.kind, match.module, match.placed
    tensors = all(isinstance(value, torch.Tensor) for value in args)
    if kind is None or kind.call is None or not tensors or not kind.alone(match.layer, module):
        return None

    def turn(given: Any) -> torch.Tensor:
        array = kind.received(placed, to_numpy(given))
        return torch.as_tensor(np.ascontiguousarray(array)).to(given.device)

    try:
        made = [kind.main_output(placed, output)]
        for rounded, given in rounded_otherwise(module, args, half):
            with torch.no_grad(), contextlib.suppress(Exception):  # likewise
                made.append(kind.main_output(placed, rounded(*given)))
        with torch.no_grad():
            ours = kind.call(placed, args, turn)
    except Exception as error:  # whatever a layer of somebody's own raises when it is called out of its place
        text = f"{label} could not be called alone: {error}".splitlines()[0]
        return {"passed": True, "max_abs_difference": None, "tolerance": None, "text": text}
    expected = [kind.returned(placed, to_numpy(value)) for value in made]
    mine = first_array((ours[0] if isinstance(ours, tuple | list) else ours,))
    return (
        None if mine is None else compare_activations(mine, expected, f"{label} alone, on the reference's activations")
    )


def rounded_otherwise(
    module: nn.Module, args: Sequence[torch.Tensor], half: torch.dtype | None
) -> Iterator[tuple[Callable[..., Any], list[Any]]]:
    """Yields copies of a layer, with what it is given: every number moved by one ULP, all in float64, and in half."""
    nudge = Nudge(0, max(given.numel() for given in args), args[0].device)
    moved = copy.deepcopy(module)
    with torch.no_grad():
        for weight in moved.parameters():
            if weight.is_floating_point():
                weight.copy_(nudge(weight))
    yield moved, [nudge(given) if given.is_floating_point() else given for given in args]
    yield copy.deepcopy(module).double(), [given.double() if given.is_floating_point() else given for given in args]
    if half is not None:
        for weight in moved.parameters():
            weight.data = through(half, weight.data)

        def in_half(*given: Any) -> Any:
            with RoundOtherwise(nudge, half):
                return moved(*given)

        yield in_half, [through(half, given) if given.is_floating_point() else given for given in args]


def compare_activations(ours: np.ndarray, theirs: Sequence[np.ndarray | None], subject: str) -> dict[str, Any] | None:
    """Compares activations with the reference's, allowing a multiple of its own rounding; `None` for other shapes."""
    expected = theirs[0]
    if expected is None or ours.shape != expected.shape:
        return None
    wide = expected.astype(np.float64)
    floor = float(np.abs(wide).max(initial=0.0)) * float(np.finfo(np.float32).eps)
    drawn = [draw for draw in theirs[1:] if draw is not None and draw.shape == wide.shape]
    noise = max([floor, *(float(np.abs(wide - draw).max(initial=0.0)) for draw in drawn)])
    tolerance = ROUNDING.factor * noise
    difference = float(np.abs(wide - ours).max(initial=0.0))
    return {
        "passed": bool(difference <= tolerance),
        "max_abs_difference": difference,
        "tolerance": tolerance,
        "text": f"{subject}: {difference:.2g} apart, {tolerance:.2g} allowed",
    }

"""`structure`: an output that is missing or has another shape, and calls of Dropout that differ."""

from collections.abc import Iterator, Sequence

import numpy as np

from birdplane_keras.parity.causes.case import Case
from birdplane_keras.parity.causes.reading import read_off
from birdplane_keras.parity.core.finding import Finding
from birdplane_keras.parity.core.records import Outline


def read_structure(case: Case) -> Iterator[Finding]:
    """Reads what differs between the two outlines."""
    yield from in_structure(case.failed.code, case.failed.reason, *case.bench.outlines())


def in_structure(code: str, told: str, keras: Outline, torch: Outline) -> Iterator[Finding]:
    """Reads the cause of a check's code; `told` is the evidence, its reason."""
    if code == "missing_output":
        missing, more = (
            [name for name in there.outputs if name not in here.outputs]
            for here, there in ((keras, torch), (torch, keras))
        )
        text = f"the port does not return {', '.join(missing)}" if missing else ""
        text += " and " if missing and more else ""
        text += f"the port returns {', '.join(more)}, which the reference does not" if more else ""
        yield read_off("missing_output", "structure", text, told, "return the outputs that the reference returns")
    elif code == "output_shape":
        name = next(name for name, shape in torch.outputs.items() if keras.outputs[name] != shape)
        yield in_shapes(told, keras.outputs[name], torch.outputs[name])
    elif code == "dropout_rate":
        yield in_rates([call.rate for call in keras.dropouts], [call.rate for call in torch.dropouts])
    elif code == "dropout_mask":
        yield in_masks(keras, torch)


def in_shapes(told: str, ours: Sequence[int], theirs: Sequence[int]) -> Finding:
    """Outputs of other shapes: another layout, or another number of them."""
    if len(theirs) > 2 and list(ours) == [theirs[0], *theirs[2:], theirs[1]]:
        text, fix = "the port's outputs have the channels at the end", "Pair(outputs_to_keras=channels_last)"
    elif np.prod(ours) == np.prod(theirs):
        text = "the port's outputs have another shape"
        fix = f"keras.layers.Reshape({tuple(theirs[1:])}) in the port; or, if it is meant so, "
        fix += f"Pair(outputs_to_keras=lambda outputs: outputs.reshape({(-1, *ours[1:])}))"
    else:
        text, fix = "the port has another number of outputs", "give its last layer as many units as the reference's"
    return read_off("output_shape", "structure", text, told, fix)


def in_rates(ours: Sequence[float], theirs: Sequence[float]) -> Finding:
    """Rates of Dropout that differ, or the share to keep for the share to drop."""
    told = [[round(rate, 6) for rate in rates] for rates in (ours, theirs)]
    swapped = len(ours) == len(theirs) and all(abs(a + b - 1) < 1e-6 for a, b in zip(ours, theirs, strict=True))
    if swapped:
        text = "the port gives Dropout the share to keep; Keras and PyTorch both take the share to drop"
    else:
        text = "the rates of Dropout differ"
    differing = [yours for mine, yours in zip(*told, strict=False) if mine != yours]
    fixes = [f"keras.layers.Dropout({rate})" for rate in dict.fromkeys(differing)]
    if len(ours) != len(theirs):
        fixes = [f"Dropout in the places and with the rates of the reference: {told[1]}, the port has {told[0]}"]
    evidence = f"rates {told[0]} in Keras, {told[1]} in PyTorch, in the order of the calls"
    return read_off("dropout_rate", "structure", text, evidence, fixes)


def in_masks(keras: Outline, torch: Outline) -> Finding:
    """Dropout of single numbers on one side, of whole channels on the other."""
    calls = enumerate(zip(keras.dropouts, torch.dropouts, strict=True))
    index, (ours, theirs) = next((i, pair) for i, pair in calls if pair[0].entries != pair[1].entries)
    channels = theirs.entries < ours.entries
    text = (
        "the port drops single numbers, the reference whole channels"
        if channels
        else "the port drops whole channels, the reference single numbers"
    )
    rate = round(theirs.rate, 6)
    fix = f"keras.layers.SpatialDropout1D, 2D or 3D({rate})" if channels else f"keras.layers.Dropout({rate})"
    evidence = f"call {index + 1} draws {ours.entries} times for an example in Keras, {theirs.entries} times in PyTorch"
    return read_off("dropout_mask", "structure", text, evidence, fix)

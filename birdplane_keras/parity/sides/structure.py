"""`structure`: what the first numbers cannot show. Rates of Dropout, and the names and shapes of the outputs."""

from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from birdplane_keras.parity.core.compare import Check
from birdplane_keras.parity.core.rungs import exact_check
from birdplane_keras.parity.sides.torch_run import DROPOUTS

KERAS_DROPOUTS = ("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "AlphaDropout")


class DropoutRates(TorchFunctionMode):
    """Notes the rate of every call of `torch.nn.functional.dropout` and its kin."""

    def __init__(self) -> None:
        super().__init__()
        self.rates: list[float] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in DROPOUTS and (args or "input" in kwargs):
            rate = kwargs.get("p", args[1] if len(args) > 1 else 0.5)
            if rate:
                self.rates.append(float(rate))
            return args[0] if args else kwargs["input"]
        return func(*args, **kwargs)


def compare_structure(bench: Any) -> Check:
    """`structure`: the outputs by name and shape, and the rates of Dropout in the order of the layers."""
    rows = bench.plan(1)[0]
    run = bench.reference()
    noted = DropoutRates()
    run.module.train()
    run.rewrites = []
    with torch.no_grad(), noted:
        run.forward(rows)
    theirs = {name: value.shape for name, value in bench.reference().predict(run.examples.take(rows)[0]).items()}
    ours = {name: value.shape for name, value in bench.keras.predict(bench.keras.examples.take(rows)[0]).items()}
    if list(ours) != list(theirs):
        for side, names, others in (("Keras", ours, theirs), ("PyTorch", theirs, ours)):
            missing = [name for name in others if name not in names]
            if missing:
                reason = f"{missing[0]} is missing in {side}: {list(ours)} in Keras, {list(theirs)} in PyTorch"
                return Check(name="structure", passed=False, reason=reason, where={"tensor": missing[0]})
    for name, shape in theirs.items():
        if ours[name] != shape:
            reason = f"{name} has shape {ours[name]} in Keras, {shape} in PyTorch"
            where = {"tensor": name, "keras_shape": list(ours[name]), "torch_shape": list(shape)}
            return Check(name="structure", passed=False, reason=reason, where=where)
    rates = keras_rates(bench.pair.keras_model, bench.keras)
    if [round(rate, 7) for rate in rates] != [round(rate, 7) for rate in noted.rates]:
        reason = f"Dropout rates {rates} in Keras, {noted.rates} in PyTorch (both are the share that is dropped)"
        where = {"tensor": "dropout", "keras": rates, "torch": noted.rates}
        return Check(name="structure", passed=False, reason=reason, where=where)
    return exact_check("structure", f"outputs {theirs}; Dropout rates {rates}")


def keras_rates(model: Any, run: Any) -> list[float]:
    """Returns the rates of the Dropout layers, in their order, that are not zero."""
    known = {id(layer): rate for layer, name, rate in run._rates if name == "rate"}
    return [
        known[id(layer)]
        for layer in model._flatten_layers()
        if type(layer).__name__ in KERAS_DROPOUTS and known.get(id(layer))
    ]

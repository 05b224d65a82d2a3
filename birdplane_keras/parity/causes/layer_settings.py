"""Settings of matched layers that differ, read from the two objects, each as a change of the reference."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from birdplane_keras.parity.causes.case import Case
from birdplane_keras.parity.causes.hypothesis import Hypothesis, Repair, advise, enumerate_names, together
from birdplane_keras.parity.kinds.kind import Setting
from birdplane_keras.parity.kinds.registry import differing_settings
from birdplane_keras.parity.matching.ledger import ROOT, LayerMatch
from birdplane_keras.parity.sides.keras_host import KerasHost
from birdplane_keras.parity.sides.torch_run import TorchRun

Found = tuple[LayerMatch, Setting]
PRECISION = "precision"


def suppose_settings(case: Case) -> list[Hypothesis]:
    """Returns a hypothesis for each setting that differs, in all layers at once; one for all; one for each layer."""
    groups: dict[tuple[Any, ...], list[Found]] = {}
    for match in case.bench.matching.layers:
        if match.kind is not None:
            for setting in differing_settings(match.kind, match.layer, match.module):
                if setting.cause == PRECISION and case.climb.rounded:  # it is expected, and its rounding allowed for
                    continue
                key = (setting.cause, setting.what, setting.ours, setting.theirs, setting.fix)
                groups.setdefault(key, []).append((match, setting))
    grouped = [suppose(found) for found in groups.values()]
    causes = dict.fromkeys(hypothesis.cause for hypothesis in grouped)
    alike = [[hypothesis for hypothesis in grouped if hypothesis.cause == cause] for cause in causes]
    joined = [together(same) for same in alike if len(same) > 1]
    if len(causes) > 1:
        joined.append(together(grouped))
    single = [suppose([one]) for found in groups.values() if len(found) > 1 for one in found]
    return [*grouped, *joined, *single]


def suppose(found: Sequence[Found]) -> Hypothesis:
    """Returns the hypothesis that a setting differs in some layers."""
    setting = found[0][1]

    def change(run: TorchRun) -> None:
        for match, one in found:
            one.edit(get(run, match.name))

    layers, names = ([match.layer.name for match, _ in found], [match.name for match, _ in found])
    return Hypothesis(
        cause=setting.cause,
        text=f"{setting.what} is {setting.ours} in {enumerate_names(layers)}, {setting.theirs} in "
        f"{enumerate_names(names)}",
        advice=advise(f"{enumerate_names(layers)}: {setting.fix}", repair_all(found)),
        evidence="read from both layers",
        layers=names,
        coarse=setting.coarse,
        change=change,
    )


def repair_all(found: Sequence[Found]) -> Repair | None:
    """Returns what gives the reference's setting to all these layers, `None` where one of them cannot be given it."""
    repairs = [(match.layer, setting.repair) for match, setting in found]
    if any(repair is None for _, repair in repairs):
        return None

    def repair_layers(host: KerasHost) -> AbstractContextManager[None]:
        return host.together([repair(layer) for layer, repair in repairs if repair is not None])

    return repair_layers


def get(run: TorchRun, name: str) -> nn.Module:
    """Returns a module of a run by the name that the matching gave it."""
    return run.module.get_submodule("" if name == ROOT else name)


def round_outputs(run: TorchRun, places: Sequence[str], dtype: torch.dtype) -> None:
    """Rounds what some modules return to another type."""

    def hook(module: nn.Module, args: Any, output: Any) -> Any:
        return output.to(dtype).to(output.dtype) if isinstance(output, torch.Tensor) else output

    for place in places:
        get(run, place).register_forward_hook(hook)


def suppose_precision(case: Case) -> list[Hypothesis]:
    """Returns the hypotheses that a layer, or all of them, computes in half precision; not where that is expected."""
    if case.climb.rounded:
        return []
    names = [match.name for match in case.bench.matching.layers]
    modules = case.pair.torch_module.named_modules()
    others = [name for name, module in modules if name and not list(module.children()) and name not in names]
    found = []
    for dtype in (torch.float16, torch.bfloat16):
        for places in ([*names, *others], *([name] for name in [*names, *others])):
            where = "every layer" if len(places) > 1 else places[0]
            found.append(
                Hypothesis(
                    cause=PRECISION,
                    coarse=True,
                    text=f"the output of {where} goes through {str(dtype).removeprefix('torch.')} in the port",
                    advice=advise(
                        'keras.config.set_dtype_policy("float32"), and no ops.cast to a half type between layers'
                    ),
                    layers=places if len(places) == 1 else (),
                    change=lambda run, places=places, dtype=dtype: round_outputs(run, places, dtype),
                )
            )
    return found

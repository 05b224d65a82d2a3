"""`forward` and `loss`: places that the layers of one side leave out, by a mask that Keras hands from layer to layer.

No operation of the reference is the port's mask, so it is the port that is changed: without its masks, or with them.
"""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import keras

from birdplane_keras.parity.causes.advice import Advised, breaks_later, first_apart, repaired
from birdplane_keras.parity.causes.case import Case
from birdplane_keras.parity.causes.hypothesis import advise
from birdplane_keras.parity.core.finding import Finding, Fix
from birdplane_keras.parity.kinds.repairing import attributes_set
from birdplane_keras.parity.private_keras import layers_of, recorded_masks
from birdplane_keras.parity.sides.keras_host import KerasHost

MASKED = ("forward", "loss")  # the rungs at which a mask shows
MOST_LAYERS = 8  # that are changed each on its own


@dataclass(frozen=True, kw_only=True)
class Masking:
    """A layer of the port that makes a mask, or could, and what it is to do in place of that.

    Args:
        text: The mistake in a sentence.
        fix: In code.
        change: Within it, the layer does so.
    """

    text: str
    fix: str
    change: Callable[[], AbstractContextManager[None]]

    def advised(self, rung: str) -> Advised:
        """Returns it as a cause that explains a rung."""
        advice = advise(self.fix, lambda _: self.change())
        return Advised(cause="mask", rung=rung, text=self.text, evidence="", advice=advice)


def read_masks(case: Case) -> list[Finding]:
    """Returns the layers whose masks keep the port from the reference, or that it lacks; nothing where none does."""
    if case.rung not in MASKED or case.bench.host.plugin is not None:
        return []
    for maskings in candidates(case.pair.keras_model):
        helped = None if case.budget.spent else reached(case, maskings)
        if helped is not None:
            return reported(case, needed(case, maskings, helped), helped)
    return []


def candidates(model: Any) -> Iterator[Sequence[Masking]]:
    """Yields what may be changed at once: no layer makes a mask, each embedding makes one; then each on its own."""
    layers = layers_of(model)
    for maskings in ([m for m in map(dropped, layers) if m], [m for m in map(added, layers) if m]):
        if maskings:
            yield maskings
        if len(maskings) > 1:
            yield from ([masking] for masking in maskings[:MOST_LAYERS])


def reached(case: Case, maskings: Sequence[Masking]) -> bool | None:
    """Returns whether the port then passes the rung; `None` where it does not even agree up to a later layer."""
    passed = False

    def helps() -> bool:
        nonlocal passed
        apart = first_apart(case)
        passed = apart is None
        return passed or (apart == case.rung == "forward" and breaks_later(case))

    return passed if repaired(case, [masking.advised(case.rung) for masking in maskings], helps) else None


def needed(case: Case, maskings: Sequence[Masking], helped: bool) -> Sequence[Masking]:
    """Returns the changes without which the port does not get as far."""
    kept = list(maskings)
    for masking in maskings:
        rest = [other for other in kept if other is not masking]
        if rest and not case.budget.spent and reached(case, rest) in (True, helped):
            kept = rest
    return kept


def reported(case: Case, maskings: Sequence[Masking], passed: bool) -> list[Finding]:
    """Returns what is reported of layers that are changed at once; the first holds how to change all of them."""
    reach = f"passes {case.rung}" if passed else "agrees with the reference up to a later layer, so more differs"

    def change() -> AbstractContextManager[None]:
        return KerasHost.together(masking.change() for masking in maskings)

    return [
        Finding(
            cause="mask",
            rung=case.rung,
            text=masking.text,
            evidence=f"with the advised change the port {reach}",
            fixes=[Fix(text=masking.fix, tried=True)],
            proved=passed,
            repaired=None if number else change,
        )
        for number, masking in enumerate(maskings)
    ]


def dropped(layer: Any) -> Masking | None:
    """Returns that a layer that makes a mask is to make none; `None` where it makes none."""
    if isinstance(layer, keras.layers.Masking):
        text, fix = f"the port leaves out what {layer.name} masks; the reference does not", f"leave out {layer.name}"
    elif isinstance(layer, keras.layers.Embedding) and layer.mask_zero:
        text = f"the port leaves out what {layer.name} masks (mask_zero=True); the reference does not"
        fix = f"{layer.name}: mask_zero=False"
    else:
        return None
    return Masking(text=text, fix=fix, change=lambda: nothing_masked(layer))


def added(layer: Any) -> Masking | None:
    """Returns that an embedding without a mask is to make one; `None` for all other layers."""
    if not isinstance(layer, keras.layers.Embedding) or layer.mask_zero:
        return None
    return Masking(
        text=f"the reference leaves out the padding (token 0); the port does not, as {layer.name} makes no mask",
        fix=f"{layer.name}: mask_zero=True",
        change=lambda: zero_masked(layer),
    )


@contextlib.contextmanager
def nothing_masked(layer: Any) -> Iterator[None]:
    """Within it, a layer makes no mask, and what a functional model has recorded of its masks leaves nothing out."""
    none: dict[str, Any] = {"compute_mask": lambda inputs, previous_mask=None: None}
    if isinstance(layer, keras.layers.Masking):
        none["call"] = lambda inputs: inputs
    recorded = [attributes_set(each, call=nothing_out(each.call)) for each in recorded_masks(layer)]
    with KerasHost.together([attributes_set(layer, **none), *recorded]):
        yield


def nothing_out(made: Callable[..., Any]) -> Callable[..., Any]:
    """Returns what makes a mask of the same shape that leaves nothing out."""
    return lambda *args, **kwargs: keras.ops.ones_like(made(*args, **kwargs))


@contextlib.contextmanager
def zero_masked(layer: Any) -> Iterator[None]:
    """Within it, an embedding masks the token 0; Keras does not warn of the layers that its mask does not get past."""
    before = layer.supports_masking
    layer.supports_masking = True
    try:
        with attributes_set(layer, mask_zero=True), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".* was passed an input with a mask attached to it")
            yield
    finally:
        layer.supports_masking = before

"""`forward` and `loss`: places that the layers of one side leave out, by a mask that Keras hands from layer to layer.

No operation of the reference is the port's mask, so it is the port that is changed: without its masks, or with them.
"""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import keras

from birdplane_keras.parity.causes.advice import Advised, breaks_later, first_apart, try_advice
from birdplane_keras.parity.causes.case import Case
from birdplane_keras.parity.causes.hypothesis import advise
from birdplane_keras.parity.core.finding import Finding
from birdplane_keras.parity.kinds.repairing import attributes_set
from birdplane_keras.parity.private_keras import layers_of, recorded_masks

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
        evidence = "with the advised change the port agrees with the reference there, or up to a later layer"
        advice = advise(self.fix, lambda _: self.change())
        return Advised(cause="mask", rung=rung, text=self.text, evidence=evidence, advice=advice)


def read_masks(case: Case) -> list[Finding]:
    """Returns the layers whose masks keep the port from the reference, or that it lacks; nothing where none does."""
    if case.rung not in MASKED:
        return []
    for maskings in candidates(case):
        found = [] if case.budget.spent else tried(case, maskings)
        if found:
            return found
    return []


def candidates(case: Case) -> Iterator[Sequence[Masking]]:
    """Yields what may be changed at once: no layer makes a mask, each embedding makes one; then each on its own."""
    model = case.pair.keras_model
    layers = layers_of(model)
    for maskings in ([m for layer in layers if (m := without(model, layer))], [m for m in map(within, layers) if m]):
        if maskings:
            yield maskings
        if len(maskings) > 1:
            yield from ([masking] for masking in maskings[:MOST_LAYERS])


def tried(case: Case, maskings: Sequence[Masking]) -> list[Finding]:
    """Returns what is reported of layers that are changed at once; nothing where that does not help."""
    passed = False

    def helps() -> bool:
        nonlocal passed
        apart = first_apart(case)
        passed = apart is None
        return passed or (apart == case.rung == "forward" and breaks_later(case))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras warns of layers that a mask on trial does not get past
        found = try_advice(case, [masking.advised(case.rung) for masking in maskings], helps)
    by_text = {masking.text: masking.change for masking in maskings}
    return [
        replace(finding, proved=passed, repaired=by_text[finding.text])
        for finding in found
        if all(fix.tried for fix in finding.fixes)
    ]


def without(model: Any, layer: Any) -> Masking | None:
    """Returns that a layer of the port that makes a mask is to leave nothing out; `None` where it makes none."""
    if isinstance(layer, keras.layers.Masking):
        text, fix = f"the port leaves out what {layer.name} masks; the reference does not", f"leave out {layer.name}"
    elif isinstance(layer, keras.layers.Embedding) and layer.mask_zero:
        text = f"the port leaves out what {layer.name} masks (mask_zero=True); the reference does not"
        fix = f"{layer.name}: mask_zero=False"
    else:
        return None
    return Masking(text=text, fix=fix, change=lambda: nothing_masked(model, layer))


def within(layer: Any) -> Masking | None:
    """Returns that an embedding without a mask is to make one; `None` for all other layers."""
    if not isinstance(layer, keras.layers.Embedding) or layer.mask_zero:
        return None
    return Masking(
        text=f"the reference leaves out the padding (token 0); the port does not, as {layer.name} makes no mask",
        fix=f"{layer.name}: mask_zero=True",
        change=lambda: zero_masked(layer),
    )


@contextlib.contextmanager
def nothing_masked(model: Any, layer: Any) -> Iterator[None]:
    """Within it, a layer makes no mask, and what a functional model has recorded of its masks leaves nothing out."""
    none: dict[str, Any] = {"compute_mask": lambda inputs, previous_mask=None: None}
    if isinstance(layer, keras.layers.Masking):
        none["call"] = lambda inputs: inputs
    with contextlib.ExitStack() as stack:
        stack.enter_context(attributes_set(layer, **none))
        for operation in recorded_masks(model, layer):
            stack.enter_context(attributes_set(operation, call=lambda x1, x2: keras.ops.ones_like(x1, dtype="bool")))
        yield


@contextlib.contextmanager
def zero_masked(layer: Any) -> Iterator[None]:
    """Within it, an embedding masks the token 0."""
    before = layer.supports_masking
    layer.supports_masking = True
    try:
        with attributes_set(layer, mask_zero=True):
            yield
    finally:
        layer.supports_masking = before


@contextlib.contextmanager
def all_repaired(found: Sequence[Finding]) -> Iterator[None]:
    """Within it, the port is without the mistakes that some findings can repair."""
    with contextlib.ExitStack() as stack:
        for finding in found:
            if finding.repaired is not None:
                stack.enter_context(finding.repaired())
        yield

"""What the kinds of normalisation share: a weight for each feature, of a vector or of a whole map, and an epsilon."""

from collections.abc import Iterator
from typing import Any

from birdplane_keras.parity.kinds import layouts
from birdplane_keras.parity.kinds.kind import (
    FeatureOrder,
    KerasUnit,
    Rule,
    Setting,
    TorchUnit,
    set_attribute,
    simple_rules,
)
from birdplane_keras.parity.kinds.layouts import Turn
from birdplane_keras.parity.kinds.repairing import setting


def feature_rules(ours: KerasUnit, theirs: TorchUnit, order: FeatureOrder) -> list[Rule]:
    """Returns the rules of scale, offset and moving statistics."""
    turn = feature_turn(ours, order)
    parts = {
        "gamma": ("weight", turn),
        "scale": ("weight", turn),
        "beta": ("bias", turn),
        "moving_mean": ("running_mean", turn),
        "moving_variance": ("running_var", turn),
    }
    return simple_rules(ours, theirs, parts)


def feature_turn(ours: KerasUnit, order: FeatureOrder) -> Turn:
    """Returns the turn of a weight with one entry for each feature, of a vector or of a whole feature map."""
    shape = tuple(next(iter(ours.variables.values())).shape) if ours.variables else ()
    if len(shape) > 1:
        return layouts.channels_moved_first(len(shape)) if order.channels == "last" else layouts.as_is()
    return layouts.reordered(order.outputs if order.inputs is None else order.inputs, 0)


def epsilon(layer: Any, module: Any) -> Iterator[Setting]:
    """Yields the epsilon, if it differs."""
    theirs = module.eps
    if theirs is not None and abs(layer.epsilon - theirs) > 1e-12:
        yield Setting(
            cause="epsilon",
            what="epsilon",
            ours=f"{layer.epsilon:g}",
            theirs=f"{theirs:g}",
            fix=f"keras.layers.{type(layer).__name__}(epsilon={theirs:g})",
            edit=set_attribute("eps", layer.epsilon),
            repair=setting(epsilon=theirs),
        )

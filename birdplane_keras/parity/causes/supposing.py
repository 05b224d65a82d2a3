"""Asks the registered sources for what may explain a rung."""

from collections.abc import Callable, Iterable
from typing import Any

from birdplane_keras.errors import BirdplaneError, first_line
from birdplane_keras.parity.causes import registry
from birdplane_keras.parity.causes.case import Case
from birdplane_keras.parity.causes.hypothesis import Hypothesis
from birdplane_keras.parity.core.records import UPDATES


def asked(source: Callable[[Case], Iterable[Any]], case: Case) -> list[Any]:
    """Returns what a source yields: one that fails on these models is named in a note, and takes no verdict with it."""
    try:
        return list(source(case))
    except BirdplaneError:
        raise
    except Exception as error:
        case.untried.append(f"{source.__name__} could not be asked for causes: {first_line(error)}")
        return []


def suppose(case: Case) -> list[Hypothesis]:
    """Returns the hypotheses for the rung, the likeliest first: those about the layer that differs before others."""
    asked_of = [source for source in registry.HYPOTHESES if case.pair.trains or source.rungs != UPDATES]
    sources = [source.suppose for source in asked_of if case.rung in source.rungs]
    found = [hypothesis for source in sources for hypothesis in asked(source, case)]
    place = case.failed.place
    layer = None if place is None else place.layer
    return sorted(found, key=lambda hypothesis: layer not in hypothesis.layers) if layer else found

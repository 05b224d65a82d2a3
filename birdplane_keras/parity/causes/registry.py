"""Where causes are looked for, by rung: what reads them off comes first, then hypotheses, the likeliest first."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from birdplane_keras.parity.causes import (
    activations,
    clipping,
    counts,
    feeding,
    gradients,
    layer_order,
    layer_settings,
    losses,
    modes,
    optimizer_settings,
    outlines,
    outputs,
    penalties,
    pooling,
    statistics,
    targets,
    updates,
    weights,
)
from birdplane_keras.parity.causes.case import Case
from birdplane_keras.parity.causes.hypothesis import Hypothesis
from birdplane_keras.parity.core.finding import Finding
from birdplane_keras.parity.core.records import UPDATES


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Reads causes of some rungs off what was measured; what it finds is certain."""

    rungs: tuple[str, ...]
    read: Callable[[Case], Iterable[Finding]]


@dataclass(frozen=True, kw_only=True)
class Source:
    """Supposes mistakes that explain some rungs; each is tried on the reference."""

    rungs: tuple[str, ...]
    suppose: Callable[[Case], Iterable[Hypothesis]]


READERS: list[Reader] = [
    Reader(rungs=("data",), read=feeding.read_data),
    Reader(rungs=("batch_order",), read=feeding.read_batches),
    Reader(rungs=("structure",), read=outlines.read_structure),
    Reader(rungs=("parameter_counts",), read=counts.read_counts),
    Reader(rungs=("initial_weights",), read=weights.read_weights),
    Reader(rungs=("initialisation",), read=weights.read_distributions),
    Reader(rungs=("evaluation",), read=statistics.read_randomness),
]

HYPOTHESES: list[Source] = [
    Source(rungs=("forward", "evaluation"), suppose=layer_settings.suppose_settings),
    Source(rungs=("forward",), suppose=activations.suppose_activations),
    Source(rungs=("forward",), suppose=outputs.suppose_outputs),
    Source(rungs=("forward",), suppose=pooling.suppose_pooling),
    Source(rungs=("forward",), suppose=layer_order.suppose_order),
    Source(rungs=("forward",), suppose=layer_order.suppose_inputs),
    Source(rungs=("forward",), suppose=modes.suppose_modes),
    Source(rungs=("forward",), suppose=layer_settings.suppose_precision),
    Source(rungs=("loss",), suppose=losses.suppose_reductions),
    Source(rungs=("loss",), suppose=losses.suppose_logits),
    Source(rungs=("loss",), suppose=targets.suppose_smoothing),
    Source(rungs=("loss",), suppose=targets.suppose_weights),
    Source(rungs=("loss",), suppose=targets.suppose_targets),
    Source(rungs=("loss",), suppose=losses.suppose_functions),
    Source(rungs=("loss",), suppose=penalties.suppose_penalties),
    Source(rungs=("loss",), suppose=losses.suppose_left_out),
    Source(rungs=("loss",), suppose=losses.suppose_scale),
    Source(rungs=("gradients",), suppose=gradients.suppose_gradients),
    Source(rungs=("evaluation",), suppose=statistics.suppose_statistics),
    Source(rungs=UPDATES, suppose=optimizer_settings.suppose_optimizer),
    Source(rungs=UPDATES, suppose=clipping.suppose_clipping),
    Source(rungs=UPDATES, suppose=updates.suppose_rate),
    Source(rungs=UPDATES, suppose=updates.suppose_accumulation),
    Source(rungs=UPDATES, suppose=updates.suppose_schedules),
    Source(rungs=UPDATES, suppose=updates.suppose_biases),
]

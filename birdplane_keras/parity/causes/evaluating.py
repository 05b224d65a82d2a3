"""Where the programs of both sides part as they predict: in evaluation mode, at the start."""

import numpy as np

from birdplane_keras.parity.causes.apart import copies
from birdplane_keras.parity.causes.case import Case
from birdplane_keras.parity.causes.parting import Place, place_of
from birdplane_keras.parity.programs.alignment import measure, part
from birdplane_keras.parity.programs.dispatched import value_of
from birdplane_keras.parity.programs.recorded import record_prediction
from birdplane_keras.parity.sides.examples import take, validation_inputs
from birdplane_keras.parity.sides.steps import GLIMPSED


def place_in_evaluation(case: Case) -> Place | None:
    """Returns where the port's first prediction parts from the reference's; `None` where it does not."""
    few = slice(GLIMPSED)
    inputs = take(validation_inputs(case.pair), few)
    port, ours = record_prediction(case.bench.port(), take(case.bench.host.validation, few))
    reference, theirs = record_prediction(case.changed_run(), inputs)
    noise = measure(reference, copies(case.bench, lambda run: record_prediction(run, inputs)[0], case.changes))
    ends = [[value_of(np.asarray(output)) for output in side.values()] for side in (ours, theirs)]
    found = part(port, reference, noise, (ends[0], ends[1]))
    return None if found is None else place_of(found, port, reference)

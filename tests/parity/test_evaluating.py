"""What a port does otherwise only as it predicts is told by its own line, too."""

import keras
import pytest
from keras import layers, ops
from torch import nn

from birdplane_keras.catalogue.networks import CLASSES, FEATURES, dense, stack, vector_pair
from birdplane_keras.catalogue.registry import CLEAN
from birdplane_keras.parity.causes.apart import copies
from birdplane_keras.parity.causes.evaluating import place_in_evaluation
from birdplane_keras.parity.programs.alignment import measure, part
from birdplane_keras.parity.programs.dispatched import value_of
from birdplane_keras.parity.programs.recorded import record_prediction
from birdplane_keras.parity.sides.bench import PairBench
from birdplane_keras.parity.sides.examples import take, validation_inputs
from birdplane_keras.parity.sides.steps import GLIMPSED
from parity.judging import judged
from parity.middles import WIDTH


class Flagged(layers.Layer):
    """Halves what it makes where it does not train."""

    def call(self, x, training=None):
        return ops.tanh(x) if training else ops.tanh(x) * 0.5


def pair_of(layer, **changes):
    module = nn.Sequential(nn.Linear(FEATURES, WIDTH), nn.Tanh(), nn.Linear(WIDTH, CLASSES))
    model = stack((FEATURES,), [dense(FEATURES, WIDTH), layer, dense(WIDTH, CLASSES)])
    return vector_pair(0, module=module, model=model, initialisation=False, **changes)


def test_a_flag_that_is_read_in_evaluation_is_told_with_its_line():
    (finding,) = judged(pair_of(Flagged())).diagnosis
    assert (finding.cause, finding.rung, finding.proved) == ("unknown", "evaluation", False)
    (line,) = finding.parting["port"]
    assert line.startswith("mul(tanh, other=0.5)")
    assert "at test_evaluating.py:" in line


def test_a_flag_is_told_beside_a_mistake_that_shows_in_training():
    module = nn.Sequential(nn.Linear(FEATURES, WIDTH), nn.LeakyReLU(0.2), nn.Tanh(), nn.Linear(WIDTH, CLASSES))
    model = stack(
        (FEATURES,), [dense(FEATURES, WIDTH), layers.LeakyReLU(negative_slope=0.1), Flagged(), dense(WIDTH, CLASSES)]
    )
    slope, flag = judged(vector_pair(0, module=module, model=model, initialisation=False)).diagnosis
    assert "negative_slope=0.1" in slope.parting["port"][0]
    assert (flag.rung, flag.proved, slope.proved) == ("evaluation", False, False)
    assert flag.parting["port"][0].startswith("mul(tanh, other=0.5)")


@pytest.mark.slow
def test_predictions_that_agree_part_nowhere(monkeypatch):
    """Control: the mistake is in the update, and what is predicted at the start is the same."""
    found = []

    def seen(case):
        found.append(place_in_evaluation(case))
        return

    monkeypatch.setattr("birdplane_keras.parity.causes.walk.find_place", lambda case, port, **_: seen(case))
    judged(pair_of(layers.Activation("tanh"), keras_optimizer=keras.optimizers.SGD(0.02)))
    assert found
    assert set(found) == {None}


def test_rounding_is_measured_as_a_model_predicts():
    """A deep pair whose predictions round otherwise on each side, and part nowhere."""
    pair = next(clean for clean in CLEAN if clean.name == "residual_network").make(0)
    bench = PairBench(pair, 0)
    with bench.host.judged():
        bench.start_weights()
        inputs = take(validation_inputs(pair), slice(GLIMPSED))
        reference, outputs = record_prediction(bench.reference(), inputs)
        port, _ = record_prediction(bench.port(), take(bench.host.validation, slice(GLIMPSED)))
        noise = measure(reference, copies(bench, lambda run: record_prediction(run, inputs)[0]))
        assert noise.any()
        ends = [value_of(output) for output in outputs.values()]
        assert part(port, reference, noise, (ends, ends)) is None

"""What a port does otherwise only as it predicts is told by its own line, too."""

import keras
from keras import layers, ops
from torch import nn

from birdplane_keras.catalogue.networks import CLASSES, FEATURES, dense, stack, vector_pair
from birdplane_keras.parity.causes.evaluating import place_in_evaluation
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


def test_predictions_that_agree_part_nowhere(monkeypatch):
    """Control: the mistake is in the update, and what is predicted at the start is the same."""
    found = []

    def seen(case):
        found.append(place_in_evaluation(case))
        return

    monkeypatch.setattr("birdplane_keras.parity.causes.walk.find_place", lambda case, port: seen(case))
    judged(pair_of(layers.Activation("tanh"), keras_optimizer=keras.optimizers.SGD(0.02)))
    assert found
    assert set(found) == {None}

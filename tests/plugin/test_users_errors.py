"""What the user's own code raises is the user's own error, and leaves behind what stock Keras leaves."""

import keras
import numpy as np
import pytest

from birdplane_keras import torch_plugin
from plugin.networks import CLASSES, COLUMNS, draw, network


def test_the_users_own_mistake_is_the_users_own_error():
    model = network()
    model.compile(optimizer="sgd", loss="mse")
    torch_plugin.attach(model)
    with pytest.raises(ValueError, match="expected axis -1 of input shape"):
        model.fit(draw(8, COLUMNS + 1), draw(8, CLASSES), verbose=0)


class RaisingError(Exception):
    """Of a metric."""


@pytest.mark.parametrize("kind", ["train", "test"])
def test_a_step_whose_metric_raises_was_made_once(kind):
    """Its weights have moved by then, in stock Keras, too: a second try would move them twice."""
    left = []
    for attached in (False, True):

        def metric(y_true, y_pred):
            raise RaisingError(str(float(y_pred.detach().sum())))

        keras.utils.set_random_seed(0)
        model = network()
        model.compile("sgd", "mse")
        model.train_on_batch(draw(8, COLUMNS), draw(8, CLASSES))  # which builds the optimizer
        model.compile(model.optimizer, "mse", metrics=[metric])
        if attached:
            torch_plugin.attach(model)
        for _ in range(2):
            with pytest.raises(RaisingError):
                getattr(model, f"{kind}_on_batch")(draw(8, COLUMNS), draw(8, CLASSES))
        left.append([*model.get_weights(), int(model.optimizer.iterations)])
    for ours, theirs in zip(*left, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)

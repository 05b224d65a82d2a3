"""What the plugin says, and where its warnings point."""

import pytest
import torch

from birdplane_keras import torch_plugin
from birdplane_keras.torch_plugin import TorchPluginWarning
from plugin.networks import CLASSES, COLUMNS, draw, network


def attached(**how):
    model = network()
    model.compile("sgd", "mse")
    return torch_plugin.attach(model, **how)


X, Y = draw(8, COLUMNS), draw(8, CLASSES, seed=1)


def test_a_warning_points_at_the_users_line():
    model = attached()
    with pytest.warns(TorchPluginWarning, match="autocast") as said, torch.autocast("cpu"):
        model.fit(X, Y, verbose=0)
    assert [each.filename for each in said if each.category is TorchPluginWarning] == [__file__]


def test_steps_that_ran_stock_for_a_mode_of_pytorch_are_counted():
    model = attached()
    assert "train: no batch yet." in torch_plugin.explain(model)
    with pytest.warns(TorchPluginWarning, match="autocast"), torch.autocast("cpu"):
        model.fit(X, Y, batch_size=4, verbose=0)
    assert "train: stock path, 2 steps, because `torch.autocast` is on" in torch_plugin.explain(model)
    assert "train: no batch yet." not in torch_plugin.explain(model)


def test_an_account_has_what_tracing_took():
    model = attached(audit="step")
    model.fit(X, Y, batch_size=4, epochs=3, verbose=0)
    told = torch_plugin.explain(model)
    assert "s saved for" in told or "nothing is saved" in told


def test_an_engine_and_a_promise_are_one_too_many():
    with pytest.raises(ValueError, match="expected an engine or a promise, received engine='fused' and promise='bits'"):
        attached(engine="fused", promise="bits")

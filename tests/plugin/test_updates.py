"""Updates of the plugin's own: the bits of Keras' own apply, or one call that rounds otherwise."""

import keras
import numpy as np
import pytest
import torch

from birdplane_keras import torch_equivalents as own
from birdplane_keras import torch_plugin
from birdplane_keras.torch_plugin import TorchPluginError
from birdplane_keras.torch_plugin.updates import keras_rules, ruled
from plugin.networks import COLUMNS, draw, network
from plugin.training import entries

of_keras = keras.optimizers
OPTIMIZERS = {
    "SGD": lambda: of_keras.SGD(0.05),
    "momentum": lambda: of_keras.SGD(0.05, momentum=0.9),
    "Nesterov": lambda: of_keras.SGD(0.05, momentum=0.9, nesterov=True),
    "decay": lambda: of_keras.SGD(0.05, weight_decay=0.01),
    "Adam": lambda: of_keras.Adam(0.01),
    "AMSGrad": lambda: of_keras.Adam(0.01, amsgrad=True),
    "schedule": lambda: of_keras.Adam(of_keras.schedules.ExponentialDecay(0.01, 2, 0.5)),
    "clipped": lambda: of_keras.Adam(0.01, global_clipnorm=0.1),
    "clipped by value": lambda: of_keras.RMSprop(0.01, clipvalue=0.01),
    "average": lambda: of_keras.Adam(0.01, use_ema=True),
    "AdamW": lambda: of_keras.AdamW(0.01, weight_decay=0.1),
    "RMSprop": lambda: of_keras.RMSprop(0.01),
    "centred": lambda: of_keras.RMSprop(0.01, centered=True, momentum=0.5),
    "Adagrad": lambda: of_keras.Adagrad(0.05),
    "PyTorch's SGD": lambda: own.SGD(0.05, momentum=0.9, dampening=0.1, weight_decay=0.01),
    "PyTorch's Nesterov": lambda: own.SGD(0.05, momentum=0.9, nesterov=True),
    "PyTorch's plain SGD": lambda: own.SGD(0.05),
    "PyTorch's Adam": lambda: own.Adam(0.01, weight_decay=0.01),
    "PyTorch's AdamW": lambda: own.AdamW(0.01, groups={"bias": {"weight_decay": 0.0}, "kernel": {"rate_factor": 0.5}}),
    "PyTorch's RMSprop": lambda: own.RMSprop(0.01, momentum=0.5, centered=True),
    "PyTorch's Adagrad": lambda: own.Adagrad(0.05, lr_decay=0.1),
}
BY_KERAS = {
    "accumulated": lambda: of_keras.Adam(0.01, gradient_accumulation_steps=2),
    "scaled": lambda: of_keras.Adam(0.01, loss_scale_factor=128.0),
    "average put in": lambda: of_keras.Adam(0.01, use_ema=True, ema_overwrite_frequency=2),
    "Lion": lambda: of_keras.Lion(0.01),
}


def trained(make, engine: str | None, steps: int = 8, *, frozen: bool = False) -> keras.Model:
    keras.utils.set_random_seed(0)
    model = network()
    if frozen:
        model.trainable_weights[0].value.requires_grad_(False)
    optimizer = make()
    model.compile(optimizer, "mse")
    if isinstance(optimizer, of_keras.AdamW):
        optimizer.exclude_from_weight_decay(var_names=["bias"])
    if engine is not None:
        torch_plugin.attach(model, engine, strict=True, audit="step")
    for step in range(steps):
        model.train_on_batch(draw(8, COLUMNS, seed=step), draw(8, 3, seed=70 + step))
    return model


def left(model: keras.Model) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(each) for each in (*model.weights, *model.optimizer.variables)]


FIRST = {"momentum", "Adam", "schedule", "clipped", "AdamW", "RMSprop", "PyTorch's SGD", "PyTorch's AdamW"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in FIRST)) for name in OPTIMIZERS]
)
def test_exact_ends_in_the_bits_of_keras_own_apply(name, monkeypatch):
    """From the same gradients: where rewrites round, both are attached, and one updates by Keras' own function."""
    attached = trained(OPTIMIZERS[name], "exact")
    assert "own apply" not in torch_plugin.explain(attached)
    monkeypatch.setattr(ruled, "RULES", {})
    monkeypatch.setattr("birdplane_keras.torch_plugin.updates.choice.is_plain_sgd", lambda *_: False)
    by_keras = trained(OPTIMIZERS[name], "exact")
    assert "own apply" in torch_plugin.explain(by_keras)
    for ours, theirs in zip(left(attached), left(by_keras), strict=True):
        assert ours.tobytes() == theirs.tobytes()


@pytest.mark.parametrize("optimizer", ["Adam", "PyTorch's AdamW"])
def test_a_large_weight_is_updated_part_by_part_to_the_same_bits(optimizer, monkeypatch):
    whole = trained(OPTIMIZERS[optimizer], "exact")
    for name, elements in {"ALONE": 16, "LARGE": 16, "PART": 24}.items():
        monkeypatch.setattr(ruled, name, elements)
    calls = []
    in_parts = ruled.in_parts
    monkeypatch.setattr(
        ruled, "in_parts", lambda *each: (part for part in in_parts(*each) if calls.append(part) is None)
    )
    for ours, theirs in zip(left(trained(OPTIMIZERS[optimizer], "exact")), left(whole), strict=True):
        assert ours.tobytes() == theirs.tobytes()
    assert {part[0].numel() for part in calls} == {24}
    assert len(calls) > 2 * 8  # several in each step


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_fused_ends_there_up_to_rounding(name):
    ours, theirs = trained(OPTIMIZERS[name], "fused"), trained(OPTIMIZERS[name], None)
    for one, other in zip(left(ours), left(theirs), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize("name", ["momentum", "Adam", "AdamW", "PyTorch's SGD", "PyTorch's Adam", "PyTorch's AdamW"])
def test_fused_updates_in_one_call(name):
    assert "in one call" in torch_plugin.explain(trained(OPTIMIZERS[name], "fused", steps=1))


@pytest.mark.parametrize("name", BY_KERAS)
def test_what_no_rule_covers_is_updated_by_keras(name):
    ours, theirs = trained(BY_KERAS[name], "fused"), trained(BY_KERAS[name], None)
    assert "own apply" in torch_plugin.explain(ours)
    for one, other in zip(left(ours), left(theirs), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-6)


def test_a_weight_without_a_gradient_stays_as_it_is():
    class Idle(keras.layers.Layer):
        def build(self, shape):
            self.idle = self.add_weight(shape=(3,), name="idle")

        def call(self, x):
            return x

    trained_models = []
    for engine in ("exact", None):
        keras.utils.set_random_seed(0)
        model = network(Idle())
        model.compile(of_keras.Adam(0.01), "mse")
        if engine:
            torch_plugin.attach(model, engine, strict=True, audit="step")
        with pytest.warns(UserWarning, match="Gradients do not exist for variables"):
            model.train_on_batch(draw(8, COLUMNS), draw(8, 3))
        trained_models.append(model)
    for ours, theirs in zip(*map(left, trained_models), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_a_wrong_rule_is_not_taken(monkeypatch):
    """Control: it is tried against Keras' own apply first."""
    rule = keras_rules.adam_rule

    def wrong(optimizer, weights):
        made = rule(optimizer, weights)
        return keras_rules.Rule(
            name=made.name, states=made.states, scalars=lambda: (made.scalars()[0] * 1.001, made.scalars()[1]),
            step=made.step, fused=made.fused,
        )  # fmt: skip

    monkeypatch.setattr(ruled, "RULES", ruled.RULES | {type(of_keras.Adam()): wrong})
    for engine in ("exact", "fused"):
        assert "Adam's own apply" in torch_plugin.explain(trained(OPTIMIZERS["Adam"], engine, steps=1))


def test_a_rule_that_is_right_at_the_first_update_only_is_not_taken(monkeypatch):
    """Control: there, the states are zero."""
    rule = keras_rules.sgd_rule

    def wrong(optimizer, weights):
        made = rule(optimizer, weights)

        def step(values, gradients, states, rate):
            torch._foreach_mul_(states[0], 1.001)
            made.step(values, gradients, states, rate)

        return keras_rules.Rule(name=made.name, states=made.states, scalars=made.scalars, step=step, fused=None)

    monkeypatch.setattr(ruled, "RULES", ruled.RULES | {type(of_keras.SGD()): wrong})
    for engine in ("exact", "fused"):
        assert "SGD's own apply" in torch_plugin.explain(trained(OPTIMIZERS["momentum"], engine, steps=1))


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_a_weight_without_a_gradient_stays_where_others_are_fused(name):
    attached = trained(OPTIMIZERS[name], "fused", frozen=True)
    assert entries(attached, "train")[0].step.has_update
    for ours, theirs in zip(left(attached), left(trained(OPTIMIZERS[name], None, frozen=True)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def of_one_shape(engine: str | None) -> keras.Model:
    """A recurrent layer whose kernel is turned, and a dense one whose kernel has the same shape."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((5, 4)), keras.layers.LSTM(8), keras.layers.Dense(32)])
    model.compile(of_keras.Adam(0.01), "mse")
    if engine is not None:
        torch_plugin.attach(model, engine, strict=True)
    for step in range(8):
        model.train_on_batch(draw(8, 5, 4, seed=step), draw(8, 32, seed=70 + step))
    return model


@pytest.mark.parametrize(("engine", "calls"), [("exact", "its own operations"), ("fused", "one call")])
def test_a_weight_is_updated_as_ever_where_another_of_its_shape_is_turned(engine, calls):
    attached = of_one_shape(engine)
    recurrent = attached.layers[0].cell.recurrent_kernel.value
    assert recurrent.t().is_contiguous()
    assert f"update: Adam, in {calls}" in torch_plugin.explain(attached)
    for ours, theirs in zip(left(attached), left(of_one_shape(None)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-6)


def test_an_audit_sees_an_update_that_went_wrong_later(monkeypatch):
    """Control: a rate that is read no longer is not seen by the guards, and is by the audit."""
    from birdplane_keras.torch_plugin.updates import rule

    model = trained(OPTIMIZERS["RMSprop"], "exact", steps=1)
    assert entries(model, "train")[0].step.has_update
    old = rule.rate_tensor(model.optimizer, torch.float32).clone()
    monkeypatch.setattr(keras_rules, "rate_tensor", lambda *_: old)
    model.optimizer.learning_rate = 0.1
    with pytest.raises(TorchPluginError, match=r"a weight is .* what stock Keras makes of the same gradients"):
        model.train_on_batch(draw(8, COLUMNS), draw(8, 3))

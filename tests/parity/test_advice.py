"""Advice: what is told as tried was made in the port and helped; a mistake is told in as few lines as it has."""

import re

import keras
import pytest
import torch
from keras import layers
from torch import nn

from birdplane_keras import torch_equivalents
from birdplane_keras.catalogue.networks import CLASSES, FEATURES, dense, image_pair, mlp, sgd, stack, vector_pair
from birdplane_keras.parity import check_parity
from birdplane_keras.parity.core.finding import Finding, Fix
from birdplane_keras.parity.core.judge import MATCHES
from parity.judging import judged, norms
from parity.setups_training import SETUPS


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


def test_a_setting_that_can_be_made_is_told_as_tried_and_helps():
    (finding,) = judged(norms(1e-3)).diagnosis
    assert [fix.tried for fix in finding.fixes] == [True]
    assert "epsilon=1e-05" in finding.fix
    assert "not tried" not in finding.fix
    assert check_parity(norms(1e-5), steps=10).verdict in MATCHES


def test_one_mistake_in_many_layers_is_one_line():
    (finding,) = judged(norms(*[1e-3] * 7)).diagnosis
    assert len(finding.fixes) == 1
    assert "and 4 more" in finding.fix


def test_a_mistake_of_several_sizes_is_a_line_for_each():
    (finding,) = judged(norms(1e-3, 1e-2, 1e-3)).diagnosis
    assert len(finding.fixes) == 2
    assert all(fix.tried for fix in finding.fixes)


def test_two_strides_are_two_lines():
    sizes = {"kernel_size": 3, "padding": 1}
    module = nn.Sequential(
        nn.Conv2d(3, 8, stride=2, **sizes), nn.ReLU(), nn.Conv2d(8, 8, stride=(2, 1), **sizes), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES),
    )  # fmt: skip
    ours = [
        layers.ZeroPadding2D(1), layers.Conv2D(8, 3, activation="relu"),
        layers.ZeroPadding2D(1), layers.Conv2D(8, 3, activation="relu"),
        layers.GlobalAveragePooling2D(), layers.Dense(CLASSES),
    ]  # fmt: skip
    pair = image_pair(0, module=module, model=stack((8, 8, 3), ours), initialisation=False)
    (finding,) = judged(pair).diagnosis
    assert finding.cause == "stride"
    assert len(finding.fixes) == 2
    assert "strides=(2, 2)" in finding.fixes[0].text or "strides=2" in finding.fixes[0].text
    assert "strides=(2, 1)" in finding.fixes[1].text


def test_what_cannot_be_made_in_the_port_is_told_as_not_tried():
    """The port's own data are a person's to repair."""
    pair = image_pair(0, keras_loss=lambda y, outputs: keras.ops.mean(keras.ops.square(outputs)))
    (finding,) = judged(pair).diagnosis
    assert not any(fix.tried for fix in finding.fixes)
    assert finding.fix.endswith("(not tried)")


def test_a_finding_prints_each_fix_on_a_line_of_its_own():
    fixes = (Fix(text="one=1", tried=True), Fix(text="two=2"))
    finding = Finding(cause="c", rung="forward", text="t", evidence="e", fixes=fixes)
    assert finding.fix == "one=1\ntwo=2 (not tried)"
    assert finding.content()["fixes"] == [{"text": "one=1", "tried": True}, {"text": "two=2", "tried": False}]


@pytest.mark.parametrize(("theirs", "ours"), [(False, True), (True, False)], ids=["more", "less"])
def test_the_bias_that_one_side_lacks_is_told_from_the_references_side(theirs, ours):
    module = nn.Sequential(nn.Linear(FEATURES, 16, bias=theirs), nn.Tanh(), nn.Linear(16, CLASSES))
    model = stack((FEATURES,), [dense(FEATURES, 16, "tanh", use_bias=ours, name="body"), dense(16, CLASSES)])
    (finding,) = judged(vector_pair(0, module=module, model=model)).diagnosis
    assert finding.cause == "missing_bias"
    assert f"body: use_bias={theirs}" in finding.fix


@pytest.mark.parametrize(
    ("closing", "activation", "told"),
    [
        (nn.LogSoftmax(1), "softmax", "activation='log_softmax'"),
        (nn.LogSoftmax(1), None, "activation='log_softmax'"),
        (nn.Softmax(1), "log_softmax", "activation='softmax'"),
        (nn.Softmax(1), None, "activation='softmax'"),
        (None, "softmax", "without an activation"),
        (None, "log_softmax", "without an activation"),
    ],
    ids=lambda value: str(value),
)
def test_the_scores_are_told_by_what_the_reference_returns(closing, activation, told):
    parts = [nn.Linear(FEATURES, 16), nn.Tanh(), nn.Linear(16, CLASSES)]
    module = nn.Sequential(*parts, *([] if closing is None else [closing]))
    model = stack((FEATURES,), [dense(FEATURES, 16, "tanh"), dense(16, CLASSES, activation)])

    def loss(outputs, targets):
        return nn.functional.mse_loss(outputs, nn.functional.one_hot(targets, CLASSES).float())

    def loss_in_keras(targets, outputs):
        return keras.ops.mean(keras.ops.square(outputs - keras.ops.one_hot(targets, CLASSES)))

    result = judged(vector_pair(0, module=module, model=model, torch_loss=loss, keras_loss=loss_in_keras))
    assert told in str(result.diagnosis[0].fix), str(result)
    assert any(fix.tried for fix in result.diagnosis[0].fixes), str(result)


@pytest.mark.parametrize(
    "name",
    ["slower_body", "biases_that_do_not_decay", "momentum_with_decay", "clipping_by_the_norm_of_small_gradients"],
)
def test_the_optimizer_that_is_advised_was_tried(name):
    finding = judged(SETUPS[name](wrong=True), steps=20).diagnosis[0]
    assert all(fix.tried for fix in finding.fixes), finding.fix


def with_decaying_biases(decay):
    """Biases start at zero, so that their decay shows late."""
    module = mlp()
    biases = [weight for name, weight in module.named_parameters() if name.endswith("bias")]
    kernels = [weight for name, weight in module.named_parameters() if not name.endswith("bias")]
    for bias in biases:
        nn.init.zeros_(bias)
    groups = [{"params": biases, "weight_decay": decay}, {"params": kernels}]
    return vector_pair(
        0,
        module=module,
        initialisation=False,
        torch_optimizer=lambda _: torch.optim.SGD(groups, lr=0.05),
        keras_optimizer=torch_equivalents.SGD(0.05),
    )


@pytest.mark.slow
def test_a_fix_for_a_break_that_shows_late_is_tried_too():
    result = judged(with_decaying_biases(1e-5), steps=150)
    assert next(check.name for check in result.checks if not check.passed) == "trajectory"
    assert [(f.cause, [fix.tried for fix in f.fixes]) for f in result.diagnosis] == [("weight_decay", [True])]
    assert check_parity(with_decaying_biases(0.0), steps=150).verdict in MATCHES


@pytest.mark.slow
def test_advice_for_a_decay_within_the_loss_is_one_step_and_not_a_circle():
    """L2 regularizers under momentum: no other strength of them is equal, so the optimizer has to do it."""
    penalty = keras.regularizers.L2(0.01 / 2)
    both = {"kernel_regularizer": penalty, "bias_regularizer": penalty}
    model = stack((FEATURES,), [dense(FEATURES, 16, "tanh", **both), dense(16, CLASSES, **both)])
    module = nn.Sequential(nn.Linear(FEATURES, 16), nn.Tanh(), nn.Linear(16, CLASSES))
    theirs = sgd(0.05, momentum=0.9, weight_decay=0.01)
    pair = vector_pair(
        0,
        module=module,
        model=model,
        torch_optimizer=theirs,
        keras_optimizer=keras.optimizers.SGD(0.05, momentum=0.9),
    )
    finding = judged(pair, steps=20).diagnosis[0]
    assert all(fix.tried for fix in finding.fixes), finding.fix
    assert "remove the regularizers" in finding.fix
    assert "torch_equivalents.SGD(learning_rate=0.05, momentum=0.9, weight_decay=0.01)" in finding.fix


class Gated(nn.Module):
    """Two parallel heads of one shape, registered in another order than they are called in."""

    def __init__(self):
        super().__init__()
        self.value, self.gate = nn.Linear(FEATURES, 5), nn.Linear(FEATURES, 5)
        self.head = nn.Linear(5, CLASSES)

    def forward(self, x):
        return self.head(torch.tanh(self.value(x)) * torch.sigmoid(self.gate(x)))


def gated_port(*, of_gate=None):
    """The port, whose layers are registered as they are called."""
    inputs = keras.Input((FEATURES,))
    gate, value = dense(FEATURES, 5, "sigmoid", name="gate"), dense(FEATURES, 5, "tanh", name="value")
    gated = gate(inputs) * value(inputs) if of_gate is None else of_gate(gate(inputs))
    return keras.Model(inputs, dense(5, CLASSES)(gated))


def test_layers_that_order_alone_does_not_tell_apart_are_told_apart_by_their_use():
    assert check_parity(vector_pair(0, module=Gated(), model=gated_port()), steps=10).verdict in MATCHES


@pytest.mark.slow
def test_a_layer_that_the_port_does_not_use_is_fixed_by_no_other_order():
    """No gate, but the value twice: in the other order the outputs may agree at the start, and never the gradients."""
    model = gated_port(of_gate=lambda gate: gate * keras.ops.tanh(gate))
    causes = [finding.cause for finding in judged(vector_pair(0, module=Gated(), model=model)).diagnosis]
    assert "ambiguous_matching" not in causes


@pytest.mark.slow
def test_a_mistake_beside_such_layers_is_told_alone():
    pair = vector_pair(0, module=Gated(), model=gated_port(), keras_optimizer=keras.optimizers.SGD(0.02))
    assert [finding.cause for finding in judged(pair).diagnosis] == ["learning_rate"]


def test_a_search_without_time_says_what_it_did_not_try():
    result = judged(vector_pair(0, keras_optimizer=keras.optimizers.SGD(0.1), search_seconds=0))
    (finding,) = result.diagnosis
    assert finding.cause == "learning_rate"  # which can be read, and was not tried
    assert not any(fix.tried for fix in finding.fixes)
    assert any(re.search(r"\d+ hypotheses were not tried within 0 s: ", note) for note in result.notes)
    assert "not tried within 0 s" in str(result)

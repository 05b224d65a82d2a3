"""Mistakes that are found by repairing the port: settings together, the first of several, another optimizer."""

import keras
import pytest
import torch
from keras import layers
from torch import nn

from birdplane_keras import torch_equivalents
from birdplane_keras.catalogue.networks import CLASSES, FEATURES, dense, image_pair, sgd, stack, vector_pair
from birdplane_keras.catalogue.recipes import scheduled
from parity.judging import judged, norms


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


def test_settings_that_are_wrong_together_are_tried_together():
    pair = vector_pair(
        0,
        torch_optimizer=sgd(0.05, momentum=0.9),
        keras_optimizer=keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True),
    )
    found = judged(pair).diagnosis
    assert {finding.cause for finding in found} == {"learning_rate", "nesterov"}
    assert {fix.text for finding in found for fix in finding.fixes} == {"learning_rate=0.05", "nesterov=False"}
    assert all(fix.tried for finding in found for fix in finding.fixes)


@pytest.mark.parametrize(
    ("ours", "theirs", "told"),
    [
        pytest.param(torch_equivalents.Adam(0.003), sgd(0.05), "SGD(learning_rate=0.05)", marks=pytest.mark.slow),
        (keras.optimizers.Adam(0.003), sgd(0.05, momentum=0.9), "SGD(learning_rate=0.05, momentum=0.9)"),
        pytest.param(
            keras.optimizers.SGD(0.05),
            lambda w: torch.optim.Adagrad(w, lr=0.01),
            "Adagrad(learning_rate=0.01)",
            marks=pytest.mark.slow,
        ),
    ],
    ids=["adam for sgd", "stock adam for momentum", "sgd for adagrad"],
)
def test_another_optimizer_is_named_since_the_port_is_right_with_the_references(ours, theirs, told):
    pair = vector_pair(0, keras_optimizer=type(ours).from_config(ours.get_config()), torch_optimizer=theirs)
    (finding,) = judged(pair).diagnosis
    assert finding.cause == "optimizer"
    assert [(fix.tried, told in fix.text) for fix in finding.fixes] == [(True, True)], finding.fix


def test_momentum_is_named_where_a_bias_before_a_batch_norm_has_none_but_noise():
    module = nn.Sequential(nn.Linear(FEATURES, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, CLASSES))
    ours = [dense(FEATURES, 16), torch_equivalents.BatchNormalization(epsilon=1e-5, momentum=0.9)]
    model = stack((FEATURES,), [*ours, layers.Activation("tanh"), dense(16, CLASSES)])
    optimizer = torch_equivalents.SGD(0.05, momentum=0.9)
    (finding,) = judged(vector_pair(0, module=module, model=model, keras_optimizer=optimizer)).diagnosis
    assert finding.cause == "momentum"
    assert [(fix.text, fix.tried) for fix in finding.fixes] == [("momentum=0.0", True)]


def test_a_decay_that_adamw_has_by_default_is_set_to_zero():
    pair = vector_pair(
        0,
        torch_optimizer=lambda weights: torch.optim.AdamW(weights, lr=0.01, weight_decay=0.0),
        keras_optimizer=torch_equivalents.AdamW(0.01, weight_decay=0.05),
    )
    (finding,) = judged(pair).diagnosis
    assert [(fix.text, fix.tried) for fix in finding.fixes] == [("weight_decay=0.0", True)]


def test_clipping_that_the_reference_has_not_is_taken_away():
    optimizer = torch_equivalents.SGD(0.05, global_clipnorm=0.1)
    (finding,) = judged(vector_pair(0, keras_optimizer=optimizer)).diagnosis
    assert finding.text == "the port clips its gradients by their common norm, 0.1, the reference does not"
    assert [fix.tried for fix in finding.fixes] == [True]


def test_a_schedule_that_the_port_has_not_is_told_so():
    finding = judged(scheduled(vector_pair(0), lambda step: 0.9**step)).diagnosis[0]
    assert (finding.cause, finding.text) == ("schedule", "the port's rate does not follow the reference's schedule")


def test_a_change_after_which_nothing_can_be_compared_is_no_help():
    """The layer that rescales hides the padding before it from who reads the settings; to pad twice is no cure.

    What the port computes there is told instead, and proved.
    """
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, CLASSES)
    )
    ours = [
        layers.ZeroPadding2D(1), layers.Rescaling(1.1), layers.Conv2D(4, 3, activation="tanh"),
        layers.GlobalAveragePooling2D(), layers.Dense(CLASSES),
    ]  # fmt: skip
    (finding,) = judged(image_pair(0, module=module, model=stack((8, 8, 3), ours), initialisation=False)).diagnosis
    assert (finding.cause, finding.proved) == ("different_operation", True), finding.text
    assert "in ZeroPadding2D" in finding.parting["port"][0]
    assert [fix.tried for fix in finding.fixes] == [False]


def test_the_one_activation_that_nobody_thought_of_is_found_by_repairing_the_port():
    module = nn.Sequential(nn.Linear(FEATURES, 16), nn.Tanh(), nn.Linear(16, 16), nn.Sigmoid(), nn.Linear(16, CLASSES))
    ours = [dense(FEATURES, 16, "tanh"), dense(16, 16, "softsign"), dense(16, CLASSES)]
    (finding,) = judged(vector_pair(0, module=module, model=stack((FEATURES,), ours))).diagnosis
    assert finding.cause == "activation"
    assert [fix.tried for fix in finding.fixes] == [True]
    assert finding.fix.startswith('activation 2 of 2: use the reference\'s activation, activation="sigmoid"')


def test_two_mistakes_in_the_forward_pass_are_both_named():
    """An epsilon, and an activation right after it: neither alone explains the outputs."""
    pair = norms(1e-3)
    layers_of_port = [dense(FEATURES, FEATURES), layers.LayerNormalization(epsilon=1e-3), layers.ReLU()]
    pair = vector_pair(
        0, module=pair.torch_module, model=stack((FEATURES,), [*layers_of_port, dense(FEATURES, CLASSES)])
    )
    first, second = judged(pair).diagnosis
    assert (first.cause, second.cause) == ("epsilon", "activation")
    assert [first.proved, second.proved] == [True, True]
    assert [fix.tried for fix in (*first.fixes, *second.fixes)] == [True, True]
    assert 'activation="tanh"' in second.fix
    assert "with all these changes" in first.evidence


def test_what_lies_before_a_layer_that_receives_another_shape_is_in_doubt():
    """The port pads by a layer of its own, so that what its second convolution receives cannot be compared."""
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(8 * 16, CLASSES),
    )  # fmt: skip
    ours = [
        layers.Conv2D(8, 3, padding="same", activation="relu"), layers.AveragePooling2D(2),
        layers.ZeroPadding2D(1), layers.Conv2D(8, 3, activation="relu"), layers.Flatten(), layers.Dense(CLASSES),
    ]  # fmt: skip
    result = judged(image_pair(0, module=module, model=stack((8, 8, 3), ours), initialisation=False))
    assert next(check.place.layer for check in result.checks if not check.passed) == "0"
    assert result.diagnosis[0].cause == "pooling"

"""The judge leaves both models, their optimizers and all that hangs on them as it found them, bit for bit."""

import copy

import keras
import numpy as np
import pytest
import torch
from keras import layers
from torch import nn

from birdplane_keras import torch_equivalents
from birdplane_keras.catalogue.networks import CLASSES, FEATURES, dense, labelled, stack, vector_pair
from birdplane_keras.catalogue.recipes import scheduled
from birdplane_keras.errors import PairError
from birdplane_keras.parity import check_parity, torch_to_keras
from birdplane_keras.parity.core.judge import MATCHES


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


def used_pair(*, rate=0.02, keras_rate=None, port_rate=0.3, **changes):
    """A pair with moving statistics, Dropout, momentum, a schedule and a metric, both sides trained for a few steps."""
    module = nn.Sequential(
        nn.Linear(FEATURES, 16, bias=False), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, CLASSES)
    )
    middle = [torch_equivalents.BatchNormalization(), layers.ReLU(), layers.Dropout(port_rate), dense(16, CLASSES)]
    pair = vector_pair(
        0,
        module=module,
        model=stack((FEATURES,), [dense(FEATURES, 16, use_bias=False), *middle]),
        torch_optimizer=lambda weights: torch.optim.SGD(weights, lr=rate, momentum=0.9),
        keras_optimizer=keras.optimizers.SGD(keras_rate or rate, momentum=0.9),
        initialisation=False,
        **changes,
    )
    pair = scheduled(pair, lambda step: 1.0)
    pair.keras_model.compile(
        loss=pair.keras_model.loss, optimizer=pair.keras_model.optimizer, metrics=["sparse_categorical_accuracy"]
    )
    return pair


def trained(pair, steps=3):
    """Trains both sides, each by itself, so that there is state to lose."""
    inputs, targets = labelled(7, FEATURES, examples=32)
    for _ in range(steps):
        pair.torch_optimizer.zero_grad()
        pair.torch_loss(pair.torch_module(torch.as_tensor(inputs)), torch.as_tensor(targets)).backward()
        pair.torch_optimizer.step()
        pair.torch_scheduler.step()
        pair.keras_model.train_on_batch(inputs, targets)
    return pair


def bits(tree):
    """Returns a structure with every tensor replaced by its bytes."""

    def replace(leaf):
        if isinstance(leaf, torch.Tensor):
            return leaf.detach().numpy().tobytes()
        return leaf

    return keras.tree.map_structure(replace, tree)


def port_values(model):
    return [(variable.path, np.array(keras.ops.convert_to_numpy(variable)).tobytes()) for variable in model.variables]


def port_gradients(model):
    return [None if v.value.grad is None else v.value.grad.numpy().tobytes() for v in model.trainable_variables]


def optimizer_values(model):
    return [(variable.path, keras.ops.convert_to_numpy(variable).tobytes()) for variable in model.optimizer.variables]


def metric_values(model):
    return [(variable.path, keras.ops.convert_to_numpy(variable).tobytes()) for variable in model.metrics_variables]


def settings(model):
    """What the layers are set to, and which attributes the model has of its own."""
    rates = [layer.rate for layer in model.layers if hasattr(layer, "rate")]
    trained_layers = [layer.trainable for layer in model.layers]
    return rates, trained_layers, "compute_loss" in vars(model), float(model.optimizer.learning_rate)


def reference_state(pair):
    gradients = [weight.grad for weight in pair.torch_module.parameters()]
    tensors = (dict(pair.torch_module.state_dict()), gradients)
    modes = [module.training for module in pair.torch_module.modules()]
    hooks = [len(module._forward_hooks) for module in pair.torch_module.modules()]
    kept = copy.deepcopy((pair.torch_optimizer.state_dict(), pair.torch_scheduler.state_dict()))
    return bits(tensors), modes, hooks, bits(kept[0]), str(kept[1])


READERS = {
    "weights": lambda pair: port_values(pair.keras_model),
    "optimizer": lambda pair: optimizer_values(pair.keras_model),
    "metrics": lambda pair: metric_values(pair.keras_model),
    "gradients": lambda pair: port_gradients(pair.keras_model),
    "settings": lambda pair: settings(pair.keras_model),
    "reference": reference_state,
}


def judge_right(weights):
    pair = trained(used_pair(weights=weights))
    if weights == "as_given":
        torch_to_keras(pair.torch_module, pair.keras_model)
    return pair, lambda: check_parity(pair, steps=10)


def judge_wrong():
    pair = trained(used_pair(keras_rate=0.03))

    def judged():
        assert check_parity(pair, steps=10).verdict == "diverged"

    return pair, judged


def judge_late():
    """Diverges within the training run, so that the diagnosis trains the port, too."""
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([16], [0.02, 0.03])
    pair = used_pair()
    pair.keras_model.compile(
        loss=pair.keras_model.loss, optimizer=keras.optimizers.SGD(schedule), metrics=["sparse_categorical_accuracy"]
    )
    pair.torch_optimizer.param_groups[0]["momentum"] = 0.0
    pair = trained(pair)

    def judged():
        assert check_parity(pair, steps=20).verdict == "diverged"

    return pair, judged


def judge_what_cannot_be():
    """Fails inside the judging: the loss takes the outputs, and then does not."""
    calls = []

    def breaking(outputs, targets):
        calls.append(1)
        if len(calls) > 9:
            raise RuntimeError("no more")
        return nn.functional.cross_entropy(outputs, targets)

    pair = trained(used_pair(torch_loss=nn.CrossEntropyLoss()))
    object.__setattr__(pair, "torch_loss", breaking)

    def judged():
        with pytest.raises((PairError, RuntimeError), match="no more"):
            check_parity(pair, steps=10)

    return pair, judged


WAYS = {
    "right": lambda: judge_right("transfer"),
    "right as given": lambda: judge_right("as_given"),
    "wrong": judge_wrong,
    "wrong late": judge_late,
    "error": judge_what_cannot_be,
}


@pytest.mark.parametrize(
    ("way", "what"),
    [
        pytest.param(way, what, marks=[pytest.mark.slow] if (i + j) % 2 else [])
        for i, way in enumerate(WAYS)
        for j, what in enumerate(READERS)
    ],
)
def test_both_sides_are_left_as_they_were_found(way, what):
    pair, judged = WAYS[way]()
    before = READERS[what](pair)
    assert before
    judged()
    assert READERS[what](pair) == before


@pytest.mark.parametrize("what", [what for what in READERS if what != "settings"])
def test_one_training_step_is_seen_by_the_comparison(what):
    """The negative control: what the judge does to the models would show, if it did it to them."""
    pair = trained(used_pair())
    before = READERS[what](pair)
    trained(pair, steps=1)
    assert READERS[what](pair) != before


def test_a_changed_setting_is_seen_by_the_comparison():
    """The same for what a training step does not change."""
    pair = used_pair()
    before = READERS["settings"](pair)
    layer = pair.keras_model.layers[-1]
    layer.trainable = not layer.trainable
    assert READERS["settings"](pair) != before


def test_an_optimizer_that_was_not_built_trains_on_as_if_it_had_not_been_judged():
    ends = []
    for judged in (True, False):
        keras.utils.set_random_seed(0)
        pair = used_pair(weights="as_given")
        torch_to_keras(pair.torch_module, pair.keras_model)
        if judged:
            assert check_parity(pair, steps=10).verdict in MATCHES
        keras.utils.set_random_seed(1)
        trained(pair)
        ends.append([value for _, value in port_values(pair.keras_model)])
    assert ends[0] == ends[1]


def test_functions_that_a_person_gave_a_model_and_its_optimizer_stay():
    pair = vector_pair(0)
    model = pair.keras_model
    compute_loss, apply = model.compute_loss, model.optimizer.apply
    own = {
        "loss": lambda *arguments, **named: compute_loss(*arguments, **named),
        "update": lambda *arguments, **named: apply(*arguments, **named),
    }
    model.compute_loss, model.optimizer.apply = own["loss"], own["update"]
    assert check_parity(pair, steps=10).verdict in MATCHES
    assert (model.compute_loss, model.optimizer.apply) == (own["loss"], own["update"])


def test_a_judged_port_keeps_its_own_weights():
    pair = vector_pair(0)
    before = port_values(pair.keras_model)
    assert check_parity(pair, steps=10).verdict in MATCHES
    assert port_values(pair.keras_model) == before


def test_the_random_numbers_that_follow_are_not_the_judges():
    pair = vector_pair(0)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    check_parity(pair, steps=5)
    assert torch.equal(torch.rand(3), expected)


def test_fit_trains_a_judged_port_as_one_that_was_not():
    ends = []
    for judged in (True, False):
        keras.utils.set_random_seed(0)
        pair = vector_pair(0, weights="as_given", initialisation=False)
        torch_to_keras(pair.torch_module, pair.keras_model)
        if judged:
            check_parity(pair, steps=5)
        pair.keras_model.fit(*pair.data, batch_size=50, epochs=2, shuffle=False, verbose=0)
        ends.append([value for _, value in port_values(pair.keras_model)])
    assert ends[0] == ends[1]

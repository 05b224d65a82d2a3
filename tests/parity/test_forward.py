"""Forward only: models that nobody trains, their inputs and outputs as people have them."""

import dataclasses

import keras
import numpy as np
import pytest
import torch
from keras import layers, ops
from torch import nn

from birdplane_keras.errors import PairError
from birdplane_keras.parity import Pair, check_forward, check_parity
from birdplane_keras.parity.core.check import first_failure
from birdplane_keras.parity.core.judge import MATCHES

LEFT_OUT = {"batch_order", "initialisation", "loss", "gradients", "first_update", "optimizer_state", "trajectory"}


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


def floats(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def network():
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.LayerNorm(8), nn.Dropout(0.5), nn.Linear(8, 3))


def port(epsilon=1e-5, activation="tanh"):
    parts = [layers.Dense(8, activation), layers.LayerNormalization(epsilon=epsilon), layers.Dropout(0.5)]
    return keras.Sequential([keras.Input((6,)), *parts, layers.Dense(3)])


@pytest.mark.parametrize("training", [True, False])
def test_a_port_that_was_never_compiled_is_the_same(training):
    module, model = network().train(training), port()
    before = [weight.numpy().copy() for weight in model.weights]
    result = check_forward(torch_module=module, keras_model=model, inputs=floats(16, 6))
    assert result.verdict in MATCHES
    assert {*result.left_out} >= LEFT_OUT
    assert "no loss and no optimizer" in result.left_out["gradients"]
    assert module.training is training
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(before, model.weights, strict=True))
    assert all(weight.grad is None for weight in module.parameters())


def test_a_compiled_and_a_frozen_port_are_the_same():
    compiled, frozen = port(), port()
    compiled.compile("adam", "mse", jit_compile=False)
    frozen.trainable = False
    for model in (compiled, frozen):
        assert check_forward(torch_module=network().eval(), keras_model=model, inputs=floats(16, 6)).verdict in MATCHES


def test_a_wrong_epsilon_is_named_and_proved():
    module = network().eval()
    result = check_forward(torch_module=module, keras_model=port(epsilon=1e-2), inputs=floats(16, 6))
    assert result.verdict == "diverged"
    (finding,) = result.diagnosis
    assert finding.cause == "epsilon"
    assert finding.proved
    assert "forward, evaluation" in finding.evidence


def test_what_no_list_names_is_told_with_both_operations():
    module = nn.Sequential(nn.Linear(6, 8), nn.Hardswish(), nn.Linear(8, 3))
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(8), layers.Lambda(lambda x: x * ops.erf(x)), layers.Dense(3)]
    )
    result = check_forward(torch_module=module, keras_model=model, inputs=floats(16, 6))
    (finding,) = result.diagnosis
    assert finding.proved
    assert "hardswish" in str(finding.parting["reference"])
    assert "erf" in str(finding.parting["port"])


def test_one_weight_that_is_off_by_a_hundredth_is_caught_where_the_port_brings_its_own():
    module, model = network().eval(), port()
    result = check_forward(torch_module=module, keras_model=model, inputs=floats(16, 6), weights="as_given")
    assert first_failure(result.checks).name == "initial_weights"


def test_a_batch_normalisation_is_compared_in_the_mode_of_the_reference():
    module = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
    module[1].running_mean.add_(1.0)
    parts = [layers.Dense(8), layers.BatchNormalization(epsilon=1e-5, momentum=0.5), layers.Dense(3)]
    model = keras.Sequential([keras.Input((6,)), *parts])
    for mode in (True, False):
        assert (
            check_forward(torch_module=module.train(mode), keras_model=model, inputs=floats(16, 6)).verdict in MATCHES
        )


@dataclasses.dataclass
class Answer:
    """What a library returns in a container of its own."""

    scores: torch.Tensor
    hidden: torch.Tensor
    cache: object = None


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.head = nn.Embedding(20, 8), nn.Linear(8, 3)

    def forward(self, input_ids=None, attention_mask=None):
        weights = attention_mask / attention_mask.sum(1, keepdim=True)
        hidden = (self.words(input_ids) * weights[..., None]).sum(1)
        return Answer(scores=self.head(hidden), hidden=hidden, cache=object())


def named_port(scale=1.0):
    ids, mask = (
        keras.Input((5,), dtype="int32", name="token_ids"),
        keras.Input((5,), dtype="int32", name="padding_mask"),
    )
    weights = ops.cast(mask, "float32") / ops.sum(ops.cast(mask, "float32"), 1, keepdims=True)
    hidden = ops.sum(layers.Embedding(20, 8)(ids) * weights[..., None], 1) * scale
    return keras.Model({"token_ids": ids, "padding_mask": mask}, {"logits": layers.Dense(3)(hidden), "pooled": hidden})


def named_inputs():
    random = np.random.default_rng(0)
    mask = np.ones((8, 5), np.int64)
    mask[4:, 3:] = 0
    return {"attention_mask": mask, "input_ids": random.integers(0, 20, (8, 5))}


NAMES = {"input_ids": "token_ids", "attention_mask": "padding_mask"}


def test_inputs_and_outputs_by_name():
    given = {"inputs": named_inputs(), "to_keras": NAMES, "outputs": {"scores": "logits", "hidden": "pooled"}}
    assert check_forward(torch_module=Named(), keras_model=named_port(), **given).verdict in MATCHES
    result = check_forward(torch_module=Named(), keras_model=named_port(scale=1.01), **given)
    assert result.verdict == "diverged"
    assert result.diagnosis[0].proved


def test_pairs_of_named_inputs_are_trained():
    module, model = Named(), named_port()
    model.compile(
        keras.optimizers.SGD(0.1), loss={"logits": keras.losses.SparseCategoricalCrossentropy(from_logits=True)}
    )
    cross_entropy = nn.CrossEntropyLoss()
    pair = Pair(
        keras_model=model,
        torch_module=module,
        torch_loss=lambda answer, targets: cross_entropy(answer.scores, targets["logits"]),
        torch_optimizer=torch.optim.SGD(module.parameters(), lr=0.1),
        data=(named_inputs(), {"logits": np.arange(8) % 3}),
        batch_size=4,
        to_keras=NAMES,
        outputs={"scores": "logits"},
        initialisation=False,
    )
    result = check_parity(pair, steps=8)
    assert result.verdict in MATCHES, str(result)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"outputs": "nothing"}, "expected an output 'nothing'"),
        ({"to_keras": {"input_ids": "token_ids"}, "inputs": floats(8, 5)}, "expected inputs by name"),
        ({"mapping": {"no_such_layer": None}}, "neither side has weights of that name"),
    ],
)
def test_what_cannot_be_found_is_said(change, told):
    given = {"inputs": named_inputs(), "to_keras": NAMES, "outputs": {"scores": "logits"}} | change
    try:
        said = str(check_forward(torch_module=Named(), keras_model=named_port(), **given))
    except PairError as error:
        said = str(error)
    assert told in said


def test_a_loss_without_an_optimizer_is_refused():
    pair = Pair(
        keras_model=port(),
        torch_module=network(),
        torch_loss=nn.CrossEntropyLoss(),
        data=(floats(4, 6), np.zeros(4, int)),
    )
    with pytest.raises(PairError, match="or neither, received one of them"):
        check_parity(pair)


def test_what_a_mapping_leaves_out_is_not_compared():
    module = Named()
    module.unused = nn.Linear(4, 4)
    given = {"inputs": named_inputs(), "to_keras": NAMES, "outputs": {"scores": "logits"}}
    without = check_forward(torch_module=module, keras_model=named_port(), **given)
    assert first_failure(without.checks).name == "parameter_counts"
    for name in ("unused", "unu*"):
        result = check_forward(torch_module=module, keras_model=named_port(), mapping={name: None}, **given)
        assert result.verdict in MATCHES
    result = check_forward(torch_module=module, keras_model=named_port(), mapping={"*.weight": None}, **given)
    assert first_failure(result.checks).name == "parameter_counts"

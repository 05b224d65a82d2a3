"""Several mistakes are told in one run, each where it is."""

import keras
import numpy as np
import pytest
import torch
from keras import layers, ops
from torch import nn

from birdplane_keras.catalogue.networks import CLASSES, FEATURES, dense, stack, vector_pair
from birdplane_keras.parity import Pair
from parity.judging import judged
from parity.middles import WIDTH, Own, Theirs, between


def rounded_and_squashed_twice(x):
    rounded = ops.cast(ops.cast(x, "float16"), "float32")
    return ops.tanh(ops.tanh(rounded))


def loss_of_port(y_true, y_pred):
    chance = ops.sum(ops.one_hot(ops.cast(y_true, "int32"), CLASSES) * ops.softmax(y_pred), -1)
    return -((1 - chance) ** 1.5) * ops.log(chance)


def loss_of_reference(outputs, targets):
    chance = outputs.softmax(-1).gather(1, targets[:, None])[:, 0]
    return (-((1 - chance) ** 2) * chance.log()).mean()


def test_a_mistake_right_behind_half_precision_is_told_too():
    """The reference takes the port's own roundings, so that nothing is too small to be seen beside them."""
    first, second = judged(between(rounded_and_squashed_twice, torch.tanh)).diagnosis
    assert first.proved
    assert second.proved
    assert "dtype=float16" in first.parting["port"][0]
    assert "tanh(tanh)" in second.parting["port"][0]


@pytest.mark.slow
def test_a_mistake_in_a_layer_and_one_in_the_line_behind_it_are_two():
    """A normalisation returns three results, and what it saves for the gradients is the last."""
    module = nn.Sequential(
        nn.Linear(FEATURES, WIDTH),
        nn.Unflatten(1, (4, 4)),
        nn.LayerNorm(4, eps=0.01),
        Theirs(lambda x: x.amax(1)),
        nn.Linear(4, CLASSES),
    )
    normalised = layers.LayerNormalization(epsilon=1e-5)
    model = stack(
        (FEATURES,),
        [dense(FEATURES, WIDTH), layers.Reshape((4, 4)), normalised, Own(lambda x: x.mean(1)), dense(4, CLASSES)],
    )
    first, second = judged(vector_pair(0, module=module, model=model, initialisation=False)).diagnosis
    assert (first.cause, first.proved, second.proved) == ("epsilon", True, True)
    assert "mean(" in second.parting["port"][0]
    assert "amax(" in second.parting["reference"][0]


def test_three_mistakes_are_told_in_one_run_in_the_order_of_the_program():
    """One in the forward pass, one in a loss of one's own, one in the update."""
    pair = between(lambda x: ops.sin(x) * 1.1, torch.sin)
    pair.keras_model.compile(loss=loss_of_port, optimizer=keras.optimizers.SGD(0.02))
    object.__setattr__(pair, "torch_loss", loss_of_reference)
    result = judged(pair)
    assert [finding.rung for finding in result.diagnosis] == ["forward", "loss", "first_update"], str(result)
    assert all(finding.proved for finding in result.diagnosis), str(result)
    forward, loss, update = result.diagnosis
    assert "other=1.1" in str(forward.parting["port"])
    assert "exponent=1.5" in str(loss.parting["port"])
    assert update.cause == "learning_rate"


@pytest.mark.slow
def test_two_mistakes_around_a_layer_are_two_places():
    """The reference makes in one call what the port makes in two, product and sum: the second mistake comes behind."""
    module = nn.Sequential(
        nn.Linear(FEATURES, WIDTH), Theirs(torch.sin), nn.Linear(WIDTH, WIDTH), Theirs(torch.tanh),
        nn.Linear(WIDTH, CLASSES),
    )  # fmt: skip
    model = stack(
        (FEATURES,),
        [dense(FEATURES, WIDTH), Own(ops.cos), dense(WIDTH, WIDTH), Own(ops.square), dense(WIDTH, CLASSES)],
    )
    first, second = judged(vector_pair(0, module=module, model=model, initialisation=False)).diagnosis
    assert first.proved
    assert second.proved
    assert "cos(" in str(first.parting["port"])
    assert "tanh(" in str(second.parting["reference"])


def test_a_sum_over_batches_of_two_sizes_is_told_beside_another_rate():
    """The last batch has fewer examples: what the loss is multiplied by is the number of its own."""
    inputs, targets = vector_pair(0).data
    pair = vector_pair(
        0,
        data=(inputs[:44], targets[:44]),
        batch_size=16,
        keras_loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum"),
        keras_optimizer=keras.optimizers.SGD(0.001),
    )
    found = judged(pair).diagnosis
    assert [(finding.cause, finding.proved) for finding in found] == [("reduction", True), ("learning_rate", True)]


TOKENS, WORDS = 12, 40  # of a text, and in all


class Averaged(nn.Module):
    """From (N, TOKENS) words to (N, CLASSES) logits."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH, padding_idx=0)
        self.norm = nn.BatchNorm1d(WIDTH)
        self.out = nn.Linear(WIDTH, CLASSES)

    def forward(self, x):
        return self.out(self.norm(self.words(x).mean(1)))


@pytest.mark.parametrize("momentum", [0.99, 0.9])
def test_mistakes_of_gradients_updates_and_statistics_each_have_a_name_and_a_fix(momentum):
    """Each part of the first steps parts by a mistake of its own, which what is behind it does not agree to."""
    torch.manual_seed(0)
    module, random = Averaged(), np.random.default_rng(0)
    tokens = keras.Input((TOKENS,), dtype="int32")
    pooled = layers.GlobalAveragePooling1D()(layers.Embedding(WORDS, WIDTH)(tokens))
    normed = layers.BatchNormalization(momentum=momentum, epsilon=1e-5)(pooled)
    model = keras.Model(tokens, layers.Dense(CLASSES)(normed))
    logits = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(1e-3, weight_decay=0.004, epsilon=1e-8), logits)
    pair = Pair(
        torch_module=module,
        keras_model=model,
        data=(random.integers(0, WORDS, (256, TOKENS)), random.integers(0, CLASSES, 256)),
        torch_optimizer=torch.optim.AdamW(module.parameters(), 1e-3),
        torch_loss=nn.CrossEntropyLoss(),
        batch_size=32,
        initialisation=False,
    )
    found = judged(pair).diagnosis
    fixes = {finding.cause: finding.fixes for finding in found}
    statistics = ["batchnorm_variance"] + ["batchnorm_momentum"] * (momentum != 0.9)
    assert list(fixes) == ["padding_index", "weight_decay", "adam_epsilon", *statistics]
    assert all(finding.proved for finding in found)
    assert all(fix.tried for cause in list(fixes)[1:] for fix in fixes[cause])
    assert "momentum=0.9" in str(fixes) or momentum == 0.9


def test_a_mistake_behind_wrong_data_is_told_in_the_same_run():
    pair = between(lambda x: ops.sin(x) * 1.1, torch.sin)
    inputs, targets = pair.data
    object.__setattr__(pair, "keras_data", (inputs[:, ::-1].copy(), targets))
    causes = [finding.cause for finding in judged(pair).diagnosis]
    assert causes == ["flipped", "added_operation"]


def functional(*layers_):
    """A port of library layers alone, which have no line of source of the user's own."""
    return stack((FEATURES,), [*layers_, dense(WIDTH, CLASSES)])


def test_a_layer_in_half_precision_and_the_slope_behind_it_are_two():
    module = nn.Sequential(nn.Linear(FEATURES, WIDTH), nn.LeakyReLU(0.2), nn.Linear(WIDTH, CLASSES))
    half = dense(FEATURES, WIDTH, dtype="mixed_bfloat16")
    model = functional(half, layers.LeakyReLU(negative_slope=0.1))
    first, second = judged(vector_pair(0, module=module, model=model, initialisation=False)).diagnosis
    assert (first.cause, first.proved, second.proved) == ("precision", True, True)
    assert "negative_slope=0.1" in second.parting["port"][0]


def test_two_activations_side_by_side_are_two_though_the_reference_makes_each_of_them_somewhere():
    module = nn.Sequential(nn.Linear(FEATURES, WIDTH), nn.ELU(0.5), nn.Softplus(), nn.Tanh(), nn.Linear(WIDTH, CLASSES))
    activations = [layers.ELU(alpha=1.5, name="first"), layers.Activation("tanh", name="second")]
    model = functional(dense(FEATURES, WIDTH), *activations, layers.Activation("tanh"))
    found = judged(vector_pair(0, module=module, model=model, initialisation=False)).diagnosis
    told = [line for finding in found for line in finding.parting["port"]]
    assert all(finding.proved for finding in found)
    assert any("in ELU first" in line for line in told), told
    assert any("in Activation second" in line for line in told), told


def test_one_mistake_in_a_row_of_alike_layers_is_one():
    """Control: what follows from a mistake is none."""
    module = nn.Sequential(nn.Linear(FEATURES, WIDTH), nn.ELU(0.5), nn.Softplus(), nn.Tanh(), nn.Linear(WIDTH, CLASSES))
    model = functional(
        dense(FEATURES, WIDTH), layers.ELU(alpha=1.5), layers.Activation("softplus"), layers.Activation("tanh")
    )
    (finding,) = judged(vector_pair(0, module=module, model=model, initialisation=False)).diagnosis
    assert "alpha=1.5" in finding.parting["port"][0]

"""Pairs that cannot be judged end in one line that says what was expected, what was received, and the way out."""

import contextlib
from dataclasses import replace

import keras
import numpy as np
import pytest
import torch
from keras import layers
from torch import nn

from birdplane_keras.catalogue.networks import (
    CLASSES,
    FEATURES,
    convnet,
    convnet_port,
    dense,
    image_pair,
    labelled,
    mlp,
    mlp_port,
    regression_pair,
    sgd,
    stack,
    vector_pair,
)
from birdplane_keras.errors import PairError
from birdplane_keras.parity import Pair, channels_last, check_parity
from birdplane_keras.parity.core.judge import MATCHES


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


class Noisy(nn.Module):
    """A linear layer whose outputs are blurred, by no layer of Dropout."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(FEATURES, CLASSES)

    def forward(self, x):
        return self.head(x + 0.1 * torch.randn_like(x))


class Unbuilt(keras.Model):
    def __init__(self):
        super().__init__()
        self.head = layers.Dense(CLASSES)

    def call(self, inputs):
        return self.head(inputs)


def not_compiled():
    return replace(vector_pair(0), keras_model=mlp_port())


def not_built():
    return vector_pair(0, module=nn.Linear(FEATURES, CLASSES), model=Unbuilt())


def no_keras_model():
    return replace(vector_pair(0), keras_model=mlp())


def a_function_as_keras_model():
    return replace(vector_pair(0), keras_model=lambda inputs: inputs)


def no_torch_module():
    return replace(vector_pair(0), torch_module=lambda inputs: inputs)


def a_keras_model_as_torch_module():
    """On the torch backend a Keras model is a `torch.nn.Module`, too."""
    return replace(vector_pair(0), torch_module=mlp_port())


def inputs_too_wide_for_the_reference():
    inputs, targets = labelled(0, FEATURES + 1)
    return vector_pair(0, data=(inputs, targets), to_keras=lambda x: x[:, :FEATURES])


def inputs_too_wide_for_the_port():
    return vector_pair(0, to_keras=lambda x: np.repeat(x, 2, axis=1))


def channels_in_front():
    return image_pair(0, to_keras=None)


def no_examples():
    return vector_pair(0, data=(np.zeros((0, FEATURES), np.float32), np.zeros(0, np.int64)))


def no_inputs():
    return vector_pair(0, data=((), np.zeros(3, np.int64)))


def more_inputs_than_targets():
    inputs, targets = labelled(0, FEATURES)
    return vector_pair(0, data=(inputs, targets[:-1]))


def inputs_of_two_lengths():
    inputs, targets = labelled(0, FEATURES)
    return vector_pair(0, data=((inputs, inputs[:-1]), targets))


def fewer_keras_data():
    inputs, targets = labelled(0, FEATURES)
    return vector_pair(0, keras_data=(inputs[:100], targets[:100]))


def tensors_as_data():
    inputs, targets = labelled(0, FEATURES)
    return vector_pair(0, data=(torch.as_tensor(inputs), torch.as_tensor(targets)))


def lists_as_data():
    inputs, targets = labelled(0, FEATURES)
    return vector_pair(0, data=(inputs.tolist(), targets.tolist()))


def loss_that_is_not_a_number():
    return regression_pair(0, torch_loss=lambda outputs, targets: torch.log(-outputs.abs() - 1).mean())


def loss_of_every_example():
    return vector_pair(0, torch_loss=nn.CrossEntropyLoss(reduction="none"))


def loss_that_is_a_number_of_python():
    return vector_pair(0, torch_loss=lambda outputs, targets: 0.5)


def module_without_storage():
    pair = vector_pair(0)
    module = mlp().to("meta")
    return replace(pair, torch_module=module, torch_optimizer=sgd()(module.parameters()))


def optimizer_over_other_parameters():
    return replace(vector_pair(0), torch_optimizer=sgd()(mlp().parameters()))


def random_reference():
    return vector_pair(0, module=Noisy(), model=stack((FEATURES,), [dense(FEATURES, CLASSES)]))


def no_batches():
    return vector_pair(0, batches=lambda epoch: [])


def a_batch_of_nothing():
    return vector_pair(0, batches=lambda epoch: [np.arange(32), np.arange(0)])


def rows_beyond_the_data():
    return vector_pair(0, batches=lambda epoch: [np.arange(140, 172)])


def weights_said_otherwise():
    return vector_pair(0, weights="copy")


def schedule_by_the_hour():
    return vector_pair(0, schedule_by="hour")


def batches_of_nothing():
    return vector_pair(0, batch_size=0)


BAD = {
    not_compiled: "expected a compiled Keras model",
    not_built: "expected a built Keras model",
    no_keras_model: "expected a keras.Model as keras_model, received Sequential",
    a_function_as_keras_model: "expected a keras.Model as keras_model, received function",
    no_torch_module: "expected a torch.nn.Module as torch_module, received function",
    a_keras_model_as_torch_module: "expected a torch.nn.Module as torch_module, received Sequential",
    inputs_too_wide_for_the_reference: r"PyTorch module cannot be trained on inputs \(32, 9\) float32",
    inputs_too_wide_for_the_port: r"Keras model cannot be trained on inputs \(32, 16\) float32",
    channels_in_front: "Keras model cannot be trained .*channels_last",
    no_examples: "at least 1",
    no_inputs: "received none|cannot be trained on inputs",
    more_inputs_than_targets: "one number of examples",
    inputs_of_two_lengths: "one number of examples",
    fewer_keras_data: "expected 150 examples in keras_data, received 100",
    tensors_as_data: "expected NumPy arrays .*received Tensor",
    lists_as_data: "expected NumPy arrays .*received (list|float)",
    loss_that_is_not_a_number: "expected a finite loss of the reference at step 0, received nan",
    loss_of_every_example: "scalar",
    loss_that_is_a_number_of_python: "scalar tensor|no attribute 'backward'",
    module_without_storage: "expected both models on one device, received .*meta",
    optimizer_over_other_parameters: "expected torch_optimizer over torch_module's parameters",
    random_reference: "expected a deterministic reference",
    no_batches: "expected batches in epoch 0, received none",
    a_batch_of_nothing: "expected batches of row numbers from 0 to 149, received \\[\\]",
    rows_beyond_the_data: "expected batches of row numbers from 0 to 149, received",
    weights_said_otherwise: "expected weights among transfer, as_given, received 'copy'",
    schedule_by_the_hour: "expected schedule_by among step, epoch, received 'hour'",
    batches_of_nothing: "expected batch_size of at least 1, received 0",
}


@pytest.mark.parametrize("make", BAD, ids=lambda make: make.__name__)
def test_a_pair_that_cannot_be_judged_ends_in_one_line(make):
    with pytest.raises(PairError, match=BAD[make]) as raised:
        check_parity(make(), steps=5)
    text = str(raised.value)
    assert "\n" not in text
    assert 20 < len(text) < 400


@pytest.mark.parametrize("steps", [0, -1])
def test_no_steps_are_refused(steps):
    with pytest.raises(PairError, match=f"expected at least 1 step, received {steps}"):
        check_parity(vector_pair(0), steps=steps)


def test_what_the_bad_pairs_were_made_from_can_be_judged():
    """The negative control of this file."""
    assert check_parity(vector_pair(0), steps=5).verdict in MATCHES
    assert check_parity(regression_pair(0), steps=5).verdict in MATCHES
    assert check_parity(image_pair(0, to_keras=channels_last), steps=5).verdict in MATCHES


def test_the_hint_of_channels_last_is_not_given_where_it_was_followed():
    module, model = convnet(features=8 * 5 * 5), convnet_port()  # the port was made for smaller images
    inputs, targets = labelled(0, 3, 12, 12, examples=100)
    pair = image_pair(0, module=module, model=model, data=(inputs, targets))
    with pytest.raises(PairError) as raised:
        check_parity(pair, steps=5)
    assert "to_keras=channels_last" not in str(raised.value)


def test_a_layer_that_the_references_optimizer_does_not_know_is_a_verdict():
    pair = vector_pair(0)
    pair.torch_module[4] = nn.Linear(16, CLASSES)  # after the optimizer was made, which goes on training the old one
    report = check_parity(pair, steps=5)
    failure = report.content()["first_failure"]
    assert (failure["rung"], failure["code"], failure["tensor"]) == ("parameter_counts", "frozen", "4.weight")


def test_a_module_without_parameters_is_refused():
    pair = vector_pair(0)
    with pytest.raises(PairError):
        check_parity(replace(pair, torch_module=nn.Sequential(nn.ReLU())), steps=5)


def test_nan_on_the_ports_side_only_is_a_verdict():
    def broken(targets, outputs):
        return keras.ops.mean(keras.ops.log(-1 - keras.ops.square(outputs)))

    report = check_parity(regression_pair(0, keras_loss=broken), steps=5)
    assert report.verdict == "diverged"
    assert report.diagnosis[0].cause == "not_a_number"


def test_nan_in_the_ports_weights_is_a_verdict():
    pair = vector_pair(0, weights="as_given", initialisation=False)
    kernel = np.array(pair.keras_model.layers[1].kernel)
    kernel[3, 4] = np.nan
    pair.keras_model.layers[1].kernel.assign(kernel)
    report = check_parity(pair, steps=5)
    assert report.verdict == "diverged"
    assert report.content()["first_failure"]["rung"] == "initial_weights"


def test_nan_in_the_ports_data_is_a_verdict():
    inputs, targets = labelled(0, FEATURES)
    broken = inputs.copy()
    broken[17, 3] = np.nan
    report = check_parity(vector_pair(0, keras_data=(broken, targets)), steps=5)
    assert report.verdict == "diverged"
    assert report.content()["first_failure"]["rung"] == "data"
    assert report.diagnosis[0].cause == "not_a_number"


def test_nan_in_the_reference_after_some_steps_is_no_match():
    """Both sides blow up alike: nothing is proved by that."""
    inputs, targets = labelled(0, FEATURES)
    pair = vector_pair(
        0, data=(inputs * 100, targets), torch_optimizer=sgd(1e6), keras_optimizer=keras.optimizers.SGD(1e6)
    )
    with contextlib.suppress(PairError):
        assert check_parity(pair, steps=30).verdict == "diverged"


def test_a_pair_takes_its_fields_by_name_only():
    with pytest.raises(TypeError):
        Pair(mlp_port(), mlp())

"""What the two training programs record."""

import dataclasses

import keras
import numpy as np
import pytest
import torch

from birdplane_keras.recipe import PRESETS
from birdplane_keras.training import build_train_batches, train
from torch_reference.recipe import PRESETS as REFERENCE_PRESETS
from torch_reference.training import train as train_reference

EPOCHS = 2
STEPS = 157  # 10,000 = 156 x 64 + 16


@pytest.fixture(scope="module")
def port_run(port_data):
    return train(dataclasses.replace(PRESETS["narrow"], epochs=EPOCHS), *port_data)


@pytest.fixture(scope="module")
def reference_run(reference_data):
    return train_reference(dataclasses.replace(REFERENCE_PRESETS["narrow"], epochs=EPOCHS), *reference_data)


@pytest.fixture(params=["port_run", "reference_run"])
def run(request):
    return request.getfixturevalue(request.param)


def test_a_run_holds_every_step_epoch_and_image(run):
    assert run.step_losses.shape == (EPOCHS * STEPS,)
    assert run.step_losses.dtype == np.float32
    assert run.train_logits.shape == (10_000, 2)
    assert run.validation_logits.shape == (2_000, 2)
    assert len(run.seconds_per_epoch) == EPOCHS
    assert all(len(values) == EPOCHS for values in run.history.values())
    assert set(run.history) == {"loss", "accuracy", "validation_loss", "validation_accuracy"}


def test_the_epoch_loss_is_the_mean_over_images_of_the_step_losses(run):
    sizes = np.array([64] * (STEPS - 1) + [16])
    for epoch, reported in enumerate(run.history["loss"]):
        losses = run.step_losses[epoch * STEPS : (epoch + 1) * STEPS].astype(np.float64)
        assert reported == pytest.approx((losses * sizes).sum() / sizes.sum(), rel=1e-5)
        assert reported != pytest.approx(losses.mean(), rel=1e-5)  # control: the last batch weighs less


def test_the_last_validation_accuracy_is_that_of_the_final_logits(run, port_data):
    _, (_, labels) = port_data
    recount = (run.validation_logits.argmax(axis=1) == labels).mean()
    assert run.history["validation_accuracy"][-1] == pytest.approx(recount)
    assert recount > 0.7  # two epochs on real images beat guessing


def test_the_recorded_step_loss_is_the_loss_of_the_batch_before_its_update(port_data):
    """Against Keras' own loss object, evaluated on the first batch with the initial weights, on Keras' own path."""
    recipe = dataclasses.replace(PRESETS["narrow"], epochs=1)
    from birdplane_keras.model import build_model

    x, y = build_train_batches(port_data[0], recipe)[0]
    stock = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(y, build_model(recipe)(x))
    run = train(recipe, *port_data, engine="stock")
    assert run.step_losses[0] == float(stock.detach())
    assert run.step_losses[1] != run.step_losses[0]


def test_the_references_first_steps_are_the_articles_loop(reference_data):
    """Three steps written out here, from the same start and order: the same bits."""
    from torch_reference.data import build_train_loader
    from torch_reference.model import build_model

    recipe = dataclasses.replace(REFERENCE_PRESETS["narrow"], epochs=1)
    model = build_model(recipe)
    loader = build_train_loader(reference_data[0], recipe)
    losses = []
    for step, (imgs, labels) in enumerate(loader):
        if step == 3:
            break
        loss = torch.nn.NLLLoss()(model(imgs.view(imgs.shape[0], -1)), labels)
        losses.append(loss.item())
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter -= 1e-2 * gradient
    run = train_reference(recipe, reference_data[0], reference_data[1][:64])
    assert run.step_losses[:3].tolist() == losses


def test_both_call_back_after_every_epoch_with_the_same_measures(port_data, reference_data):
    seen = {"keras": [], "torch": []}
    recipe = dataclasses.replace(PRESETS["narrow"], epochs=1)
    few = slice(0, 128)
    port_few = [(x[few], y[few]) for x, y in port_data]
    train(recipe, *port_few, on_epoch_end=lambda *call: seen["keras"].append(call))
    reference_few = [examples[few] for examples in reference_data]
    train_reference(
        dataclasses.replace(REFERENCE_PRESETS["narrow"], epochs=1),
        *reference_few,
        on_epoch_end=lambda *call: seen["torch"].append(call),
    )
    ((_, _, ours),), ((_, _, theirs),) = seen["keras"], seen["torch"]
    assert set(theirs) - set(ours) == {"last_batch_loss"}
    assert set(ours) == {"loss", "accuracy", "validation_loss", "validation_accuracy"}

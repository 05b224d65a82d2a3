"""Keras classes that do what PyTorch's do, against PyTorch, with Keras' own as the control."""

import keras
import numpy as np
import pytest
import torch

from birdplane_keras import torch_equivalents
from birdplane_keras.model import linear_uniform
from birdplane_keras.torch_equivalents.form import as_given

# Measured: 0 ULP, every bit of every weight, since the operations are PyTorch's own. Two are left for builds of PyTorch
# whose vectorised loops round otherwise than their remainders; Keras' own Adam is off by a million ULP and more.
ULPS = 2
# Measured: 0 as well, of values around 1; the outputs of Keras' own layer are off by 5e-7, its statistics by 2e-2.
NORMALISED = 2e-6
CONSTANT, CHANGED = (0.001, 0.001), (0.003, 0.0005)  # rates of the first ten steps and of the others
OPTIMIZERS = [
    ("Adam", {}),
    ("Adam", {"weight_decay": 0.1}),
    ("Adam", {"amsgrad": True}),
    ("AdamW", {"weight_decay": 0.01}),
    ("SGD", {"momentum": 0.9}),
    ("SGD", {"momentum": 0.9, "nesterov": True}),
    ("SGD", {"momentum": 0.9, "weight_decay": 0.1}),
    ("SGD", {"momentum": 0.9, "dampening": 0.5}),
    ("SGD", {"weight_decay": 0.1}),
    ("RMSprop", {}),
    ("RMSprop", {"momentum": 0.9, "centered": True}),
    ("RMSprop", {"weight_decay": 0.1}),
    ("Adagrad", {}),
    ("Adagrad", {"lr_decay": 0.1, "weight_decay": 0.1}),
]
CONTROLS = [  # what Keras' own classes have, too, and do otherwise; at one rate, SGD with momentum is the same
    *((name, settings, CONSTANT) for name, settings in OPTIMIZERS if name.startswith("Adam")),
    ("SGD", {"momentum": 0.9}, CHANGED),
    ("SGD", {"momentum": 0.9, "weight_decay": 0.1}, CONSTANT),
    ("RMSprop", {}, CONSTANT),
    ("Adagrad", {}, CONSTANT),
]
IMAGES = {  # shape in PyTorch's layout -> the reference, and the permutation that Keras' layout is of it
    (16, 5): (torch.nn.BatchNorm1d, (0, 1)),
    (8, 5, 7): (torch.nn.BatchNorm1d, (0, 2, 1)),
    (4, 5, 6, 3): (torch.nn.BatchNorm2d, (0, 2, 3, 1)),
}


def steps_of_both(optimizer, reference_type, learning_rates, settings, steps=20):
    """Returns the weights of both sides after steps with the same gradients, some of them around 1e-9."""
    rng = np.random.default_rng(0)
    start = rng.normal(size=(33, 19)).astype(np.float32)
    ours = keras.Variable(start)
    theirs = torch.nn.Parameter(torch.from_numpy(start.copy()))
    reference = reference_type([theirs], lr=learning_rates[0], **settings)
    for step in range(steps):
        if step == steps // 2:
            optimizer.learning_rate = reference.param_groups[0]["lr"] = learning_rates[1]
        scale = 10.0 ** rng.integers(-9, 0, size=start.shape)
        gradient = torch.from_numpy((rng.normal(size=start.shape) * scale).astype(np.float32))
        optimizer.apply([gradient.clone()], [ours])
        theirs.grad = gradient
        reference.step()
    return ours.numpy(), theirs.detach().numpy()


def ulps(ours, theirs):
    return float((np.abs(ours - theirs) / np.spacing(np.abs(theirs))).max())


@pytest.mark.parametrize("learning_rates", [CONSTANT, CHANGED])
@pytest.mark.parametrize(("name", "settings"), OPTIMIZERS)
def test_twenty_steps_are_pytorchs(name, settings, learning_rates):
    optimizer = getattr(torch_equivalents, name)(learning_rate=learning_rates[0], **settings)
    assert ulps(*steps_of_both(optimizer, getattr(torch.optim, name), learning_rates, settings)) <= ULPS


@pytest.mark.parametrize(("name", "settings", "learning_rates"), CONTROLS)
def test_twenty_steps_of_keras_own_are_not(name, settings, learning_rates):
    """The control of the test above."""
    epsilon = getattr(torch.optim, name)([torch.zeros(1)]).defaults.get("eps")
    settings_of_both = settings if epsilon is None else settings | {"epsilon": epsilon}
    control = getattr(keras.optimizers, name)(learning_rate=learning_rates[0], **settings_of_both)
    assert ulps(*steps_of_both(control, getattr(torch.optim, name), learning_rates, settings)) > 100 * ULPS


NAMES = {"learning_rate": "lr", "epsilon": "eps", "rho": "alpha"}  # Keras' -> PyTorch's


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"])
def test_the_defaults_are_pytorchs(name):
    defaults = getattr(torch.optim, name)([torch.nn.Parameter(torch.zeros(1))]).defaults
    config = getattr(torch_equivalents, name)().get_config()
    compared = {ours: defaults[NAMES.get(ours, ours)] for ours in config if NAMES.get(ours, ours) in defaults}
    assert len(compared) >= 3
    for ours, theirs in compared.items():
        assert np.float32(config[ours] or 0) == np.float32(theirs or 0), ours
    if "betas" in defaults:
        assert (config["beta_1"], config["beta_2"]) == defaults["betas"]


def test_a_learning_rate_is_read_as_it_was_typed():
    variable = keras.optimizers.Adam(0.001).learning_rate
    assert as_given(variable) == 0.001
    assert float(variable) != 0.001  # control


def test_a_schedule_gives_the_rate_of_its_step():
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([10 - 1], [0.003, 0.0005])
    optimizer = torch_equivalents.Adam(schedule)
    weight, reference = keras.Variable([1.0, -2.0]), torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    original = torch.optim.Adam([reference], lr=0.003)
    for step in range(20):
        original.param_groups[0]["lr"] = 0.003 if step < 10 else 0.0005
        reference.grad = torch.tensor([0.1, -0.3]) * (step + 1)
        optimizer.apply([reference.grad.clone()], [weight])
        original.step()
    assert ulps(weight.numpy(), reference.detach().numpy()) <= ULPS


def batch_norms(layer, shape, batches=5):
    """Trains a layer and PyTorch's on the same batches; returns their largest difference in each kind of number."""
    reference_type, to_keras = IMAGES[shape]
    reference = reference_type(shape[1]).train()
    back = np.argsort(to_keras).tolist()
    rng = np.random.default_rng(1)
    outputs = statistics = 0.0
    for _ in range(batches):
        x = torch.from_numpy(rng.normal(0.5, 2, size=shape).astype(np.float32))
        ours = layer(x.permute(to_keras), training=True).permute(back)
        outputs = max(outputs, (ours - reference(x)).abs().max().item())
    for moving, running in [
        (layer.moving_mean.value, reference.running_mean),
        (layer.moving_variance.value, reference.running_var),
    ]:
        statistics = max(statistics, (moving - running).abs().max().item())
    evaluated = layer(x.permute(to_keras), training=False).permute(back) - reference.eval()(x)
    return outputs, statistics, evaluated.abs().max().item()


@pytest.mark.parametrize("shape", IMAGES, ids=str)
def test_batch_normalisation_is_pytorchs_in_training_and_evaluation_and_keras_own_is_not(shape):
    assert max(batch_norms(torch_equivalents.BatchNormalization(), shape)) <= NORMALISED
    stock = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)
    outputs, statistics, evaluated = batch_norms(stock, shape)
    assert outputs <= NORMALISED  # the control differs where it should, and nowhere else
    assert min(statistics, evaluated) > 100 * NORMALISED


def test_a_large_mean_costs_no_digits():
    x = torch.from_numpy(np.random.default_rng(2).normal(1000, 1, size=(64, 3)).astype(np.float32))
    expected = torch.nn.BatchNorm1d(3)(x)
    ours = torch_equivalents.BatchNormalization()(x, training=True)
    stock = keras.layers.BatchNormalization(epsilon=1e-5)(x, training=True)
    assert (ours - expected).abs().max() < 1e-4  # of values around 1, with a step of 6e-5 in the inputs
    assert (stock - expected).abs().max() > 1e-2


@pytest.mark.parametrize(("scale", "center"), [(False, True), (True, False), (False, False)])
def test_scale_and_centre_can_be_left_out(scale, center, rng):
    x = torch.from_numpy(rng.normal(size=(6, 4)).astype(np.float32))
    layer = torch_equivalents.BatchNormalization(scale=scale, center=center)
    assert (layer(x, training=True) - torch.nn.BatchNorm1d(4, affine=False)(x)).abs().max() <= NORMALISED


def test_a_frozen_layer_keeps_its_statistics(rng):
    layer = torch_equivalents.BatchNormalization(trainable=False)
    x = torch.from_numpy(rng.normal(3, 1, size=(6, 4)).astype(np.float32))
    layer(x, training=True)
    assert not layer.moving_mean.numpy().any()
    layer.trainable = True
    layer(x, training=True)
    assert layer.moving_mean.numpy().all()  # control


def test_a_mask_and_renormalisation_are_refused(rng):
    x = torch.from_numpy(rng.normal(size=(2, 3, 4)).astype(np.float32))
    mask = torch.ones(2, 3, dtype=torch.bool)
    layer = torch_equivalents.BatchNormalization()
    assert layer(x, training=False, mask=mask).shape == x.shape  # control: it plays no part in evaluation
    with pytest.raises(ValueError, match=r"expected no mask.*received one of shape \(2, 3\)"):
        layer(x, training=True, mask=mask)
    with pytest.raises(ValueError, match=r"expected renorm=False.*received renorm=True"):
        torch_equivalents.BatchNormalization(renorm=True)


@pytest.mark.parametrize("optimizer", [torch_equivalents.Adam, torch_equivalents.AdamW])
def test_a_saved_model_trains_on_as_if_it_had_not_been_saved(optimizer, tmp_path, rng):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.layers.Input((6, 6, 3)),
            keras.layers.Conv2D(4, 3),
            torch_equivalents.BatchNormalization(momentum=0.8, name="normalise"),
            keras.layers.Flatten(),
            keras.layers.Dense(2),
        ]
    )
    model.compile(optimizer(0.01, epsilon=1e-6), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x, y = rng.normal(size=(32, 6, 6, 3)).astype(np.float32), np.arange(32) % 2
    fit = {"x": x, "y": y, "batch_size": 8, "verbose": 0, "shuffle": False}
    losses = model.fit(**fit, epochs=3).history["loss"]
    assert losses[-1] < losses[0]
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded.optimizer) is optimizer
    assert type(loaded.get_layer("normalise")) is torch_equivalents.BatchNormalization
    assert loaded.optimizer.get_config() == model.optimizer.get_config()
    assert loaded.get_layer("normalise").get_config() == model.get_layer("normalise").get_config()
    before = model.get_weights()
    assert model.fit(**fit).history == loaded.fit(**fit).history
    after = list(zip(before, model.get_weights(), loaded.get_weights(), strict=True))
    assert all(np.array_equal(ours, theirs) for _, ours, theirs in after)
    assert not any(np.array_equal(old, ours) for old, ours, _ in after)  # control: this fit moved every weight


@pytest.mark.parametrize("steps", [None, 2])
def test_accumulated_gradients_count_as_one_step(steps):
    reference = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    original = torch.optim.Adam([reference])
    weight = keras.Variable([1.0, -2.0])
    optimizer = torch_equivalents.Adam(gradient_accumulation_steps=steps)
    for step in range(6):
        reference.grad = torch.tensor([1e-8, -0.3]) * (step + 1)
        for _ in range(steps or 1):
            optimizer.apply([reference.grad.clone()], [weight])
        original.step()
    assert ulps(weight.numpy(), reference.detach().numpy()) <= ULPS


def test_the_ports_initialiser_serves_a_convolution_too():
    reference = torch.nn.Conv2d(3, 64, 5)
    bound = (3 * 5 * 5) ** -0.5
    layer = keras.layers.Conv2D(
        64, 5, kernel_initializer=linear_uniform(3 * 5 * 5, 0), bias_initializer=linear_uniform(3 * 5 * 5, 1)
    )
    stock = keras.layers.Conv2D(64, 5)
    for each in (layer, stock):
        each.build((None, 32, 32, 3))
    for ours, theirs in [(layer.kernel, reference.weight), (layer.bias, reference.bias)]:
        for largest in (np.abs(ours.numpy()).max(), theirs.detach().abs().max().item()):
            assert 0.9 * bound < largest <= bound
    assert np.abs(stock.kernel.numpy()).max() < 0.6 * bound  # control
    assert not stock.bias.numpy().any()

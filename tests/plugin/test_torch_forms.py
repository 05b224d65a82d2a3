"""Rewrites into PyTorch's own forms: the step then ends in the bits of the PyTorch layer or loss."""

import keras
import numpy as np
import pytest
import torch
from torch import nn

from birdplane_keras import torch_plugin
from plugin.training import entries

ROWS = (64, 16) * 8  # batches, so many that rounding shows on any CPU; 1/N is exact for both


def channels_first(filters: int, **settings) -> keras.layers.Conv2D:
    return keras.layers.Conv2D(filters, 3, padding="same", data_format="channels_first", **settings)


def train_both(model: keras.Model, module: nn.Module, loss: nn.Module, keras_loss, shape, targets, engine: str):
    """Makes a step of SGD for each of `ROWS` on both, from one start; returns both sides' losses and weights."""
    weights = [parameter.detach().numpy() for parameter in module.parameters()]
    model.set_weights([w.transpose(2, 3, 1, 0) if w.ndim == 4 else w.T for w in weights])
    model.compile(keras.optimizers.SGD(0.5), keras_loss)
    if engine != "stock":
        torch_plugin.attach(model, engine, strict=True)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5)
    rng = np.random.default_rng(0)
    losses = []
    for rows in ROWS:
        x, y = rng.standard_normal((rows, *shape)).astype(np.float32), targets(rng, rows)
        ours = model.train_on_batch(x, y, return_dict=True)["loss"]
        model.reset_metrics()
        optimizer.zero_grad()
        theirs = loss(module(torch.from_numpy(x)), torch.from_numpy(y))
        theirs.backward()
        optimizer.step()
        losses.append((float(ours), float(theirs)))
    trained = [w.transpose(3, 2, 0, 1) if w.ndim == 4 else w.T for w in model.get_weights()]
    return losses, list(zip(trained, [p.detach().numpy() for p in module.parameters()], strict=True))


def convolutions(engine: str):
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.Tanh(), nn.MaxPool2d(2), nn.Conv2d(16, 8, 3, padding=1), nn.Flatten(),
        nn.Linear(512, 2),
    )  # fmt: skip
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((3, 16, 16)),
            channels_first(16, activation="tanh"),
            layers.MaxPooling2D(2, data_format="channels_first"),
            channels_first(8),
            layers.Flatten(),
            layers.Dense(2),
        ]
    )
    crossentropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    sides = (model, module, nn.CrossEntropyLoss(), crossentropy)
    return model, train_both(*sides, (3, 16, 16), lambda rng, rows: rng.integers(0, 2, rows), engine)


def squares(engine: str):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(20, 32), nn.Tanh(), nn.Linear(32, 4))
    model = keras.Sequential([keras.Input((20,)), keras.layers.Dense(32, activation="tanh"), keras.layers.Dense(4)])
    sides = (model, module, nn.MSELoss(), keras.losses.MeanSquaredError())
    return model, train_both(*sides, (20,), lambda rng, rows: rng.standard_normal((rows, 4)).astype(np.float32), engine)


@pytest.mark.parametrize(
    ("both", "rewrites"),
    [(convolutions, {"convolution with bias": 2, "bias in convolution's gradient": 2}), (squares, {"native loss": 1})],
)
def test_a_step_ends_in_the_bits_of_pytorchs_own_form(both, rewrites):
    model, (losses, weights) = both("exact")
    made = entries(model, "train")[0].step.rewrites
    assert rewrites.items() <= made.items()
    for ours, theirs in losses:
        assert ours == theirs
    for ours, theirs in weights:
        assert np.ascontiguousarray(ours).tobytes() == theirs.tobytes()


@pytest.mark.parametrize("both", [convolutions, squares])
def test_without_the_plugin_the_same_steps_round_otherwise(both):
    """Control: otherwise the test above would pass without any rewrite."""
    _, (losses, weights) = both("stock")
    assert any(ours != theirs for ours, theirs in losses) or any((ours != theirs).any() for ours, theirs in weights)


def test_a_squared_error_that_is_weighted_or_summed_keeps_its_own_form():
    model = keras.Sequential([keras.Input((20,)), keras.layers.Dense(4)])
    model.compile("sgd", keras.losses.MeanSquaredError(reduction="sum"))
    torch_plugin.attach(model, strict=True)
    x, y = np.ones((8, 20), np.float32), np.ones((8, 4), np.float32)
    model.train_on_batch(x, y)
    assert "native loss" not in entries(model, "train")[0].step.rewrites
    model.compile("sgd", "mse")
    model.train_on_batch(x, y, sample_weight=np.arange(8, dtype=np.float32))
    assert "native loss" not in entries(model, "train")[0].step.rewrites


def test_a_bias_shared_by_two_convolutions_is_not_taken_from_one_gradient():
    """Its gradient is a sum of two; each part may come from its convolution, the sum may not."""

    class Shared(keras.layers.Layer):
        def build(self, shape):
            self.kernels = [self.add_weight(shape=(3, 3, 2, 2), name=f"kernel_{n}") for n in range(2)]
            self.bias = self.add_weight(shape=(2,), name="bias")

        def call(self, x):
            for kernel in self.kernels:
                x = keras.ops.conv(x, kernel, padding="same", data_format="channels_first")
                x = x + keras.ops.reshape(self.bias, (1, 2, 1, 1))
            return x

    rng = np.random.default_rng(0)
    x = rng.standard_normal((8, 2, 6, 6)).astype(np.float32)
    trained = []
    for engine in ("stock", "exact"):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((2, 6, 6)), Shared(), keras.layers.Flatten(), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(1e-3), "mse")
        if engine == "exact":
            torch_plugin.attach(model, engine, strict=True)
        for _ in range(3):
            model.train_on_batch(x, x[:, 0, 0, :1])
        trained.append(model.get_weights())
    for stock, exact in zip(*trained, strict=True):
        np.testing.assert_allclose(exact, stock, rtol=1e-4, atol=1e-6)

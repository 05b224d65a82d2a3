"""PyTorch's own operations in the place of what Keras composes: where settings allow it, and proved."""

import keras
import numpy as np
import pytest
import torch
from keras import layers

from birdplane_keras import torch_plugin
from birdplane_keras.torch_plugin import TorchPluginError, proving
from birdplane_keras.torch_plugin.errors import NotTraceableError
from birdplane_keras.torch_plugin.native import linear, normalisation, recurrent_ops
from birdplane_keras.torch_plugin.native.forms import NativeForm
from plugin.networks import draw
from plugin.training import entries

IMAGES, SERIES = (6, 6, 4), (5, 4)


def trained(layer: keras.layers.Layer, shape: tuple[int, ...], engine: str | None, loss="mse") -> keras.Model:
    """Trains a layer between two dense ones for six steps, and predicts."""
    keras.utils.set_random_seed(0)
    inner = layer if isinstance(layer, list) else [layer]
    model = keras.Sequential([keras.Input(shape), *inner, layers.Flatten(), layers.Dense(2)])
    model.set_weights(
        [draw(*each.shape, seed=n) * 0.3 + (each.ndim == 1) for n, each in enumerate(model.get_weights())]
    )
    model.compile(keras.optimizers.SGD(0.01), loss)
    if engine is not None:
        torch_plugin.attach(model, engine, strict=True, audit="step")
    for step in range(6):
        model.train_on_batch(draw(8, *shape, seed=step), draw(8, 2, seed=99))
    model.predict(draw(8, *shape), verbose=0)
    return model


NATIVE = {
    "batch_norm": (lambda: layers.BatchNormalization(), IMAGES),
    "batch_norm without scale": (lambda: layers.BatchNormalization(scale=False, center=False), IMAGES),
    "batch_norm of vectors": (lambda: layers.BatchNormalization(), (4,)),
    "batch_norm of channels first": (lambda: layers.BatchNormalization(axis=1), IMAGES),
    "batch_norm frozen": (lambda: layers.BatchNormalization(trainable=False), IMAGES),
    "group_norm": (lambda: layers.GroupNormalization(2), IMAGES),
    "linear": (lambda: layers.EinsumDense("abc,cde->abde", (5, 2, 3), bias_axes="de"), SERIES),
    "linear over two axes": (lambda: layers.EinsumDense("abc,bcd->ad", (3,), bias_axes="d", activation="tanh"), SERIES),
    "lstm": (lambda: layers.LSTM(3), SERIES),
    "lstm backwards, all steps": (lambda: layers.LSTM(3, go_backwards=True, return_sequences=True), SERIES),
    "lstm in both directions": (lambda: layers.Bidirectional(layers.LSTM(3, return_sequences=True)), SERIES),
    "lstm without bias": (lambda: layers.LSTM(3, use_bias=False), SERIES),
    "lstm on lstm": (lambda: [layers.LSTM(3, return_sequences=True), layers.LSTM(2)], SERIES),
    "gru": (lambda: layers.GRU(3), SERIES),
    "gru without bias": (lambda: layers.GRU(3, use_bias=False, return_sequences=True), SERIES),
    "rnn": (lambda: layers.SimpleRNN(3), SERIES),
    "rnn with rectifiers": (lambda: layers.SimpleRNN(3, activation="relu", return_sequences=True), SERIES),
}
NOT_NATIVE = {
    "batch_norm": (lambda: layers.BatchNormalization(renorm=True), IMAGES),
    "linear": (lambda: layers.EinsumDense("abc,cb->abc", (5, 4)), SERIES),
    "lstm": (lambda: layers.LSTM(3, recurrent_activation="hard_sigmoid"), SERIES),
    "gru": (lambda: layers.GRU(3, reset_after=False), SERIES),
    "rnn": (lambda: layers.SimpleRNN(3, activation="sigmoid"), SERIES),
}


def assert_equal(one: keras.Model, other: keras.Model) -> None:
    for ours, theirs in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (" " in name)) for name in NATIVE])
@pytest.mark.parametrize("engine", ["exact", pytest.param("fused", marks=pytest.mark.slow)])
def test_a_layer_runs_as_pytorchs_own_and_trains_as_in_keras(name, engine):
    make, shape = NATIVE[name]
    attached = trained(make(), shape, engine)
    for kind in ("train", "predict"):
        assert entries(attached, kind)[0].step.rewrites[f"native {name.split()[0]}"] >= 1
    assert_equal(attached, trained(make(), shape, None))


@pytest.mark.parametrize("name", NOT_NATIVE)
def test_other_settings_keep_keras_form(name):
    make, shape = NOT_NATIVE[name]
    attached = trained(make(), shape, "exact")
    assert f"native {name}" not in entries(attached, "train")[0].step.rewrites
    assert_equal(attached, trained(make(), shape, None))


@pytest.mark.parametrize(
    "loss",
    [
        "mse", "mae", keras.losses.Huber(0.7), keras.losses.BinaryCrossentropy(from_logits=True),
        keras.losses.CategoricalCrossentropy(from_logits=True),
    ],
    ids=["mse", "mae", "huber", "binary", "categorical"],
)  # fmt: skip
def test_a_loss_is_averaged_as_in_pytorch(loss):
    attached = trained(layers.Dense(3, activation="tanh"), (4,), "exact", loss)
    assert entries(attached, "train")[0].step.rewrites["native loss"] == 1
    assert_equal(attached, trained(layers.Dense(3, activation="tanh"), (4,), None, loss))


class OfShifted(keras.losses.MeanSquaredError):
    """The stock loss of other targets."""

    def call(self, y_true, y_pred):
        return super().call(y_true + 0.5, y_pred)


class Weighed(keras.losses.MeanSquaredError):
    """The stock loss of each example, and something done with it."""

    def call(self, y_true, y_pred):
        return super().call(y_true, y_pred) * keras.ops.arange(1.0, 9.0)


class WeighedInPlace(keras.losses.MeanSquaredError):
    """The same, in the tensor that the stock loss returned."""

    def call(self, y_true, y_pred):
        return super().call(y_true, y_pred).mul_(torch.arange(1.0, 9.0))


@pytest.mark.parametrize(("loss", "count"), [(OfShifted, 1), (Weighed, 0), (WeighedInPlace, 0)])
def test_a_loss_that_returns_a_stock_one_is_averaged_as_in_pytorch(loss, count):
    attached = trained(layers.Dense(3, activation="tanh"), (4,), "exact", loss())
    assert entries(attached, "train")[0].step.rewrites["native loss"] == count
    assert_equal(attached, trained(layers.Dense(3, activation="tanh"), (4,), None, loss()))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_without_a_mask_is_pytorchs_own_where_dropout_does_nothing(causal, masked):
    keras.utils.set_random_seed(0)
    inputs, mask = keras.Input(SERIES), keras.Input((5, 5), dtype="bool")
    attention = layers.MultiHeadAttention(2, 3, dropout=0.2)
    attended = attention(inputs, inputs, use_causal_mask=causal, attention_mask=mask if masked else None)
    model = keras.Model([inputs, mask], attended)
    x, allowed = draw(8, *SERIES), np.ones((8, 5, 5), bool)
    allowed[0, 2] = False  # nothing is left of this row
    stock = model.predict([x, allowed], verbose=0)
    torch_plugin.attach(model, strict=True)
    np.testing.assert_allclose(model.predict([x, allowed], verbose=0), stock, rtol=1e-5, atol=1e-5)
    is_masked = masked or (causal and keras.version() < "3.15")  # which makes a mask of it
    assert entries(model, "predict")[0].step.rewrites.get("native attention", 0) == (not is_masked)
    model.compile("sgd", "mse")
    model.train_on_batch([x, allowed], draw(8, *SERIES))
    assert "native attention" not in entries(model, "train")[0].step.rewrites


MASKED = {
    "lstm": lambda **given: layers.LSTM(3, **given),
    "gru": lambda **given: layers.GRU(3, **given),
    "rnn": lambda **given: layers.SimpleRNN(3, **given),
    "lstm in both directions": lambda **given: layers.Bidirectional(layers.LSTM(3, **given)),
}
WORDS = np.array([[1, 2, 0, 0, 0], [3, 0, 5, 0, 6], [0, 0, 4, 2, 0], [0, 0, 0, 0, 0], [1, 2, 3, 4, 5]], "int32")


def masked(make, engine: str | None, **given) -> tuple[list[np.ndarray], int]:
    """Trains a layer on words of which some are masked, in any order; returns what is left, and how many are native."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((5,), dtype="int32")
    inner = make(**given)(layers.Embedding(7, 4, mask_zero=True)(inputs))
    shown = inner if isinstance(inner, list | tuple) else [inner]
    model = keras.Model(inputs, [layers.Dense(2)(each) for each in shown])
    model.compile(keras.optimizers.SGD(0.1), ["mse"] * len(shown))
    if engine is not None:
        torch_plugin.attach(model, engine, strict=True, audit="step")
    targets = [draw(5, *each.shape[1:], seed=n) for n, each in enumerate(model.outputs)]
    for _ in range(4):
        model.train_on_batch(WORDS, targets)
    predicted = keras.tree.flatten(model.predict(WORDS, verbose=0))
    rewrites = entries(model, "train")[0].step.rewrites if engine is not None else {}
    return [*model.get_weights(), *predicted], sum(rewrites.get(f"native {name}", 0) for name in ("lstm", "gru", "rnn"))


def assert_masked_as_stock(name: str, given: dict) -> int:
    """Returns how many layers are PyTorch's own."""
    (ours, natives), (theirs, _) = (masked(MASKED[name], engine, **given) for engine in ("exact", None))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-6)
    return natives


@pytest.mark.parametrize(
    ("name", "given"),
    [
        pytest.param("lstm", {"return_sequences": True}, marks=pytest.mark.slow),
        pytest.param("lstm", {"return_sequences": True, "go_backwards": True}, marks=pytest.mark.slow),
        ("gru", {"return_sequences": True, "return_state": True}),
        pytest.param("gru", {"go_backwards": True}, marks=pytest.mark.slow),
        pytest.param("rnn", {"return_sequences": True, "zero_output_for_mask": True}, marks=pytest.mark.slow),
        pytest.param("lstm in both directions", {"return_sequences": True}, marks=pytest.mark.slow),
    ],
)
def test_a_masked_recurrent_layer_runs_as_pytorchs_own(name, given):
    assert assert_masked_as_stock(name, given) >= 1


@pytest.mark.slow
@pytest.mark.parametrize("given", [{"return_state": True}, {"unroll": True}])
def test_a_masked_layer_that_shows_its_cell_or_unrolls_keeps_keras_form(given):
    assert assert_masked_as_stock("lstm", given) == 0


def wrong_by(factor: float) -> NativeForm:
    """A form that is wrong by a factor."""

    def make(layer, inputs, training=None, mask=None):
        made = normalisation.batch_norm(layer, inputs, training, mask)
        return made if made is NotImplemented else made * factor

    return NativeForm(name="batch_norm", owner=layers.BatchNormalization, attribute="call", make=make)


@pytest.mark.parametrize("factor", [1 + 2e-5, 1.01])
def test_a_wrong_form_is_refused_and_the_step_made_without_it(factor, monkeypatch):
    """Control: double precision shows what single precision would take for rounding."""
    monkeypatch.setattr(proving, "FORMS", (wrong_by(factor),))
    attached = trained(layers.BatchNormalization(), IMAGES, "exact")
    step = entries(attached, "train")[0].step
    assert "native batch_norm" not in step.rewrites
    assert "without PyTorch's own batch_norm, because with them its rewritten graph is" in torch_plugin.explain(
        attached
    )
    assert_equal(attached, trained(layers.BatchNormalization(), IMAGES, None))


def test_what_is_wrong_in_single_precision_only_is_refused(monkeypatch):
    """Control: an operation that is right in double precision, and in single precision computes in half of it."""

    coarse = torch.library.Library("birdplane_test", "DEF")
    coarse.define("narrow(Tensor x) -> Tensor")
    coarse.impl("narrow", lambda x: x.clone() if x.dtype == torch.float64 else x * 1.003, "CompositeExplicitAutograd")
    torch.library.register_autograd("birdplane_test::narrow", lambda ctx, gradient: gradient, lib=coarse)

    def by_operation(layer, inputs, training=None, mask=None):
        made = normalisation.batch_norm(layer, inputs, training, mask)
        return torch.ops.birdplane_test.narrow(made) if training else made

    form = NativeForm(name="batch_norm", owner=layers.BatchNormalization, attribute="call", make=by_operation)
    monkeypatch.setattr(proving, "FORMS", (form,))
    attached = trained(layers.BatchNormalization(), IMAGES, "exact")
    assert "more than rounding" in torch_plugin.explain(attached)
    assert_equal(attached, trained(layers.BatchNormalization(), IMAGES, None))


@pytest.mark.parametrize(
    ("equation", "count"),
    [("abc,cd->abd", 1), ("abc,cde->abde", 1), ("abc,bcd->ad", 2), ("abc,cb->abc", None), ("ab,bc->ca", None),
     ("abc,acd->abd", None), ("aab,bc->aac", None), ("...b,bc->...c", None)],
)  # fmt: skip
def test_an_equation_is_a_product_of_matrices_or_not(equation, count):
    assert linear.contracted(equation) == count


@pytest.mark.parametrize("unneeded", [(), (0,), (0, 1)])
@pytest.mark.parametrize("kind", ["lstm", "gru", "tanh", "relu"])
def test_a_recurrent_operation_finds_its_gradients_with_and_without_a_record(kind, unneeded):
    torch.manual_seed(0)
    gates = {"lstm": 4, "gru": 3}.get(kind, 1)
    inputs, states = torch.randn(2, 5, 4), [torch.randn(1, 2, 3) for _ in range(2 if kind == "lstm" else 1)]
    weights = [torch.randn(3 * gates, 4), torch.randn(3 * gates, 3), torch.randn(3 * gates), torch.randn(3 * gates)]
    outputs = recurrent_ops.recorded(kind, inputs, states, weights)
    above = torch.randn_like(outputs[0])
    rest = inputs, states, weights, [place not in unneeded for place in range(5 + len(states))]
    found = recurrent_ops.gradients(kind, [above, None, None], outputs[0], *rest)
    again = torch.ops.birdplane.recurrent_backward(kind, [above, None, None], outputs[0].clone(), *rest)
    leaves = [each.clone().requires_grad_() for each in (inputs, *states, *weights)]
    count = 1 + len(states)
    made = recurrent_ops.run(kind, leaves[0], leaves[1:count], leaves[count:], trains=True)[0]
    expected = torch.autograd.grad(made, leaves, above)
    for place, (one, other, theirs) in enumerate(zip(found, again, expected, strict=True)):
        for ours in (one, other):
            assert torch.equal(ours, torch.empty(0) if place in unneeded else theirs)


@pytest.mark.parametrize("layer", [layers.LSTM, pytest.param(layers.GRU, marks=pytest.mark.slow), layers.SimpleRNN])
def test_kernels_of_recurrent_layers_lie_as_pytorch_reads_them(layer):
    cell = trained(layer(6), (5, 4), "exact").layers[0].cell
    assert all(kernel.value.t().is_contiguous() for kernel in (cell.kernel, cell.recurrent_kernel))


def test_a_proof_that_fails_is_told(monkeypatch):
    def refuse(*_, **__):
        raise NotTraceableError("of a test")

    monkeypatch.setattr(proving._Proof, "of", refuse)
    with pytest.raises(TorchPluginError, match="of a test"):
        trained(layers.Dense(3), (4,), "exact")

"""Recurrent layers on a CPU: in fewer operations with every bit, and step by step with another rounding."""

import keras
import pytest
import torch
from keras import layers

from birdplane_keras import torch_plugin
from birdplane_keras.torch_plugin.native import gru_in_order, lstm_in_calls, recurrent_ops, recurrent_steps
from birdplane_keras.torch_plugin.native.comparisons import Comparisons, drawn_like, strides_of
from birdplane_keras.torch_plugin.rewrites import BY_STEPS
from plugin.networks import draw

SHAPES = [(1, 3, 2, 5), (7, 3, 2, 33), (9, 8, 32, 64), (5, 1, 7, 10), (6, 20, 33, 100), (4, 5, 1, 16)]
GIVEN = ["outputs", "last", "both", "last output"]


def of_layer(kind, shape, *, bias=True, dtype=torch.float32):
    """Returns inputs, states and weights of PyTorch's layer, for T steps, features, N sequences and U units."""
    steps, features, sequences, units = shape
    torch.manual_seed(sum(shape))
    if kind in ("gru", "lstm"):
        module = {"gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[kind](features, units, batch_first=True, bias=bias)
    else:
        module = torch.nn.RNN(features, units, batch_first=True, bias=bias, nonlinearity=kind)
    inputs = torch.randn(sequences, steps, features, dtype=dtype)
    states = [torch.randn(1, sequences, units, dtype=dtype) for _ in range(2 if kind == "lstm" else 1)]
    return inputs, states, [w.detach().to(dtype) for w in module.parameters()]


def gradients_given(which, results):
    outputs, last, cell = (torch.randn(each.shape, dtype=each.dtype) for each in results)
    if which == "last output":
        outputs[:, :-1] = 0
    gives_last = which in ("last", "both")
    return [
        None if which == "last" else outputs,
        last if gives_last else None,
        cell if gives_last and cell.numel() else None,
    ]


@pytest.fixture
def compared(monkeypatch):
    """Nothing was compared yet."""
    monkeypatch.setattr(recurrent_ops, "COMPARISONS", Comparisons())
    return recurrent_ops.COMPARISONS


def made_twice(kind, layer, which, needs_inputs=True):
    """Returns results and gradients of the second time, when all has been compared; and PyTorch's."""
    inputs, states, weights = layer
    needed = [needs_inputs, *[True] * (len(states) + len(weights))]
    with torch.no_grad():
        theirs = recurrent_ops.recorded(kind, *layer)
        given = gradients_given(which, theirs)
        for _ in range(2):
            ours = recurrent_ops.made(kind, *layer)
            found = recurrent_ops.gradients_made(kind, given, ours[0], inputs, states, weights, needed)
        return (*ours, *found), (*theirs, *recurrent_ops.gradients(kind, given, theirs[0], *layer, needed))


@pytest.mark.parametrize("which", GIVEN)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_fewer_operations_keep_every_bit(kind, shape, which, compared):
    layer = of_layer(kind, shape, bias=kind == "lstm" or shape[0] % 3 != 0)
    ours, theirs = made_twice(kind, layer, which, needs_inputs=shape[0] % 2 == 0)
    assert set(compared._agree.values()) == {True}
    assert len(compared._agree) == 2  # forward and backward
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one, other)
        assert strides_of(one) == strides_of(other)


@pytest.mark.parametrize("part", ["forward", "backward"])
@pytest.mark.parametrize(("kind", "way"), [("gru", gru_in_order), ("lstm", lstm_in_calls)])
def test_what_differs_in_a_bit_stays_with_pytorchs_way(kind, way, part, compared, monkeypatch):
    """Negative control."""
    right = getattr(way, part)

    def wrong(*arguments):
        made = right(*arguments)
        (made[-1] if part == "backward" else made[0][0])[..., 0].mul_(1 + 1e-6)
        return made

    monkeypatch.setattr(way, part, wrong)
    ours, theirs = made_twice(kind, of_layer(kind, (6, 4, 8, 16)), "outputs")
    assert False in compared._agree.values()
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_numbers_that_round_alike_in_any_way_prove_nothing(kind, compared, monkeypatch):
    """A first batch of zeros: what is compared is drawn."""
    way = recurrent_ops.FASTER[kind]
    right = way.forward

    def wrong(*arguments):
        made = right(*arguments)
        made[0][0].mul_(1 + 1e-6)
        return made

    monkeypatch.setattr(way, "forward", wrong)
    inputs, states, weights = of_layer(kind, SHAPES[2])
    recurrent_ops.made(kind, inputs, states, [torch.zeros_like(weight) for weight in weights])
    assert set(compared._agree.values()) == {False}


def test_nothing_is_recorded_of_weights_that_train(compared):
    layer = of_layer("lstm", SHAPES[2])
    for weight in layer[2]:
        weight.requires_grad_()
    with torch.no_grad():
        results = [recurrent_ops.made("lstm", *layer) for _ in range(2)][-1]
    assert not any(each.requires_grad for each in results)


def test_drawn_numbers_lie_as_the_given_ones():
    given = [torch.zeros(3, 4).t(), torch.zeros(1, 4).expand(3, 4), None, torch.zeros(2, 3, dtype=torch.float64)]
    state = torch.random.get_rng_state()
    drawn = drawn_like(given)
    assert drawn[2] is None
    for one, other in zip(given, drawn, strict=True):
        if one is not None:
            assert (one.shape, one.stride(), one.dtype) == (other.shape, other.stride(), other.dtype)
            assert other.count_nonzero() == other.numel()
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize(("bias", "dtype"), [(False, torch.float32), (True, torch.float64)])
def test_an_lstm_that_onednn_does_not_make_stays_with_pytorch(bias, dtype, compared):
    layer = of_layer("lstm", SHAPES[2], bias=bias, dtype=dtype)
    ours, theirs = made_twice("lstm", layer, "both")
    assert not compared._agree
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("which", GIVEN)
@pytest.mark.parametrize("kind", recurrent_steps.KINDS)
@pytest.mark.parametrize("shape", SHAPES[:3])
def test_step_by_step_the_same_is_computed(shape, kind, which, bias):
    """In double precision, where rounding cannot hide a difference."""
    layer = of_layer(kind, shape, bias=bias, dtype=torch.float64)
    needed = [True] * (2 + len(layer[2]))
    with torch.no_grad():
        theirs, ours = recurrent_ops.recorded(kind, *layer), recurrent_steps.forward(kind, *layer)
        given = gradients_given(which, theirs)
        again = torch.clone(ours[0])  # without a record: what comes before is made again
        found = [recurrent_steps.backward(kind, given, each, *layer, needed) for each in (ours[0], again)]
        wanted = recurrent_ops.gradients(kind, given, theirs[0], *layer, needed)
    torch.testing.assert_close(ours[:2], theirs[:2])
    for made in found:
        torch.testing.assert_close(made, wanted)


LAYERS = {
    "gru": lambda: layers.GRU(16),
    "all steps of a gru": lambda: layers.GRU(16, return_sequences=True),
    "two grus, both ways": lambda: [layers.Bidirectional(layers.GRU(16, return_sequences=True)), layers.GRU(8)],
    "gru without bias": lambda: layers.GRU(16, use_bias=False),
    "rnn": lambda: layers.SimpleRNN(16),
    "rnn with rectifiers": lambda: layers.SimpleRNN(16, activation="relu", return_sequences=True),
    "gru of a masked series": lambda: [layers.Masking(), layers.GRU(16)],
}


def trained(make, engine):
    keras.utils.set_random_seed(0)
    layer = make()
    model = keras.Sequential([keras.Input((6, 4)), *(layer if isinstance(layer, list) else [layer])])
    model.add(layers.Flatten())
    model.add(layers.Dense(2))
    model.compile(keras.optimizers.Adam(0.01), "mse")
    if engine is not None:
        torch_plugin.attach(model, engine, strict=True, audit="step")
    x = draw(8, 6, 4)
    x[:3, 4:] = 0
    losses = [model.train_on_batch(x, draw(8, 2, seed=99)) for _ in range(6)]
    return model, [float(loss) for loss in losses]


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_run_step_by_step_by_engine_fused(name):
    stock, wanted = trained(LAYERS[name], None)
    model, losses = trained(LAYERS[name], "fused")
    count = len([layer for layer in model._flatten_layers() if isinstance(layer, layers.GRU | layers.SimpleRNN)])
    assert f"{count} x {BY_STEPS}" in str(torch_plugin.explain(model))
    assert losses == pytest.approx(wanted, rel=1e-5)
    for ours, theirs in zip(model.get_weights(), stock.get_weights(), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)


def test_engine_exact_leaves_the_loop_to_pytorch_or_keeps_its_bits():
    assert BY_STEPS not in str(torch_plugin.explain(trained(LAYERS["gru"], "exact")[0]))

"""Weights from one framework to the other: the outputs that follow are the proof that a layout is right."""

import keras
import numpy as np
import pytest
import torch
from keras import layers
from torch import nn

from birdplane_keras.parity.kinds.layouts import TensorMatch, as_is
from birdplane_keras.parity.matching.expressions import TorchTensor
from birdplane_keras.parity.matching.match import match_layers
from birdplane_keras.parity.matching.transfer import TransferError, keras_to_torch, torch_to_keras
from birdplane_keras.parity.sides.views import TorchView
from parity.transfers import check_both_ways, last, port, stir

MAPS = {
    "Conv1d": ((2, 9), lambda: nn.Conv1d(2, 4, 3), lambda: [layers.Conv1D(4, 3)]),
    "Conv2d": ((2, 6, 5), lambda: nn.Conv2d(2, 4, (3, 2)), lambda: [layers.Conv2D(4, (3, 2))]),
    "Conv2d, square": ((3, 5, 5), lambda: nn.Conv2d(3, 3, 3), lambda: [layers.Conv2D(3, 3)]),
    "Conv2d, grouped": ((4, 5, 5), lambda: nn.Conv2d(4, 6, 3, groups=2), lambda: [layers.Conv2D(6, 3, groups=2)]),
    "Conv3d": ((2, 4, 5, 6), lambda: nn.Conv3d(2, 3, 2), lambda: [layers.Conv3D(3, 2)]),
    "depthwise 1d": (
        (3, 7),
        lambda: nn.Conv1d(3, 6, 3, groups=3),
        lambda: [layers.DepthwiseConv1D(3, depth_multiplier=2)],
    ),
    "depthwise 2d": (
        (3, 5, 6),
        lambda: nn.Conv2d(3, 6, (2, 3), groups=3),
        lambda: [layers.DepthwiseConv2D((2, 3), depth_multiplier=2)],
    ),
    "depthwise as groups": (
        (3, 5, 6),
        lambda: nn.Conv2d(3, 3, 3, groups=3, bias=False),
        lambda: [layers.Conv2D(3, 3, groups=3, use_bias=False)],
    ),
    "ConvTranspose1d": ((2, 5), lambda: nn.ConvTranspose1d(2, 3, 3), lambda: [layers.Conv1DTranspose(3, 3)]),
    "ConvTranspose2d": (
        (2, 4, 5),
        lambda: nn.ConvTranspose2d(2, 3, (3, 2), stride=2),
        lambda: [layers.Conv2DTranspose(3, (3, 2), strides=2)],
    ),
    "ConvTranspose3d": ((2, 3, 3, 4), lambda: nn.ConvTranspose3d(2, 3, 2), lambda: [layers.Conv3DTranspose(3, 2)]),
    "BatchNorm2d": ((3, 4, 5), lambda: nn.BatchNorm2d(3), lambda: [layers.BatchNormalization(epsilon=1e-5)]),
    "BatchNorm2d without scale": (
        (3, 4, 5),
        lambda: nn.BatchNorm2d(3, affine=False),
        lambda: [layers.BatchNormalization(epsilon=1e-5, scale=False, center=False)],
    ),
    "GroupNorm": ((4, 3, 5), lambda: nn.GroupNorm(2, 4), lambda: [layers.GroupNormalization(2, epsilon=1e-5)]),
    "LayerNorm of a map": (
        (2, 5, 6),
        lambda: nn.Sequential(nn.Conv2d(2, 3, 2), nn.LayerNorm((3, 4, 5))),
        lambda: [layers.Conv2D(3, 2), layers.LayerNormalization(axis=(1, 2, 3), epsilon=1e-5)],
    ),
    "PReLU": (
        (3, 4, 5),
        lambda: nn.Sequential(nn.Conv2d(3, 3, 1), nn.PReLU(3)),
        lambda: [layers.Conv2D(3, 1), layers.PReLU(shared_axes=(1, 2))],
    ),
}
VECTORS = {
    "Linear": ((5,), lambda: nn.Linear(5, 3), lambda: [layers.Dense(3)]),
    "Linear, square": ((4,), lambda: nn.Linear(4, 4), lambda: [layers.Dense(4)]),
    "Linear over a sequence": ((6, 4), lambda: nn.Linear(4, 4), lambda: [layers.Dense(4)]),
    "BatchNorm1d": ((4,), lambda: nn.BatchNorm1d(4), lambda: [layers.BatchNormalization(epsilon=1e-5)]),
    "LayerNorm": ((6, 4), lambda: nn.LayerNorm(4), lambda: [layers.LayerNormalization(epsilon=1e-5)]),
    "LayerNorm of a sequence": (
        (6, 4),
        lambda: nn.LayerNorm((6, 4)),
        lambda: [layers.LayerNormalization(axis=(1, 2), epsilon=1e-5)],
    ),
    "RMSNorm": ((4,), lambda: nn.RMSNorm(4, eps=1e-6), lambda: [layers.RMSNormalization(epsilon=1e-6)]),
    "LSTM": (
        (6, 4),
        lambda: nn.LSTM(4, 4, batch_first=True),
        lambda: [layers.LSTM(4, return_sequences=True)],
    ),
    "LSTM without bias": (
        (6, 3),
        lambda: nn.LSTM(3, 4, batch_first=True, bias=False),
        lambda: [layers.LSTM(4, return_sequences=True, use_bias=False)],
    ),
    "GRU": ((6, 4), lambda: nn.GRU(4, 4, batch_first=True), lambda: [layers.GRU(4, return_sequences=True)]),
    "RNN": ((6, 4), lambda: nn.RNN(4, 4, batch_first=True), lambda: [layers.SimpleRNN(4, return_sequences=True)]),
    "LSTM of two layers": (
        (6, 3),
        lambda: nn.LSTM(3, 4, num_layers=2, batch_first=True),
        lambda: [layers.LSTM(4, return_sequences=True), layers.LSTM(4, return_sequences=True)],
    ),
    "bidirectional LSTM": (
        (6, 3),
        lambda: nn.LSTM(3, 4, batch_first=True, bidirectional=True),
        lambda: [layers.Bidirectional(layers.LSTM(4, return_sequences=True))],
    ),
    "bidirectional GRU of two layers": (
        (5, 3),
        lambda: nn.GRU(3, 4, num_layers=2, batch_first=True, bidirectional=True),
        lambda: [layers.Bidirectional(layers.GRU(4, return_sequences=True)) for _ in range(2)],
    ),
}


@pytest.mark.parametrize("kind", MAPS)
def test_a_layer_of_maps_computes_the_same_with_the_weights_of_the_other_side(kind, rng):
    shape, make, make_layers = MAPS[kind]
    inputs = rng.normal(size=(3, *shape)).astype(np.float32)
    check_both_ways(port((*shape[1:], shape[0]), *make_layers()), make, inputs, last)


@pytest.mark.parametrize("kind", VECTORS)
def test_a_layer_of_vectors_computes_the_same_with_the_weights_of_the_other_side(kind, rng):
    shape, make, make_layers = VECTORS[kind]
    inputs = rng.normal(size=(3, *shape)).astype(np.float32)
    check_both_ways(port(shape, *make_layers()), make, inputs)


def test_an_embedding_computes_the_same_with_the_weights_of_the_other_side(rng):
    inputs = rng.integers(0, 7, size=(3, 5))
    check_both_ways(port((5,), layers.Embedding(7, 4), dtype="int64"), lambda: nn.Embedding(7, 4), inputs)


class SelfAttention(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 3, batch_first=True, **options)

    def forward(self, x):
        return self.attention(x, x[:, :4, : self.attention.kdim], x[:, :4, : self.attention.vdim])[0]


@pytest.mark.parametrize("options", [{}, {"bias": False}, {"kdim": 4, "vdim": 5}], ids=["joined", "no bias", "apart"])
def test_an_attention_computes_the_same_with_the_weights_of_the_other_side(options, rng):
    x = keras.Input((5, 6))
    key, value = options.get("kdim", 6), options.get("vdim", 6)
    attention = layers.MultiHeadAttention(3, 2, use_bias=options.get("bias", True))
    model = keras.Model(x, attention(x, x[:, :4, :value], x[:, :4, :key]))
    check_both_ways(model, lambda: SelfAttention(**options), rng.normal(size=(2, 5, 6)).astype(np.float32))
    names = {match.name for match in match_layers(model, SelfAttention(**options)).tensors}
    assert ("attention.q_proj_weight" if "kdim" in options else "attention.in_proj_weight[query]") in names


def test_the_gradients_of_matched_tensors_agree(rng):
    """Sums, stacks and slices of gradients too: an LSTM's one bias has the gradient of either PyTorch bias."""

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.gru = nn.LSTM(3, 6, batch_first=True), nn.GRU(6, 6, batch_first=True)
            self.attention = nn.MultiheadAttention(6, 2, batch_first=True)

        def forward(self, x):
            x = self.gru(self.lstm(x)[0])[0]
            return self.attention(x, x, x)[0]

    module = stir(Network())
    inputs = keras.Input((5, 3))
    x = layers.GRU(6, return_sequences=True)(layers.LSTM(6, return_sequences=True)(inputs))
    model = keras.Model(inputs, layers.MultiHeadAttention(2, 3)(x, x))
    torch_to_keras(module, model)
    data = torch.from_numpy(rng.normal(size=(2, 5, 3)).astype(np.float32))
    module(data).square().sum().backward()
    model(data).square().sum().backward()
    matching = match_layers(model, module)
    named = dict(module.named_parameters())
    assert not matching.problems
    for match in matching.tensors:
        ours = match.from_keras(matching.variables[match.name].value.grad.numpy())
        theirs = match.gradient_from_torch(*(named[name].grad.numpy() for name in match.torch))
        np.testing.assert_allclose(ours, theirs, atol=1e-4, err_msg=match.name)
        assert np.abs(theirs).max() > 1e-3 or match.name == "attention.in_proj_bias[key]"  # softmax cancels that one
        assert match.gradient_from_torch(*(None for _ in match.torch)) is None
    kernel = next(match for match in matching.tensors if match.name == "gru.weight_ih_l0")
    unswapped = matching.variables[kernel.name].value.grad.numpy().T
    assert np.abs(unswapped - named[kernel.name].grad.numpy()).max() > 1e-2
    bias = next(match for match in matching.tensors if match.name == "gru.bias_ih_l0 + gru.bias_hh_l0")
    half = bias.gradient_from_torch(None, named["gru.bias_hh_l0"].grad.numpy())
    assert np.abs(half[0]).max() == 0 < np.abs(half[1]).max()
    found = {name: parameter.grad.clone() for name, parameter in named.items()}
    views = {m.name: m.gradient_from_torch(*(found[name].numpy() for name in m.torch)) for m in matching.tensors}
    TorchView(module, matching).set_gradients({name: 4 * view for name, view in views.items()}, share=0.5)
    for name, gradient in found.items():
        assert torch.equal(named[name].grad, 2 * gradient), name


def test_each_of_the_tensors_that_add_up_has_the_gradient_of_the_sum(rng):
    a, b, c = (TorchTensor(name) for name in "abc")
    made = np.concatenate([a[2:] + b, c])
    now = [rng.normal(size=size) for size in (5, 3, 2)]
    match = TensorMatch(
        name="a + b + c",
        keras="bias",
        torch=made.names,
        whole=False,
        trainable=(True, True),
        turn=as_is(),
        joint=made.joint,
    )
    view = rng.normal(size=5)
    first, second, third = match.gradient_to_torch(view, now)
    np.testing.assert_array_equal(first, [*now[0][:2], *view[:3]])
    np.testing.assert_array_equal(second, view[:3])
    np.testing.assert_array_equal(third, view[3:])


def test_a_gru_that_resets_before_is_refused_with_the_reason():
    model = port((6, 3), layers.GRU(4, return_sequences=True, reset_after=False))
    with pytest.raises(TransferError, match="reset_after=False resets the state before the recurrent kernel"):
        torch_to_keras(nn.GRU(3, 4, batch_first=True), model)


def test_another_number_of_heads_is_refused_though_every_size_fits():
    x = keras.Input((5, 6))
    model = keras.Model(x, layers.MultiHeadAttention(2, 3)(x, x))
    with pytest.raises(TransferError, match="2 heads in Keras, 3 in PyTorch"):
        torch_to_keras(SelfAttention(), model)


def test_dtypes_are_kept_and_copies_are_separate():
    model, module = port((3,), layers.Dense(2)), stir(nn.Linear(3, 2)).double()
    torch_to_keras(module, model)
    kernel = model.layers[0].kernel
    assert str(kernel.dtype) == "float32"
    with torch.no_grad():
        module.weight.zero_()
    assert np.abs(kernel.numpy()).max() > 0
    keras_to_torch(model, module)
    assert module.weight.dtype == torch.float64
    np.testing.assert_array_equal(module.weight.detach().numpy().T, kernel.numpy())


def test_a_count_of_batches_stays():
    model, module = port((3,), layers.BatchNormalization()), nn.BatchNorm1d(3)
    module.num_batches_tracked.fill_(7)
    keras_to_torch(model, module)
    assert int(module.num_batches_tracked) == 7


def test_every_problem_is_listed_at_once_and_nothing_is_changed():
    module = stir(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2, bias=False), nn.Conv2d(1, 2, 3)))
    model = port((3,), layers.Dense(4), layers.BatchNormalization(), layers.Dense(5), layers.LayerNormalization())
    ours = [weight.numpy() for weight in model.weights]
    theirs = {name: value.clone() for name, value in module.state_dict().items()}
    for transfer, sides in ((torch_to_keras, (module, model)), (keras_to_torch, (model, module))):
        with pytest.raises(TransferError) as raised:
            transfer(*sides)
        text = str(raised.value)
        dense, normalisation = model.layers[2], model.layers[3]
        paths = [dense.bias.path, normalisation.gamma.path, normalisation.beta.path]
        assert all(name in text for name in ["2.weight", "3.weight", "3.bias", *paths])
        kinds = "1 of another shape, 1 that a PyTorch module lacks, 2 in Keras without a counterpart, 2 in PyTorch"
        assert f"received {kinds} without a counterpart: " in text
        assert "0.weight" not in text
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(ours, model.weights, strict=True))
    assert all(torch.equal(value, theirs[name]) for name, value in module.state_dict().items())


def test_a_model_without_weights_is_told_to_be_built():
    with pytest.raises(TransferError, match="expected a built Keras model"):
        torch_to_keras(nn.Linear(3, 4), keras.Sequential([layers.Dense(4)]))
    with pytest.raises(TransferError, match="lazy"):
        torch_to_keras(nn.LazyLinear(4), port((3,), layers.Dense(4)))


def test_weights_tied_on_one_side_must_be_equal_on_the_other():
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model = port((3,), layers.Dense(3), layers.Dense(3))
    module[1].weight = module[0].weight
    torch_to_keras(module, model)
    keras_to_torch(model, module)
    model.layers[1].kernel.assign(np.ones((3, 3)))
    with pytest.raises(TransferError, match=r"expected one value for 0\.weight"):
        keras_to_torch(model, module)

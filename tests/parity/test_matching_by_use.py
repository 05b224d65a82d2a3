"""Which weight is which is read from what both models do with them, not from names or the order of registration."""

import keras
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers, ops
from torch import nn
from torch.nn import functional

from birdplane_keras.parity import Pair, check_forward, check_parity, torch_to_keras
from birdplane_keras.parity.core.judge import MATCHES
from birdplane_keras.parity.matching.drawing import draw_weights
from birdplane_keras.parity.sides.matching import match_pair
from parity.drawn_pairs import draw_pair


def floats(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


class Function(nn.Module):
    """Modules by name, and a forward."""

    def __init__(self, forward, **members):
        super().__init__()
        self.run = forward
        for name, member in members.items():
            setattr(self, name, member)

    def forward(self, *inputs):
        return self.run(self, *inputs)


def matched(model, module, *inputs):
    given = inputs[0] if len(inputs) == 1 else inputs
    return match_pair(Pair(keras_model=model, torch_module=module, data=(given, ())))


def predict_alike(model, module, matching, data, seed):
    """Whether both models predict the same once the port is given other weights of the reference, as matched."""
    draw_weights(module, seed)
    tensors = {**dict(module.named_parameters(remove_duplicate=False)), **dict(module.named_buffers())}
    for match in matching.tensors:
        value = match.from_torch(*(tensors[name].detach().numpy() for name in match.torch))
        matching.variables[match.name].assign(match.to_keras(value))
    with torch.no_grad():
        theirs, ours = module.eval()(torch.as_tensor(data)), model(data, training=False)
    pairs = zip(keras.tree.flatten(theirs), keras.tree.flatten(ours), strict=True)
    return all(np.allclose(a.numpy(), b.detach().numpy(), atol=1e-4) for a, b in pairs)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_layers_in_any_order_under_any_names_with_branches_of_one_shape_are_matched(seed):
    """The slow test asks the same of 200 given seeds."""
    model, module, data, truth = draw_pair(seed)
    matching = matched(model, module, data)
    assert not matching.problems
    assert {id(match.layer) for match in matching.layers} == {*truth}
    assert predict_alike(model, module, matching, data, seed=7)
    assert predict_alike(model, module, matching, data, seed=8)


@pytest.mark.slow
def test_two_hundred_of_two_hundred_are_matched():
    wrong = []
    for seed in range(200):
        model, module, data, truth = draw_pair(seed)
        matching = matched(model, module, data)
        if (
            matching.problems
            or len(matching.layers) != len(truth)
            or not predict_alike(model, module, matching, data, 7)
        ):
            wrong.append(seed)
    assert wrong == []


def test_the_check_above_sees_layers_that_are_exchanged():
    module = Function(lambda s, x: torch.tanh(s.a(x)) * torch.sigmoid(s.b(x)), a=nn.Linear(3, 4), b=nn.Linear(3, 4))
    inputs = keras.Input((3,))
    a, b = layers.Dense(4, name="a"), layers.Dense(4, name="b")
    model = keras.Model(inputs, ops.sigmoid(b(inputs)) * ops.tanh(a(inputs)))
    exchanged = match_pair(
        Pair(keras_model=model, torch_module=module, data=(floats(8, 3), ()), mapping={"a": "b", "b": "a"})
    )
    assert not predict_alike(model, module, exchanged, floats(8, 3), 7)
    assert predict_alike(model, module, matched(model, module, floats(8, 3)), floats(8, 3), 7)


def heads_of(x, member):
    return member(x).reshape(*x.shape[:2], 2, 4).transpose(1, 2)


def attend(s, q, k, v, x):
    return s.head(s.out(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)).mean(1))


def attention_port():
    inputs = keras.Input((5, 8))
    mixed = layers.MultiHeadAttention(2, 4)(inputs, inputs)
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling1D()(mixed)))


def three_linears():
    members = {name: nn.Linear(8, 8) for name in ("value", "out", "key", "query")}
    return Function(
        lambda s, x: attend(s, heads_of(x, s.query), heads_of(x, s.key), heads_of(x, s.value), x),
        **members,
        head=nn.Linear(8, 3),
    )


def one_linear():
    def forward(s, x):
        q, k, v = (part.reshape(*x.shape[:2], 2, 4).transpose(1, 2) for part in s.qkv(x).chunk(3, -1))
        return attend(s, q, k, v, x)

    return Function(forward, qkv=nn.Linear(8, 24), out=nn.Linear(8, 8), head=nn.Linear(8, 3))


def one_linear_by_heads():
    """As in some GPTs: the rows of each head hold its query, its key and its value."""

    def forward(s, x):
        q, k, v = s.qkv(x).reshape(*x.shape[:2], 2, 3, 4).permute(3, 0, 2, 1, 4)
        return attend(s, q, k, v, x)

    return Function(forward, qkv=nn.Linear(8, 24), out=nn.Linear(8, 8), head=nn.Linear(8, 3))


class Transposed(nn.Module):
    """A linear layer whose weight is (in, out), as in GPT-2."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(inputs, outputs)), nn.Parameter(torch.randn(outputs))

    def forward(self, x):
        return x @ self.weight + self.bias


def transposed_linears():
    def forward(s, x):
        q, k, v = (part.reshape(*x.shape[:2], 2, 4).transpose(1, 2) for part in s.qkv(x).split(8, -1))
        return attend(s, q, k, v, x)

    return Function(forward, qkv=Transposed(8, 24), out=Transposed(8, 8), head=nn.Linear(8, 3))


@pytest.mark.parametrize("make", [three_linears, one_linear, one_linear_by_heads, transposed_linears])
def test_an_attention_is_matched_however_its_projections_are_kept(make):
    torch.manual_seed(0)
    model, module = attention_port(), make()
    matching = matched(model, module, floats(8, 5, 8))
    assert not matching.problems
    assert not matching.ambiguous
    assert predict_alike(model, module, matching, floats(8, 5, 8), 7)


def test_query_and_key_exchanged_in_the_port_are_no_other_names():
    """Names decide where nothing else does, and are given up where what comes of them does not agree."""
    torch.manual_seed(0)
    module = three_linears()
    module.query, module.value = module.value, module.query
    module.run = lambda s, x: attend(s, heads_of(x, s.value), heads_of(x, s.key), heads_of(x, s.query), x)
    model = attention_port()
    matching = matched(model, module, floats(8, 5, 8))
    names = {match.keras.split("/")[-2]: match.name for match in matching.tensors if match.keras.endswith("kernel")}
    assert names["query"] == "value.weight"
    assert names["value"] == "query.weight"


class Positions(layers.Layer):
    def build(self, _):
        self.table = self.add_weight(shape=(5, 8), name="table")

    def call(self, x):
        return x + self.table


@pytest.mark.parametrize("shape", [(5, 8), (1, 5, 8), (5, 1, 8)])
def test_axes_of_one_are_no_difference(shape):
    module = Function(lambda s, x: s.head((x + s.table.reshape(5, 8)).mean(1)), head=nn.Linear(8, 3))
    module.table = nn.Parameter(torch.randn(shape))
    inputs = keras.Input((5, 8))
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling1D()(Positions()(inputs))))
    matching = matched(model, module, floats(8, 5, 8))
    assert not matching.problems
    assert predict_alike(model, module, matching, floats(8, 5, 8), 7)


def test_a_separable_convolution_is_a_depthwise_and_a_pointwise_one():
    module = Function(
        lambda s, x: s.head(s.point(s.depth(x)).mean((2, 3))),
        point=nn.Conv2d(4, 6, 1),
        depth=nn.Conv2d(4, 4, 3, groups=4, bias=False),
        head=nn.Linear(6, 3),
    )
    inputs = keras.Input((8, 8, 4))
    mixed = layers.GlobalAveragePooling2D()(layers.SeparableConv2D(6, 3)(inputs))
    model = keras.Model(inputs, layers.Dense(3)(mixed))
    pair = Pair(
        keras_model=model,
        torch_module=module,
        data=(floats(8, 4, 8, 8), ()),
        to_keras=lambda images: np.moveaxis(images, 1, -1),
    )
    assert check_parity(pair).verdict in MATCHES


def test_a_mask_that_is_a_buffer_is_no_weight():
    module = Function(lambda s, x: s.head(x * s.mask), head=nn.Linear(4, 3))
    module.register_buffer("mask", torch.tensor([1.0, 0.0, 1.0, 1.0]))
    model = keras.Sequential(
        [keras.Input((4,)), layers.Lambda(lambda x: x * np.float32([1, 0, 1, 1])), layers.Dense(3)]
    )
    assert check_forward(torch_module=module, keras_model=model, inputs=floats(8, 4)).verdict in MATCHES


def test_a_mistake_in_one_layer_leaves_what_comes_behind_it_matched():
    names = ("one", "two", "three")
    members = {name: nn.Linear(6, 6) for name in reversed(names)}
    module = Function(lambda s, x: s.three(torch.tanh(s.two(torch.tanh(s.one(x))))), **members)
    model = keras.Sequential(
        [keras.Input((6,)), *(layers.Dense(6, "relu" if n == 0 else None if n == 2 else "tanh") for n in range(3))]
    )
    matching = matched(model, module, floats(8, 6))
    assert [match.name for match in matching.layers] == [*names]
    result = check_forward(torch_module=module, keras_model=model, inputs=floats(8, 6))
    assert [finding.cause for finding in result.diagnosis] == ["activation"]


def test_the_port_is_left_as_it_was():
    model, module, data, _ = draw_pair(3)
    before = [weight.numpy().copy() for weight in model.weights]
    matched(model, module, data)
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(before, model.weights, strict=True))


def test_a_transfer_without_data_goes_by_order():
    module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    model = keras.Sequential([keras.Input((3,)), layers.Dense(4, "tanh"), layers.Dense(2)])
    torch_to_keras(module, model)
    assert np.allclose(model(floats(8, 3)).detach(), module(torch.as_tensor(floats(8, 3))).detach(), atol=1e-6)


def test_a_model_that_cannot_be_looked_at_is_matched_by_order_and_that_is_said():
    def forward(s, x):
        if len(x) != 16:
            raise ValueError("sixteen, please")
        return s.head(x)

    module = Function(forward, head=nn.Linear(4, 3))
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    result = check_forward(torch_module=module, keras_model=model, inputs=floats(16, 4))
    assert result.verdict in MATCHES
    assert any("matched by their order, not by their use: ValueError: sixteen, please" in note for note in result.notes)

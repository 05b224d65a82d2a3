"""Ports of networks that people write, each matched without a mapping, forward only."""

import keras
import numpy as np
import pytest
import torch
from keras import layers, ops
from torch import nn
from torch.nn import functional

from birdplane_keras.parity import channels_last, check_forward
from birdplane_keras.parity.core.judge import MATCHES
from parity.test_matching_by_use import Function, floats

CASES = {}


def case(make):
    """Registers a function that returns a Keras model, a module, inputs, and what else `check_forward` is given."""
    CASES[make.__name__] = make
    return make


class WeightNormalised(layers.Layer):
    def __init__(self, units):
        super().__init__()
        self.units = units

    def build(self, shape):
        self.g = self.add_weight(shape=(self.units,), name="g")
        self.v = self.add_weight(shape=(shape[-1], self.units), name="v")
        self.b = self.add_weight(shape=(self.units,), name="b")

    def call(self, x):
        return ops.matmul(x, self.v * (self.g / ops.sqrt(ops.sum(self.v**2, 0)))) + self.b


@case
def weight_normalisation():
    inputs = keras.Input((6,))
    model = keras.Model(inputs, WeightNormalised(3)(ops.tanh(WeightNormalised(6)(inputs))))
    weight_norm = nn.utils.parametrizations.weight_norm
    return model, nn.Sequential(weight_norm(nn.Linear(6, 6)), nn.Tanh(), weight_norm(nn.Linear(6, 3))), floats(8, 6), {}


class TiedHead(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.hidden, self.head = nn.Embedding(20, 8), nn.Linear(8, 8), nn.Linear(8, 20, bias=False)
        self.head.weight = self.words.weight

    def forward(self, words):
        return self.head(torch.tanh(self.hidden(self.words(words))))


class TiedPort(keras.Model):
    def __init__(self):
        super().__init__()
        self.words, self.hidden = layers.Embedding(20, 8), layers.Dense(8, "tanh")

    def call(self, words):
        return ops.matmul(self.hidden(self.words(words)), ops.transpose(self.words.embeddings))


@case
def a_head_tied_to_the_embedding():
    words, model = np.random.default_rng(0).integers(0, 20, (8, 5)), TiedPort()
    model(words)
    return model, TiedHead(), words, {}


@case
def one_tower_called_twice():
    one, other = keras.Input((6,)), keras.Input((6,))
    tower = layers.Dense(4)
    model = keras.Model([one, other], layers.Dense(2)(ops.abs(tower(one) - tower(other))))
    module = Function(
        lambda s, a, b: s.head((s.tower(a) - s.tower(b)).abs()), tower=nn.Linear(6, 4), head=nn.Linear(4, 2)
    )
    return model, module, (floats(8, 6), floats(8, 6)[::-1].copy()), {}


@case
def twin_towers():
    def tower():
        return nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 4))

    def port(inputs):
        return ops.normalize(layers.Dense(4)(layers.Dense(4, "relu")(inputs)), axis=-1, epsilon=1e-12)

    def forward(s, a, b):
        return (functional.normalize(s.one(a), dim=-1) * functional.normalize(s.other(b), dim=-1)).sum(-1, keepdim=True)

    one, other = keras.Input((6,)), keras.Input((6,))
    second, first = port(other), port(one)
    model = keras.Model([one, other], ops.sum(first * second, -1, keepdims=True))
    return model, Function(forward, other=tower(), one=tower()), (floats(8, 6), floats(8, 6)[::-1].copy()), {}


@case
def recurrent_in_both_directions():
    lstm = nn.LSTM(5, 4, num_layers=2, bidirectional=True, batch_first=True)
    inputs = keras.Input((7, 5))
    hidden = inputs
    for _ in range(2):
        hidden = layers.Bidirectional(layers.LSTM(4, return_sequences=True))(hidden)
    model = keras.Model(inputs, layers.Dense(2)(hidden[:, -1]))
    module = Function(lambda s, x: s.head(s.lstm(x)[0][:, -1]), lstm=lstm, head=nn.Linear(8, 2))
    return model, module, floats(8, 7, 5), {}


@case
def a_cell_called_step_by_step():
    def forward(s, x):
        hidden = state = torch.zeros(len(x), 4, dtype=x.dtype)
        for step in range(x.shape[1]):
            hidden, state = s.cell(x[:, step], (hidden, state))
        return s.head(hidden)

    inputs = keras.Input((7, 5))
    model = keras.Model(inputs, layers.Dense(2)(layers.LSTM(4)(inputs)))
    return model, Function(forward, cell=nn.LSTMCell(5, 4), head=nn.Linear(4, 2)), floats(8, 7, 5), {}


@case
def convolutions_down_and_up():
    members = {"up": nn.ConvTranspose1d(6, 3, 2, 2), "down": nn.Conv1d(3, 6, 3, padding=1), "norm": nn.BatchNorm1d(6)}
    module = Function(lambda s, x: s.up(torch.relu(s.norm(s.down(x)))), **members)
    inputs = keras.Input((8, 3))
    down = layers.BatchNormalization(epsilon=1e-5)(layers.Conv1D(6, 3, padding="same")(inputs))
    model = keras.Model(inputs, layers.Conv1DTranspose(3, 2, 2)(ops.relu(down)))
    return model, module, floats(8, 3, 8), {"to_keras": channels_last, "outputs_to_keras": channels_last}


@case
def queries_in_groups():
    def forward(s, x):
        count, steps, _ = x.shape
        query = s.query(x).view(count, steps, 4, 4).transpose(1, 2)
        key, value = (
            member(x).view(count, steps, 2, 4).transpose(1, 2).repeat_interleave(2, 1) for member in (s.key, s.value)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return s.out(mixed.transpose(1, 2).reshape(count, steps, 16))

    sizes = {"value": (8, 8), "key": (8, 8), "query": (8, 16), "out": (16, 8)}
    members = {name: nn.Linear(*size, bias=False) for name, size in sizes.items()}
    inputs = keras.Input((5, 8))
    model = keras.Model(inputs, layers.GroupQueryAttention(4, 4, 2, use_bias=False)(inputs, inputs))
    return model, Function(forward, **members), floats(8, 5, 8), {}


@case
def pytorchs_attention_against_one_written_by_hand():
    def heads(x):
        return ops.transpose(ops.reshape(x, (-1, 5, 2, 4)), (0, 2, 1, 3))

    module = Function(
        lambda s, x: s.mix(x, x, x, need_weights=False)[0], mix=nn.MultiheadAttention(8, 2, batch_first=True)
    )
    inputs = keras.Input((5, 8))
    value, key, query = (heads(layers.Dense(8)(inputs)) for _ in range(3))
    scores = ops.softmax(ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))) / 2.0)
    mixed = ops.reshape(ops.transpose(ops.matmul(scores, value), (0, 2, 1, 3)), (-1, 5, 8))
    return keras.Model(inputs, layers.Dense(8)(mixed)), module, floats(8, 5, 8), {}


class Block(layers.Layer):
    """A block of a transformer, whose layers are made in another order than PyTorch's."""

    def __init__(self):
        super().__init__()
        self.second, self.first = (layers.LayerNormalization(epsilon=1e-5) for _ in range(2))
        self.mix = layers.MultiHeadAttention(2, 4)
        self.wide, self.narrow = layers.Dense(16, "relu"), layers.Dense(8)

    def call(self, x):
        x = self.first(x + self.mix(x, x))
        return self.second(x + self.narrow(self.wide(x)))


@case
def pytorchs_encoder():
    module = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)
    inputs = keras.Input((5, 8))
    return keras.Model(inputs, Block()(Block()(inputs))), module, floats(8, 5, 8), {}


@case
def experts():
    def forward(s, x):
        shares = torch.softmax(s.gate(x), -1)
        return sum(shares[:, n : n + 1] * torch.tanh(expert(x)) for n, expert in enumerate(s.experts))

    module = Function(forward, experts=nn.ModuleList(nn.Linear(6, 6) for _ in range(4)), gate=nn.Linear(6, 4))
    inputs = keras.Input((6,))
    made = {n: layers.Dense(6, "tanh")(inputs) for n in (2, 0, 3, 1)}
    shares = layers.Dense(4, "softmax")(inputs)
    return keras.Model(inputs, sum(shares[:, n : n + 1] * made[n] for n in range(4))), module, floats(8, 6), {}


class ProjectedCell(layers.Layer):
    """A cell of an LSTM whose hidden state is projected, with one bias where PyTorch has two."""

    def __init__(self, units, projected, use_bias):
        super().__init__()
        self.units, self.use_bias = units, use_bias
        self.state_size, self.output_size = [projected, units], projected

    def build(self, shape):
        self.projection = self.add_weight(shape=(self.units, self.output_size), name="projection")
        self.recurrent_kernel = self.add_weight(shape=(self.output_size, 4 * self.units), name="recurrent_kernel")
        self.kernel = self.add_weight(shape=(shape[-1], 4 * self.units), name="kernel")
        self.bias = self.add_weight(shape=(4 * self.units,), name="bias") if self.use_bias else 0.0

    def call(self, x, states):
        hidden, cell = states
        gates = ops.matmul(x, self.kernel) + ops.matmul(hidden, self.recurrent_kernel) + self.bias
        enter, forget, new, leave = ops.split(gates, 4, -1)
        cell = ops.sigmoid(forget) * cell + ops.sigmoid(enter) * ops.tanh(new)
        hidden = ops.matmul(ops.sigmoid(leave) * ops.tanh(cell), self.projection)
        return hidden, [hidden, cell]


def projected(use_bias):
    rnn = nn.LSTM(5, 7, proj_size=3, bias=use_bias, batch_first=True)
    module = Function(lambda s, x: s.head(s.rnn(x)[0][:, -1]), rnn=rnn, head=nn.Linear(3, 4))
    cell = layers.RNN(ProjectedCell(7, 3, use_bias))
    return keras.Sequential([keras.Input((6, 5)), cell, layers.Dense(4)]), module, floats(8, 6, 5), {}


@case
def an_lstm_with_projections():
    return projected(True)


@case
def an_lstm_with_projections_and_no_biases():
    return projected(False)


LATER = [name for index, name in enumerate(CASES) if index % 2]  # wait for the slow run


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n in LATER else []) for n in CASES])
def test_a_network_is_matched_without_a_mapping(name):
    keras.utils.set_random_seed(0)
    torch.manual_seed(0)
    model, module, inputs, more = CASES[name]()
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    result = check_forward(torch_module=module.eval(), keras_model=model, inputs=inputs, **more)
    assert result.verdict in MATCHES, str(result)

"""Matching by use where it is easily wrong: masks, inputs that are written on, random numbers, shared tensors."""

import time

import keras
import numpy as np
import pytest
import torch
from keras import layers
from torch import nn

from birdplane_keras.errors import PairError
from birdplane_keras.parity import Pair, check_forward
from birdplane_keras.parity.core.judge import MATCHES
from birdplane_keras.parity.matching.fits import fits_by_shape, fits_by_size
from birdplane_keras.parity.matching.same import same_numbers
from birdplane_keras.parity.matching.uses import Use
from birdplane_keras.parity.sides.matching import match_pair
from parity.test_matching_by_use import Function, floats

LOGITS = torch.as_tensor(floats(8, 5))


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)
    torch.manual_seed(0)


def matched(model, module, data):
    return match_pair(Pair(keras_model=model, torch_module=module, data=(data, ())))


def masked(value, rest):
    found = rest.clone()
    found[:, 0] = value
    return found


@pytest.mark.parametrize("value", [-1e9, -np.inf])
def test_what_is_masked_is_no_measure_of_the_rest(value):
    assert same_numbers(masked(value, LOGITS), masked(-1e9, LOGITS)) == 0
    assert same_numbers(masked(value, 1.5 * LOGITS), masked(-np.inf, LOGITS)) is None
    assert same_numbers(LOGITS, masked(value, LOGITS)) is None


@pytest.mark.parametrize("value", [torch.nan, -torch.inf])
def test_a_reference_whose_outputs_are_not_finite_is_refused_with_what_to_do(value):
    module = Function(lambda s, x: s.head(x).index_fill(1, torch.tensor([0]), value), head=nn.Linear(4, 3))
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    with pytest.raises(PairError, match=r"expected finite outputs of the reference, received .*before they are masked"):
        check_forward(torch_module=module, keras_model=model, inputs=floats(8, 4))


def test_a_model_that_writes_on_its_inputs_changes_no_data():
    data = floats(8, 4)
    module = Function(lambda s, x: s.head(x.mul_(2.0)), head=nn.Linear(4, 3))
    model = keras.Sequential([keras.Input((4,)), layers.Rescaling(2.0), layers.Dense(3)])
    assert matched(model, module, data).problems == ()
    assert np.array_equal(data, floats(8, 4))


def test_random_states_are_kept():
    module = Function(lambda s, x: s.head(x) + 0 * torch.rand(1), head=nn.Linear(4, 3))
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    before = torch.get_rng_state()
    matched(model, module, floats(8, 4))
    assert torch.equal(before, torch.get_rng_state())


def test_a_buffer_that_two_blocks_share_is_known_by_both():
    table = torch.ones(4)
    blocks = [Function(lambda s, x: s.head(x * s.table), head=nn.Linear(4, 4)) for _ in range(2)]
    for block in blocks:
        block.register_buffer("table", table, persistent=False)
    model = keras.Sequential([keras.Input((4,)), layers.Dense(4), layers.Dense(4)])
    matching = matched(model, nn.Sequential(*blocks), floats(8, 4))
    assert matching.notes == ()
    assert [match.name for match in matching.layers] == ["0.head", "1.head"]


def test_weights_that_are_views_of_one_storage_are_told_apart():
    whole = torch.randn(2, 4, 4)
    module = Function(lambda s, x: torch.tanh(x @ s.one) @ s.two)
    module.one, module.two = nn.Parameter(whole[0]), nn.Parameter(whole[1])
    assert module.one.untyped_storage().data_ptr() == module.two.untyped_storage().data_ptr()
    model = keras.Sequential([keras.Input((4,)), *(layers.Dense(4, a, use_bias=False) for a in ("tanh", None))])
    result = check_forward(torch_module=module, keras_model=model, inputs=floats(8, 4))
    assert result.verdict in MATCHES, str(result)


@pytest.mark.parametrize("order", [("q", "p"), ("p", "q")])
def test_heads_behind_a_mistake_are_told_apart_by_the_outputs(order):
    module = Function(
        lambda s, x: (lambda h: (s.one(h), s.two(h)))(torch.relu(s.body(x)) * 2),
        body=nn.Linear(4, 6), one=nn.Linear(6, 3), two=nn.Linear(6, 3),
    )  # fmt: skip
    inputs = keras.Input((4,))
    hidden = layers.Dense(6, "tanh")(inputs)
    made = {name: layers.Dense(3, name=name)(hidden) for name in ("q", "p")}
    model = keras.Model(inputs, [made[name] for name in order])
    matching = matched(model, module, floats(8, 4))
    names = {match.layer.name: match.name for match in matching.layers}
    assert [names[name] for name in order] == ["one", "two"]
    (finding,) = check_forward(torch_module=module, keras_model=model, inputs=floats(8, 4)).diagnosis
    assert finding.proved
    assert "tanh" in str(finding.parting["port"])


def test_heads_that_nothing_tells_apart_are_ambiguous():
    """Behind a mistake, and added up: in either order the outputs are the same."""
    module = Function(
        lambda s, x: (lambda h: s.end(torch.tanh(s.one(h)) * torch.sigmoid(s.two(h))))(torch.relu(s.body(x)) * 2),
        body=nn.Linear(4, 6), one=nn.Linear(6, 3), two=nn.Linear(6, 3), end=nn.Linear(3, 2),
    )  # fmt: skip
    inputs = keras.Input((4,))
    hidden = layers.Dense(6, "tanh")(inputs)
    q, p = layers.Dense(3, name="q")(hidden), layers.Dense(3, name="p")(hidden)
    model = keras.Model(inputs, layers.Dense(2)(keras.ops.tanh(q) * 0.5 + keras.ops.sigmoid(p)))
    groups = [{match.layer.name for match in group} for group in matched(model, module, floats(8, 4)).ambiguous]
    assert groups == [{"p", "q"}]


def test_searches_of_shapes_end():
    class Weight:
        def __init__(self, *shape):
            self.name, self.shape = "w", shape

    layer = layers.Dense(1)
    shapes = {f"m{n}.weight": (32, 32) for n in range(48)}
    several = [Weight(32, 32) for _ in range(8)]
    start = time.monotonic()
    assert next(fits_by_shape(layer, several, [*shapes], shapes), None) is not None
    use = Use(name="m", tensors={name: name for name in [*shapes][:9]})
    assert list(fits_by_size(layer, [*several, Weight(3)], [use], shapes)) == []
    assert time.monotonic() - start < 5


def test_models_without_weights_are_refused_in_a_line():
    model = keras.Sequential([keras.Input((4,)), layers.Softmax()])
    with pytest.raises(PairError, match="expected a reference with weights"):
        check_forward(torch_module=nn.Softmax(-1), keras_model=model, inputs=floats(8, 4))

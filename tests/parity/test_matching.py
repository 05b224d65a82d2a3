"""Which layer is which: order, nesting, ties and mappings."""

import keras
import pytest
import torch
from keras import layers
from torch import nn

from birdplane_keras.parity.matching.match import match_layers
from birdplane_keras.parity.matching.transfer import TransferError, torch_to_keras
from parity.transfers import check_both_ways, difference, images, port, stir


class Block(layers.Layer):
    def __init__(self, units):
        super().__init__()
        self.first, self.second = layers.Dense(units), layers.Dense(units)

    def call(self, x):
        return x + self.second(keras.ops.relu(self.first(x)))


class TorchBlock(nn.Module):
    def __init__(self, units):
        super().__init__()
        self.first, self.second = nn.Linear(units, units), nn.Linear(units, units)

    def forward(self, x):
        return x + self.second(self.first(x).relu())


def test_nested_models_and_custom_layers_are_walked_in_order(rng):
    model = port((4,), layers.Dense(4), Block(4), port((4,), Block(4), layers.Dense(4)), layers.Dense(2))

    def make():
        inner = nn.Sequential(TorchBlock(4), nn.Linear(4, 4))
        return nn.Sequential(nn.Linear(4, 4), TorchBlock(4), inner, nn.Linear(4, 2))

    check_both_ways(model, make, images(rng, 3, 4))
    names = [match.name for match in match_layers(model, make()).layers]
    assert names == ["0", "1.first", "1.second", "2.0.first", "2.0.second", "2.1", "3"]


def test_a_match_tells_names_paths_and_what_is_trained():
    model = port((4,), layers.Dense(3, name="head", trainable=False), layers.BatchNormalization())
    module = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    matching = match_layers(model, module)
    assert not matching.problems
    assert {match.name: match.trainable for match in matching.tensors} == {
        "0.weight": (False, True),
        "0.bias": (False, True),
        "1.weight": (True, True),
        "1.bias": (True, True),
        "1.running_mean": (False, False),
        "1.running_var": (False, False),
    }
    assert matching.tensors[0].keras == model.layers[0].kernel.path
    assert all(matching.variables[match.name].path == match.keras for match in matching.tensors)
    assert set(module.state_dict()) - {name for match in matching.tensors for name in match.torch} == {
        "1.num_batches_tracked"
    }


class Swapped(nn.Module):
    """Registers its layers in another order than it calls them."""

    def __init__(self):
        super().__init__()
        self.second, self.first = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return self.second(self.first(x).relu())


def test_a_mapping_of_layers_tells_what_order_does_not(rng):
    model = port((4,), layers.Dense(4, activation="relu", name="a"), layers.Dense(4, name="b"))
    check_both_ways(model, Swapped, images(rng, 3, 4), mapping={"a": "first"})
    module = stir(Swapped())
    torch_to_keras(module, model)
    assert difference(model, module, images(rng, 3, 4)) > 1e-3


def test_a_mapping_of_nested_models_matches_what_is_in_them(rng):
    class Towers(nn.Module):
        def __init__(self):
            super().__init__()
            self.right, self.left = (nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)) for _ in range(2))

        def forward(self, x):
            return self.left(x) - 2 * self.right(x)

    inputs = keras.Input((3,))
    left, right = (
        keras.Sequential([layers.Dense(3), layers.Dense(3)], name=name) for name in ("left_tower", "right_tower")
    )
    model = keras.Model(inputs, left(inputs) - 2 * right(inputs))
    check_both_ways(model, Towers, images(rng, 2, 3), mapping={"left_tower": "left", "right_tower": "right"})


class Scaled(layers.Layer):
    def build(self, shape):
        self.mix = self.add_weight(shape=(shape[-1], 3), name="mix", initializer="ones")

    def call(self, x):
        return keras.ops.matmul(x, self.mix)


class TorchScaled(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.w = nn.Parameter(torch.ones(3, inputs))

    def forward(self, x):
        return x @ self.w.T


def test_a_mapping_of_variables_carries_custom_layers(rng):
    model = port((4,), Scaled())
    path = model.weights[0].path
    check_both_ways(model, lambda: TorchScaled(4), images(rng, 2, 4), mapping={path: "w"})
    square = port((3,), Scaled())
    path = square.weights[0].path
    check_both_ways(square, lambda: TorchScaled(3), images(rng, 2, 3), mapping={path: ("w", (1, 0))})
    with pytest.raises(TransferError, match=r"map it to \(name, \(0, 1\)\)"):
        torch_to_keras(TorchScaled(3), square, {path: "w"})
    with pytest.raises(TransferError, match="map the variable's path"):
        torch_to_keras(TorchScaled(3), square)
    with pytest.raises(TransferError, match=r"does not fit \(3, 4\)"):
        torch_to_keras(TorchScaled(4), square, {path: "w"})


def test_a_mapping_that_names_nothing_is_a_problem():
    model, module = port((4,), layers.Dense(4, name="a")), nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    texts = [problem.text for problem in match_layers(model, module, {"z": "0", "a": "no"}).problems]
    assert any(text.startswith("z: expected the mapping to name") for text in texts)
    assert any(text.startswith("a: is mapped to 'no'") for text in texts)
    texts = [problem.text for problem in match_layers(model, module, {"a": "1"}).problems]
    assert any("which has no Linear left" in text for text in texts)


def test_tied_weights_are_no_problem_of_their_own():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.head = nn.Embedding(7, 4), nn.Linear(4, 7, bias=False)
            self.head.weight = self.embedding.weight

    shared = layers.Dense(4)
    inputs = keras.Input((4,))
    twice = keras.Model(inputs, shared(shared(inputs)))
    once = nn.Linear(4, 4)
    assert not match_layers(port((5,), layers.Embedding(7, 4)), Tied()).problems
    assert not match_layers(twice, nn.Sequential(once, nn.ReLU(), once)).problems
    untied = Tied()
    untied.head.weight = nn.Parameter(torch.ones(7, 4))
    assert [problem.tensor for problem in match_layers(port((5,), layers.Embedding(7, 4)), untied).problems] == [
        "head.weight"
    ]


def test_layers_that_share_a_name_are_told_apart(rng):
    model = port((4,), *(port((4,), layers.Dense(4, name="same")) for _ in range(2)))
    check_both_ways(model, lambda: nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), images(rng, 3, 4))


class OwnWeights(layers.Layer):
    """A layer of no known kind with two weights."""

    def __init__(self, names, shape=(4,), **settings):
        super().__init__(**settings)
        for name in names:
            setattr(self, name, self.add_weight(shape=shape, name=name))

    def call(self, x):
        return x


class TorchOwnWeights(nn.Module):
    def __init__(self, names, shape=(4,)):
        super().__init__()
        for name in names:
            setattr(self, name, nn.Parameter(torch.randn(shape)))


def test_weights_of_ones_own_layers_are_matched_by_name_and_shape():
    model = port((4,), layers.Dense(4), OwnWeights(["scale", "shift"]))
    module = nn.Sequential(nn.Linear(4, 4), TorchOwnWeights(["shift", "scale"]))
    torch_to_keras(module, model)
    for name in ("scale", "shift"):
        assert torch.equal(getattr(model.layers[-1], name).value, getattr(module[1], name))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ([OwnWeights(["scale"])], [TorchOwnWeights(["factor"])]),
        ([OwnWeights(["scale"])], [TorchOwnWeights(["scale"], (5,))]),
        ([OwnWeights(["scale"]), OwnWeights(["scale"])], [TorchOwnWeights(["scale"]), TorchOwnWeights(["scale"])]),
    ],
    ids=["another name", "another shape", "more than one choice"],
)
def test_weights_of_ones_own_layers_are_not_guessed(ours, theirs):
    with pytest.raises(TransferError, match="no counterpart, as its layer is of no known kind"):
        torch_to_keras(nn.Sequential(*theirs), port((4,), *ours))


def test_layers_that_fit_in_one_order_only_are_matched_in_it():
    left, right = keras.Input((3,)), keras.Input((5,))
    towers = [layers.Dense(2)(layers.Dense(4)(left)), layers.Dense(6)(layers.Dense(4)(right))]
    model = keras.Model([left, right], layers.Concatenate()(towers))  # Keras orders its layers by depth
    module = nn.ModuleDict(
        {
            "left": nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)),
            "right": nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 6)),
        }
    )
    torch_to_keras(module, model)
    for name, shape in (("left", (4, 2)), ("right", (4, 6))):
        layer = next(layer for layer in model.layers if layer.weights and layer.kernel.shape == shape)
        assert torch.equal(layer.kernel.value.T, module[name][1].weight)


def test_layers_that_fit_in_no_order_are_reported_in_their_own():
    with pytest.raises(TransferError, match=r"1\.weight: .* does not fit"):
        torch_to_keras(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 7)), port((3,), layers.Dense(4), layers.Dense(2)))

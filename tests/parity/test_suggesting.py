"""The mapping in full: what it can say, what is suggested, and that what is suggested has been tried."""

import keras
import numpy as np
import pytest
import torch
from keras import layers
from torch import nn

from birdplane_keras.parity import Pair, TorchTensor, TransferError, suggest_mapping, torch_to_keras
from birdplane_keras.parity.check import forward_pair
from birdplane_keras.parity.matching.expressions import expression_of
from birdplane_keras.parity.matching.match import match_layers
from birdplane_keras.parity.sides.suggesting import as_python, found_in
from parity.drawn_pairs import draw_pair
from parity.test_matching_by_use import attention_port, floats, one_linear_by_heads, predict_alike, transposed_linears


def forward(model, module, inputs) -> Pair:
    return forward_pair(torch_module=module, keras_model=model, inputs=inputs)


def run(code):
    made: dict = {}
    exec(code, made)
    return made["mapping"]


@pytest.mark.parametrize("make", [one_linear_by_heads, transposed_linears])
def test_parts_heads_and_transposed_kernels_are_said_and_read_back_from_the_code(make):
    torch.manual_seed(0)
    model, module = attention_port(), make()
    pair = forward(model, module, floats(8, 5, 8))
    mapping = run(as_python(suggest_mapping(pair)))
    assert any(isinstance(target, TorchTensor) for target in mapping.values())
    matching = match_layers(model, module, mapping)
    assert not matching.problems
    assert predict_alike(model, module, matching, floats(8, 5, 8), 7)


@pytest.mark.parametrize("seed", range(12))
def test_a_drawn_network_is_matched_by_its_suggested_mapping_alone(seed):
    model, module, data, _ = draw_pair(seed)
    mapping = run(as_python(suggest_mapping(forward(model, module, data))))
    matching = match_layers(model, module, mapping)
    assert not matching.problems
    assert predict_alike(model, module, matching, data, 7)


def test_an_image_flattened_is_said_by_layers_and_a_recurrent_layer_by_one_line():
    module = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Flatten(), nn.Linear(48, 4))
    model = keras.Sequential([keras.Input((6, 6, 1)), layers.Conv2D(3, 3), layers.Flatten(), layers.Dense(4)])
    pair = forward_pair(
        torch_module=module, keras_model=model, inputs=floats(4, 1, 6, 6), to_keras=lambda x: x.transpose(0, 2, 3, 1)
    )
    assert [*suggest_mapping(pair).values()] == ["0", "2"]
    (match,) = (each for each in found_in(pair).tensors if each.name == "2.weight")
    code = repr(expression_of(match))
    assert "np.arange(48).reshape(3, 16).T.reshape(-1)" in code  # and not 48 numbers
    made = eval(code, {"np": np, "TorchTensor": TorchTensor})
    weight = module[2].weight.detach().numpy()
    assert made.value({"2.weight": weight}).tobytes() == match.to_keras(match.from_torch(weight)).tobytes()


class Towers(nn.Module):
    """Two towers of one shape."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x):
        return self.left(x) - 2 * self.right(x)


def towers():
    inputs = keras.Input((4,))
    kept = [keras.Model(one := keras.Input((4,)), layers.Dense(3, name="dense")(one)) for _ in "ab"]
    return keras.Model(inputs, layers.Subtract()([kept[0](inputs), 2 * kept[1](inputs)]))


def test_variables_that_share_a_path_are_told_apart_by_a_number():
    model, module = towers(), Towers()
    assert len({weight.path for weight in model.weights}) == 2
    mapping = suggest_mapping(forward(model, module, floats(4, 4)))
    assert {"dense/kernel#1", "dense/kernel#2"} <= set(mapping)
    x = floats(4, 4)
    predicted = module(torch.from_numpy(x)).detach().numpy()
    torch_to_keras(module, model, mapping)
    assert np.allclose(model.predict(x, verbose=0), predicted, atol=1e-5)
    exchanged = {key.translate(str.maketrans("12", "21")): target for key, target in mapping.items()}
    torch_to_keras(module, model, exchanged)
    assert not np.allclose(model.predict(x, verbose=0), predicted, atol=1e-5)
    with pytest.raises(TransferError, match=r"received one of 2: name them dense/kernel#1 to dense/kernel#2"):
        torch_to_keras(module, model, {"dense/kernel": "left.weight"})


def test_all_layers_of_a_prefix_are_matched_within_modules_of_a_prefix():
    inputs = keras.Input((4,))
    dense = [layers.Dense(4, name=name) for name in ("back", "front")]
    model = keras.Model(inputs, dense[0](dense[1](inputs)))
    for layer in dense:
        layer._path = f"tower/{layer.name}"
    module = nn.ModuleDict({"a_one": nn.Linear(4, 4), "b_one": nn.Linear(4, 4), "b_two": nn.Linear(4, 4)})
    matching = match_layers(model, module, {"tower/": "b_"})
    assert [match.name for match in matching.layers] == ["b_one", "b_two"]


def test_what_cannot_be_made_of_a_tensor_is_said_with_a_count_of_each_kind():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="one"), layers.Dense(2, name="two")])
    module, kernel = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)), model.weights[0].path
    with pytest.raises(TransferError, match="cannot be made of shapes"):
        torch_to_keras(module, model, {kernel: TorchTensor("0.weight").reshape(7, 2)})
    with pytest.raises(TransferError, match=r"'9\.weight', which is no parameter"):
        torch_to_keras(module, model, {kernel: TorchTensor("9.weight").T})
    with pytest.raises(TransferError, match=r"received 1 of another shape: .*does not fit"):
        torch_to_keras(module, model, {kernel: TorchTensor("0.weight")})
    with pytest.raises(TransferError, match=r"received 2 in PyTorch without a counterpart: "):
        torch_to_keras(nn.Sequential(*module, nn.Linear(2, 2)), model)


def test_what_is_written_into_the_tensors_is_what_is_read_of_them():
    random = np.random.default_rng(0)
    a, b = TorchTensor("a"), TorchTensor("b")
    values = {"a": random.normal(size=(6, 4)), "b": random.normal(size=(6, 4))}
    for made in (a.T, a[1:3], a.reshape(2, 3, 4)[:, 1].T, np.stack([a, b]), np.concatenate([a, b], 0), a + b):
        assert np.split(made, 1)[0].value(values).tobytes() == made.value(values).tobytes()
        joint, now = made.joint, [values[name] for name in made.names]
        view = joint.read(*now)
        written = joint.write(2 * view, now)
        assert np.array_equal(joint.read(*written), 2 * view)
        assert repr(eval(repr(made), {"np": np, "TorchTensor": TorchTensor})) == repr(made)
    c = TorchTensor("c")
    values["c"] = random.normal(size=(2, 4))
    mixed = np.concatenate([a + b, c])
    now = [values[name] for name in mixed.names]
    written = mixed.joint.write(2 * mixed.joint.read(*now), now)
    assert np.array_equal(mixed.joint.read(*written), 2 * mixed.joint.read(*now))
    assert np.array_equal(written[2], 2 * values["c"])
    with pytest.raises(ValueError, match="expected different tensors to be added"):
        a + a.reshape(24).reshape(6, 4)
    assert np.array_equal((a + b).joint.write(values["a"], [values["a"], values["b"]])[1], np.zeros((6, 4)))
    assert np.array_equal(a[1:3].joint.write(np.zeros((2, 4)), [values["a"]])[0][3:], values["a"][3:])

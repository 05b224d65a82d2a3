"""The converter: Python that carries weights over and back, run where birdplane is not."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import torch
from keras import layers
from safetensors.torch import save_file
from torch import nn

from birdplane_keras.cli import main
from birdplane_keras.converter import try_out, write_converter
from birdplane_keras.errors import PairError
from birdplane_keras.parity import torch_to_keras
from birdplane_keras.parity.check import forward_pair
from birdplane_keras.parity.sides.suggesting import found_in

MODELS = """
import keras
from keras import layers

def network():
    made = [layers.Conv2D(3, 3), layers.BatchNormalization(), layers.Flatten(), layers.Dense(5), layers.Dense(2)]
    return keras.Sequential([keras.Input((6, 6, 1)), *made])
"""
ALONE = """
import sys
import numpy as np
from models import network
import weights
model = network()
weights.load(model, "reference.safetensors")
weights.save(model, "reference.safetensors", "back.safetensors")
np.savez("loaded.npz", *(weight.value.detach().numpy() for weight in model.weights))
assert not [name for name in sys.modules if name.split(".")[0] in ("birdplane_keras", "safetensors")]
"""
PAIR = """
import numpy as np
from torch import nn
from models import network
from birdplane_keras.parity import Pair

def pair():
    module = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(48, 5), nn.Linear(5, 2))
    images = np.random.default_rng(0).normal(size=(8, 1, 6, 6)).astype("float32")
    return Pair(
        keras_model=network(), torch_module=module.eval(), data=(images, ()), batch_size=8,
        to_keras=lambda x: x.transpose(0, 2, 3, 1),
    )

def unfit():
    return Pair(
        keras_model=network(), torch_module=nn.Sequential(nn.Flatten(), nn.Linear(36, 2)), batch_size=8,
        data=(np.zeros((8, 6, 6, 1), "float32"), ()),
    )
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name, text in (("models.py", MODELS), ("pairs_of_mine.py", PAIR), ("alone.py", ALONE)):
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("models", "pairs_of_mine"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield tmp_path
    for name in ("models", "pairs_of_mine"):
        sys.modules.pop(name, None)


@pytest.mark.slow
def test_a_fresh_process_without_birdplane_loads_the_bits_that_torch_to_keras_gives(folder, capsys):
    assert main(["convert", "--pair", "pairs_of_mine:pair", "--out", "weights.py"]) == 0
    assert capsys.readouterr().out == "weights.py: 10 weights, tried on the pair's own\n"
    torch.manual_seed(3)
    import pairs_of_mine

    pair = pairs_of_mine.pair()
    save_file(pair.torch_module.state_dict(), folder / "reference.safetensors")
    child = subprocess.run([sys.executable, "alone.py"], cwd=folder, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr
    torch_to_keras(pair.torch_module, pair.keras_model)
    loaded = np.load(folder / "loaded.npz")
    for place, weight in enumerate(pair.keras_model.weights):
        assert loaded[f"arr_{place}"].tobytes() == weight.value.detach().numpy().tobytes()
    assert (folder / "back.safetensors").stat().st_size > 0
    import weights

    first, back = (weights.read(folder / f"{name}.safetensors") for name in ("reference", "back"))
    assert {name: array.tobytes() for name, array in first.items()} == {n: a.tobytes() for n, a in back.items()}
    sys.modules.pop("weights")


def test_tied_tensors_bfloat16_and_summed_biases(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.lstm, self.out = nn.Embedding(9, 4), nn.LSTM(4, 4, batch_first=True), nn.Linear(4, 9)
            self.out.weight = self.words.weight

        def forward(self, x):
            return self.out(self.lstm(self.words(x))[0])

    class Port(keras.Model):
        def __init__(self):
            super().__init__()
            self.words, self.lstm = layers.Embedding(9, 4), layers.LSTM(4, return_sequences=True)
            self.bias = self.add_weight(shape=(9,), name="bias")

        def call(self, x):
            return keras.ops.matmul(self.lstm(self.words(x)), keras.ops.transpose(self.words.embeddings)) + self.bias

    torch.manual_seed(0)
    module, model = Tied(), Port()
    tokens = np.random.default_rng(0).integers(0, 9, (8, 5))
    model(tokens)
    pair = forward_pair(torch_module=module, keras_model=model, inputs=tokens)
    assert write_converter(pair, tmp_path / "tied.py") == 5
    made: dict = {"__name__": "tied"}
    exec((tmp_path / "tied.py").read_text(), made)
    half = {n: t.clone().bfloat16() for n, t in module.state_dict().items() if n != "out.weight"}
    save_file(half, tmp_path / "half.safetensors")  # as transformers writes it: one name of a tied tensor
    made["load"](model, tmp_path / "half.safetensors")
    assert np.array_equal(model.words.embeddings.value.detach().numpy(), half["words.weight"].float().numpy())
    made["save"](model, tmp_path / "half.safetensors", tmp_path / "back.safetensors")
    back = made["read"](tmp_path / "back.safetensors")
    summed = half["lstm.bias_ih_l0"].float() + half["lstm.bias_hh_l0"].float()
    assert np.array_equal(back["lstm.bias_ih_l0"], summed.numpy())
    assert not back["lstm.bias_hh_l0"].any()
    both = {name: tensor.clone() for name, tensor in module.state_dict().items()}  # a file may have both names, too
    save_file(both, tmp_path / "both.safetensors")
    model.words.embeddings.assign(model.words.embeddings + 1)
    made["save"](model, tmp_path / "both.safetensors", tmp_path / "back.safetensors")
    back = made["read"](tmp_path / "back.safetensors")
    assert np.array_equal(back["words.weight"], model.words.embeddings.value.detach().numpy())
    assert np.array_equal(back["out.weight"], back["words.weight"])
    del half["lstm.weight_hh_l0"]
    save_file(half, tmp_path / "less.safetensors")
    with pytest.raises(KeyError, match=r"expected 1 more tensors in the file: lstm\.weight_hh_l0"):
        made["load"](model, tmp_path / "less.safetensors")


def test_a_converter_that_gives_other_bits_is_not_kept(tmp_path):
    module = nn.Sequential(nn.Linear(4, 4))
    model = keras.Sequential([keras.Input((4,)), layers.Dense(4)])
    pair = forward_pair(torch_module=module, keras_model=model, inputs=np.ones((4, 4), "float32"))
    write_converter(pair, tmp_path / "right.py")
    wrong = (tmp_path / "right.py").read_text().replace("a.transpose(1, 0)", "a")
    with pytest.raises(RuntimeError, match="received others"):
        try_out(wrong, pair, found_in(pair))


def test_the_commands_refuse_what_they_cannot_do_in_a_line(folder, capsys):
    assert main(["mapping", "--pair", "pairs_of_mine:pair"]) == 0
    code = capsys.readouterr().out
    assert "'sequential" not in code.partition("mapping")[0]
    assert code.count(": '") == 4
    assert main(["mapping", "--pair", "pairs_of_mine:unfit"]) == 1
    assert "# 2 of another shape, 8 in Keras without a counterpart" in capsys.readouterr().out
    assert main(["convert", "--pair", "pairs_of_mine:unfit", "--out", "x.py"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "2 of another shape, 8 in Keras without a counterpart" in told
    assert not (folder / "x.py").exists()
    assert main(["convert", "--pair", "pairs_of_mine:pair", "--out", "x.txt"]) == 2
    assert "expected --out to end in .py" in capsys.readouterr().err
    import pairs_of_mine

    with pytest.raises(PairError, match="expected a counterpart for every weight: 2 of another shape, 8 in Keras"):
        write_converter(pairs_of_mine.unfit(), folder / "x.py")

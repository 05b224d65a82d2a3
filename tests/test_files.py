"""Trained models as files: round trips to the last bit, and nothing that could run is loaded."""

import json
import pickle
import subprocess
import sys
import zipfile

import h5py
import keras
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import torch_reference.model
import torch_reference.recipe
from birdplane_keras.errors import RequestError, UnsafeFileError
from birdplane_keras.files import export_onnx, load_keras, load_state_dict, save_keras, save_state_dict
from birdplane_keras.flagship.exchange import export_safetensors
from birdplane_keras.model import build_model, logits_model
from birdplane_keras.recipe import build_recipe
from birdplane_keras.training import attached_logits_model, stock_model, train

PRESETS = ("narrow", *(pytest.param(name, marks=pytest.mark.slow) for name in ("convolution", "softmax-mse")))


@pytest.fixture(scope="module", params=PRESETS)
def trained(request, port_data):
    """A recipe and a model that was trained for an epoch on the real images."""
    recipe = build_recipe(request.param, epochs=1)
    model = build_model(recipe)
    train(recipe, *port_data, model=model)
    return recipe, model


@pytest.fixture
def file(tmp_path):
    """A small `.keras` file."""
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(2)])
    save_keras(model, tmp_path / "model.keras")
    return tmp_path / "model.keras"


def rewrite(path, change=lambda config: None, extra=()):
    """Changes the configuration of a `.keras` file, and adds members to it."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    change(config)
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in [*members.items(), *extra]:
            archive.writestr(name, content)


def test_a_keras_file_round_trips(trained, port_data, tmp_path):
    recipe, model = trained
    save_keras(stock_model(model, recipe), tmp_path / "model.keras")
    loaded = load_keras(tmp_path / "model.keras", compile=True)
    x = port_data[1][0]
    ours = attached_logits_model(model, "exact").predict(x, batch_size=64, verbose=0)
    theirs = attached_logits_model(loaded, "exact").predict(x, batch_size=64, verbose=0)
    assert np.array_equal(ours.view(np.int32), theirs.view(np.int32))
    assert loaded.optimizer.learning_rate == np.float32(recipe.learning_rate)
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]


@pytest.mark.slow
def test_keras_alone_opens_the_file(trained, tmp_path):
    recipe, model = trained
    save_keras(stock_model(model, recipe), tmp_path / "model.keras")
    program = (
        "import sys, keras; model = keras.saving.load_model('model.keras');"
        "model.predict_on_batch(keras.ops.ones((2, 3072)));"
        "assert not [name for name in sys.modules if name.startswith('birdplane')]; print(model.count_params())"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split()[-1] == str(model.count_params())


def test_the_original_loads_the_safetensors_with_equal_logits_to_the_last_bit(trained, port_data, tmp_path):
    recipe, model = trained
    export_safetensors(logits_model(model), tmp_path / "model.safetensors")
    original = torch_reference.model.build_model(torch_reference.recipe.PRESETS[recipe.name])
    original.load_state_dict(load_file(tmp_path / "model.safetensors"))
    x = torch.from_numpy(port_data[1][0])
    with torch.no_grad():
        batches = [torch_reference.model.logits_model(original)(batch) for batch in x.split(64)]
    theirs = torch.cat(batches).numpy()
    ours = attached_logits_model(model, "exact").predict(x, batch_size=64, verbose=0)
    assert np.count_nonzero(ours.view(np.int32) != theirs.view(np.int32)) == 0
    assert len(np.unique(theirs)) > 3000  # control: there is something to differ


def test_a_state_dict_comes_back(trained, tmp_path):
    recipe, _ = trained
    module = torch_reference.model.build_model(torch_reference.recipe.PRESETS[recipe.name])
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    save_file(module.state_dict(), tmp_path / "original.safetensors", {"epoch": "0"})
    port = build_model(build_recipe(recipe.name, seed=7))
    assert load_state_dict(tmp_path / "original.safetensors", module, port) == {"epoch": "0"}
    save_state_dict(port, module, tmp_path / "port.safetensors")
    there_and_back = load_file(tmp_path / "port.safetensors")
    assert all(torch.equal(there_and_back[name], tensor) for name, tensor in before.items())
    assert all(torch.equal(module.state_dict()[name], tensor) for name, tensor in before.items())


@pytest.mark.slow
def test_onnx_predicts_the_same_on_all_validation_images(trained, port_data, tmp_path):
    import onnxruntime

    _, model = trained
    export_onnx(logits_model(model), tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    x = port_data[1][0]
    theirs = session.run(["outputs"], {"inputs": x})[0]
    ours = logits_model(model).predict(x, batch_size=64, verbose=0)
    assert theirs.shape == (2000, 2)
    assert np.abs(ours - theirs).max() < 1e-5
    assert np.array_equal(ours.argmax(axis=1), theirs.argmax(axis=1))
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def add_lambda(config):
    """Puts a Lambda with a Python function, marshalled, where the Dense layer was."""
    layer = keras.layers.Lambda(lambda x: x)
    config["config"]["layers"][1] = keras.saving.serialize_keras_object(layer)


def add_pickled_module(config):
    config["config"]["layers"][1]["class_name"] = "TorchModuleWrapper"


def add_foreign_class(config):
    config["config"]["layers"][1].update(module="os", class_name="system", registered_name=None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (add_lambda, "received a (Lambda|__lambda__) in .*, which brings its own code"),
        (add_pickled_module, "received a TorchModuleWrapper"),
        (add_foreign_class, r"expected Keras' own classes, received os\.system"),
    ],
)
def test_a_keras_file_that_brings_code_is_refused(file, change, message):
    assert load_keras(file).count_params() == 10  # control: unchanged, it loads
    rewrite(file, change)
    with pytest.raises(UnsafeFileError, match=message):
        load_keras(file)


@pytest.mark.parametrize(
    "name", ["../escaped.txt", "/tmp/escaped.txt", "..\\escaped.txt", "C:/escaped.txt", "a/../../b"]
)
def test_a_path_that_climbs_out_of_the_archive_is_refused(file, name):
    rewrite(file, extra=[(name, b"out")])
    with pytest.raises(UnsafeFileError, match="which leads out of it"):
        load_keras(file)
    assert sorted(path.name for path in file.parent.iterdir()) == ["model.keras"]


def test_members_that_are_not_kerass_are_refused(file):
    rewrite(file, extra=[("assets/run.py", b"print()")])
    with pytest.raises(UnsafeFileError, match=r"received 'assets/run\.py'"):
        load_keras(file)


def test_weights_that_lie_in_another_file_are_refused(file, tmp_path):
    with h5py.File(tmp_path / "secret.h5", "w") as secret:
        secret["data"] = np.ones((4, 2))
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    (tmp_path / "weights.h5").write_bytes(members["model.weights.h5"])
    with h5py.File(tmp_path / "weights.h5", "r+") as weights:
        group = weights["layers/dense/vars"]
        del group["0"]
        group["0"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "data")
    members["model.weights.h5"] = (tmp_path / "weights.h5").read_bytes()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(RequestError, match="which Keras refuses"):
        load_keras(file)


class Bomb:
    """A pickle of it would write a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".pkl", ".ckpt"])
def test_a_pickle_is_refused_unread(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    module = torch.nn.Linear(4, 2)
    for load in (load_keras, lambda path: load_state_dict(path, module, None)):
        with pytest.raises(UnsafeFileError, match="is a pickle, which can run any code"):
            load(path)
    assert not (tmp_path / "exploded").exists()
    pickle.loads(path.read_bytes())  # control: loaded as what it is, it would have
    assert (tmp_path / "exploded").exists()


@pytest.mark.parametrize(("name", "content"), [("model.keras", b"half a fi"), ("model.keras", b"")])
def test_a_damaged_file_is_one_line(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RequestError, match=r"expected a \.keras file"):
        load_keras(tmp_path / name)
    with pytest.raises(RequestError, match="No such file"):
        load_keras(tmp_path / "none.keras")


def test_tensors_of_another_module_are_refused(tmp_path):
    save_file(torch.nn.Linear(4, 2).state_dict(), tmp_path / "a.safetensors")
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3)])
    with pytest.raises(RequestError, match=r"expected the tensors of Linear .* size mismatch"):
        load_state_dict(tmp_path / "a.safetensors", torch.nn.Linear(4, 3), model)
    (tmp_path / "b.safetensors").write_bytes(b"not one")
    with pytest.raises(RequestError, match=r"expected a \.safetensors file"):
        load_state_dict(tmp_path / "b.safetensors", torch.nn.Linear(4, 3), model)

"""Converters of other people's models: a fresh process loads the bits that `torch_to_keras` gives."""

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest

from zoo.test_zoo import needs_the_libraries

PAIRS = ("bert", "gpt2", "bloom", "clip", "resnet18", "lstm_language_model")
FRESH = """
import hashlib, importlib, json, sys
import numpy as np
import birdplane_keras
from birdplane_keras.zoo.registry import load

def digest(model):
    values = (np.ascontiguousarray(weight.value.detach().numpy()).tobytes() for weight in model.weights)
    return hashlib.sha256(b"".join(values)).hexdigest()

found = {}
for name in sys.argv[1:]:
    model, weights = load()[name].make(False)["keras_model"], importlib.import_module(f"weights_of_{name}")
    weights.load(model, f"{name}/model.safetensors")
    found[name] = [digest(model)]
    if hasattr(weights, "convert_weights"):
        from keras_hub.src.utils.transformers.safetensor_utils import SafetensorLoader

        again = load()[name].make(False)["keras_model"]
        with SafetensorLoader(name) as loader:
            weights.convert_weights(again, loader, {})
        found[name].append(digest(again))
print(json.dumps(found))
"""


def digest(model):
    values = (np.ascontiguousarray(weight.value.detach().numpy()).tobytes() for weight in model.weights)
    return hashlib.sha256(b"".join(values)).hexdigest()


@pytest.mark.slow
def test_a_fresh_process_loads_the_bits_that_torch_to_keras_gives(tmp_path, monkeypatch):
    needs_the_libraries()
    from safetensors.torch import save_file

    from birdplane_keras.converter import write_converter
    from birdplane_keras.parity import suggest_mapping, torch_to_keras
    from birdplane_keras.zoo.registry import load

    wanted = {}
    for name in PAIRS:
        pair = load()[name].pair()
        write_converter(pair, tmp_path / f"weights_of_{name}.py")
        (tmp_path / name).mkdir()
        state = {key: tensor.clone().contiguous() for key, tensor in pair.torch_module.state_dict().items()}
        save_file(state, tmp_path / name / "model.safetensors")
        torch_to_keras(pair.torch_module, pair.keras_model, suggest_mapping(pair))
        wanted[name] = digest(pair.keras_model)
    child = subprocess.run(
        [sys.executable, "-c", FRESH, *PAIRS], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stderr[-3000:]
    found = json.loads(child.stdout.splitlines()[-1])
    for name in PAIRS:
        assert set(found[name]) == {wanted[name]}
    assert [len(found[name]) for name in PAIRS] == [2, 2, 2, 2, 2, 1]  # KerasHub's models in its own manner, too

"""What a judgement takes of the memory, as the operating system counts it, in units of one model's weights."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LARGE = """
import gc, json, sys
import birdplane_keras, keras, numpy as np, torch
from torch import nn
from birdplane_keras.benchmark.memory import peak_resident
from birdplane_keras.parity import Pair, check_forward, check_parity

torch.set_num_threads(1)

def judged(size, trained):
    module = nn.Sequential(nn.Linear(size, size), nn.Tanh(), nn.Linear(size, size), nn.Tanh(), nn.Linear(size, 3))
    parts = [keras.layers.Dense(size, "tanh"), keras.layers.Dense(size, "tanh"), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((size,)), *parts])
    x = np.random.default_rng(0).normal(size=(6, size)).astype("float32")
    if not trained:
        return check_forward(torch_module=module, keras_model=model, inputs=x).verdict
    model.compile(keras.optimizers.SGD(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    pair = Pair(
        keras_model=model, torch_module=module, torch_loss=nn.CrossEntropyLoss(), data=(x, np.arange(6) % 3),
        batch_size=2, torch_optimizer=torch.optim.SGD(module.parameters(), lr=0.01), initialisation=False,
    )
    return check_parity(pair, steps=3).verdict

trained = sys.argv[1] == "trained"
judged(8, trained)  # so that all is imported
before = peak_resident()
verdict = judged(SIZE, trained)
print(json.dumps([verdict, (peak_resident() - before) / (4 * 2 * SIZE**2)]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("what", ["forward", "trained"])
def test_a_large_pair_is_judged_in_six_times_its_weights(what):
    code = LARGE.replace("SIZE", "4096")  # 33.6 million weights
    child = subprocess.run(
        [sys.executable, "-c", code, what], cwd=ROOT, capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert child.returncode == 0, child.stderr
    verdict, times = json.loads(child.stdout.splitlines()[-1])
    assert verdict in ("bit-exact", "rounding-only")
    assert times < 6
